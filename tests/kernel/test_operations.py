# SPDX-License-Identifier: GPL-2.0-or-later
"""Every operation that changes a map count, provoked by a workload and verified at each mark.

One guest records them all.  MAPCOUNT_KERNEL names another kernel than the usual one.
"""

import re

import pytest

import analysis
from analysis.rights import Rights
from tests.kernel.jobs import KERNEL
from tests.kernel.test_matrix import LEFT_OUT
from vm import scenarios

GUEST = f"matrix-{KERNEL}"
pytestmark = pytest.mark.guest(GUEST)
#: What a workload is about: operations that must be in its trace, unless it left the step out.
OPERATIONS = {
    "anon-parts": {"map", "unmap", "split_pmd", "split_folio", "dup"},
    "fork-thp": {"dup", "fork", "split_pmd", "split_folio"},
    "swap-thp": {"map", "unmap", "split_folio", "dup"},
    "collapse": {"collapse", "split_folio"},
    "split-folio": {"split_folio", "deferred_split"},
    "migrate": {"migrate", "split_folio"},
    "ksm": {"map", "unmap", "split_folio"},
    "uffd": {"map", "unmap"},
    "file-thp": {"map", "unmap", "split_pmd", "split_folio"},
    "hugetlb": {"map", "unmap", "dup"},
    "holders": {"pin", "unpin", "split_folio", "unmap_to_move"},
    "mthp": {"map", "unmap", "dup", "split_folio"},
    "reclaim-batch": {"map", "unmap", "dup", "unmap_all"},
    "fault-around": {"map", "unmap", "split_folio"},
    "shared-mm": {"map", "unmap", "split_pmd"},
    "beside-marks": {"map", "unmap", "dup", "split_pmd"},
    "storm": {"map", "unmap", "dup", "fork", "split_pmd"},
    "waste": {"unmap", "dup", "split_pmd", "split_folio", "deferred_split"},
    "where": {"map", "unmap", "dup", "split_pmd", "place", "moved"},
}
#: In a workload's source: a mark, and the note on stderr where a step is left out.
MARK = re.compile(r'\bmark\("([^"]+)"')
NOTE = re.compile(r'\bnote\("([^"]+)"')


#: So busy that a ring may be full on a loaded machine: what is asked of it waits for `make truth`.
BUSY = {"beside-marks"}
RECORDED = [workload for workload in OPERATIONS if (KERNEL, workload) not in LEFT_OUT]
WORKLOADS = [
    pytest.param(workload, marks=pytest.mark.truth if workload in BUSY else ())
    for workload in RECORDED
]


@pytest.fixture
def ran(guests):
    """A function: workload -> its cell of the matrix, and its trace."""
    return lambda workload: (guests(GUEST).cell(workload), guests(GUEST).trace(workload))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_verify_when_the_workload_is_recorded(ran, workload):
    # GIVEN a workload recorded in a guest
    cell, path = ran(workload)
    # THEN the replay and the kernel agree on every counter at every mark, and the ring took all
    assert cell["outcome"] == "checked", cell["reason"]
    assert (cell["differences"], cell["possible"]) == (0, 0), cell["reason"]
    losses = analysis.open_trace(str(path)).df_losses()
    assert losses["lost"].sum() == cell["lost"]
    assert losses[losses["kind"] != "missed"].empty, losses
    # AND the audit has nothing to say about the counters
    assert cell["findings"] == 0, cell["reason"]
    assert cell["checked"] > 0


@pytest.mark.truth
@pytest.mark.parametrize("workload", RECORDED)
def test_kernel_skips_no_program_when_the_workload_is_recorded(ran, workload):
    # GIVEN a workload recorded in a guest that has its time THEN nothing is missed either.  The
    # kernel skips a program that an interrupt would run inside itself (mm_page_free, where pages
    # are freed in softirqs), the oftener the slower the guest; it counts these.
    cell, _ = ran(workload)
    assert cell["lost"] == 0, cell


@pytest.mark.parametrize("workload", WORKLOADS)
def test_operations_are_in_the_trace_when_the_workload_provokes_them(ran, workload):
    # GIVEN the trace of a workload WHEN its events are read THEN what it is about is there
    _, path = ran(workload)
    seen = set(analysis.open_trace(str(path)).df_events()["op"])
    assert seen >= OPERATIONS[workload]


def test_rights_are_known_when_pages_are_shared(ran):
    # GIVEN the trace of forks, after which two processes map the same pages
    _, path = ran("fork-thp")
    totals = [Rights(shot).totals() for shot in analysis.open_trace(str(path)).snapshots]
    # THEN page tables were read for these, and none in vain
    assert sum(shared for shared, _ in totals) > 0
    assert sum(unknown for _, unknown in totals) == 0


def test_fork_is_told_of_when_it_copies_something_watched(ran):
    # GIVEN a trace of forks, which copy many more mappings than there are of huge pages
    _, path = ran("fork-thp")
    events = analysis.open_trace(str(path)).df_events().sort_values(["ts", "seq"])
    forks = events[events["op"] == "fork"]
    assert len(forks) > 0
    # WHEN a thread's brackets are walked THEN each has an end, and a copy between both
    for _, inside in events[events["op"].isin(["fork", "dup"])].groupby("tid"):
        kinds = "".join(
            "c" if op == "dup" else phase[0]
            for op, phase in zip(inside["op"], inside["phase"], strict=True)
        )
        assert re.fullmatch("(ec+r)*", kinds), kinds


@pytest.mark.parametrize("workload", WORKLOADS)
def test_marks_when_steps_are_left_out(ran, workload):
    # GIVEN the functions of a workload's source and the steps that it says it left out
    cell, path = ran(workload)
    told = {note.split()[1] for note in cell["notes"]}
    functions = scenarios.find(workload).source.read_text().split("\n}\n")
    seen = set(analysis.open_trace(str(path)).df_marks()["name"])
    # THEN a snapshot was taken at every mark of a function that left nothing out
    whole = [text for text in functions if told.isdisjoint(NOTE.findall(text))]
    assert told <= {step for text in functions for step in NOTE.findall(text)}
    assert {mark for text in whole for mark in MARK.findall(text)} <= seen
