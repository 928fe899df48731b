# SPDX-License-Identifier: GPL-2.0-or-later
"""What partially mapped folios keep, on real kernels: known answers of the `waste` workload, the
page tables at each mark, and the kernel's own count of such folios.

MAPCOUNT_KERNEL names another kernel than the usual one.
"""

import errno

import numpy as np
import pytest

import analysis
from analysis.truth import AREA, PFN_MASK
from analysis.waste_frame import wasted
from tests.kernel.jobs import ARM64_OF_4_KIB, of_kernels, place

#: KiB that each huge page keeps and nothing maps, by mark: the rest of what is told to be unmapped.
DROPPED = {0: 128, 1: 1024, 2: 400}
BY_CHILD = {3: 2044}
MARKS = {
    "whole": {},
    "dropped": DROPPED,
    "child_dropped": DROPPED,  # of the last one the parent still maps all pages
    "kept_by_child": DROPPED | BY_CHILD,
    "split_refused": DROPPED | BY_CHILD,
    "split": {0: 128, 2: 400, 3: 2044},
    "child_gone": {0: 128, 2: 400},
    "freed": {},
}
#: How each ended: tries to split it, the result of the last one and the references beyond the
#: mappings at that time (those of the pipe), and its end.
ENDS = {
    0: (0, None, None, "unmapped"),
    1: (1, 0, 0, "split"),
    2: (1, (-errno.EAGAIN, -errno.EBUSY), 3, "unmapped"),
    3: (0, None, None, "unmapped"),
}
PAGE, HUGE = 4096, 2 << 20

pytestmark = pytest.mark.parametrize(
    "guest", of_kernels("matrix-{}", ("6.1", "6.12", "7.x", ARM64_OF_4_KIB))
)


@pytest.fixture
def trace(guests, guest):
    return analysis.open_trace(str(guests(guest).trace("waste")))


def shots(trace):
    """By mark, its snapshot, and the number of partially mapped folios in the mark's name."""
    named = {shot.name.partition(" ")[0]: shot for shot in trace.snapshots}
    return {name: (named[name], int(named[name].name.partition(" ")[2])) for name in MARKS}


def heads(trace):
    """The first frame of each of the huge pages: where they are mapped at the first mark."""
    shot, _ = shots(trace)["whole"]
    at = {int(run["address"]): int(run["entry"]) & PFN_MASK for run in shot.runs}
    return [at[place(number)] for number in range(4)]


def kept(trace, shot):
    """By huge page, the KiB that the records say it keeps at a snapshot."""
    found = wasted(trace)
    before = found.ts <= shot.ts_begin
    owner = found.spans["head_pfn"].to_numpy()[found.span[before]]
    sums = {n: found.change[before][owner == pfn].sum() >> 10 for n, pfn in enumerate(heads(trace))}
    return {number: size for number, size in sums.items() if size}


def test_kept_at_each_mark_when_compared_with_the_table(trace):
    # GIVEN the workload as the kernel ran it WHEN it is asked what is kept
    for name, (shot, _) in shots(trace).items():
        # THEN it is what the workload left mapped in part, and nothing else
        assert kept(trace, shot) == MARKS[name], name


def test_page_tables_when_compared_with_what_is_kept(trace):
    # GIVEN the page tables that were walked at each mark
    for name, (shot, _) in shots(trace).items():
        mapped = {
            (int(run["entry"]) & PFN_MASK) + page
            for run in shot.runs
            for page in range(int(run["pages"]))
        }
        for number, head in enumerate(heads(trace)):
            here = sum(head + page in mapped for page in range(HUGE // PAGE))
            # A split makes its pages folios of their own, and what is free keeps nothing.
            folio = number in MARKS[name]
            # THEN what they do not map of a folio is what is kept
            expected = (HUGE - here * PAGE) >> 10 if folio else 0
            assert kept(trace, shot).get(number, 0) == expected, (name, number)


def test_smaps_when_compared_with_what_is_kept(trace):
    # GIVEN Rss of each mapping at each mark, of pages that the parent alone maps
    for name in ("dropped", "child_dropped", "kept_by_child", "split_refused"):
        shot, _ = shots(trace)[name]
        areas = shot.areas.view(AREA)
        start = areas["start"].astype(np.int64)
        for number, size in DROPPED.items():
            begin = place(number)
            here = (begin <= start) & (start < begin + HUGE)
            # THEN it is the huge page without what is kept
            assert areas["rss"][here].sum() == (HUGE >> 10) - size, (name, number)


def test_the_kernels_count_when_compared_with_what_is_kept(trace, guest):
    # GIVEN how many folios the kernel says are partially mapped (6.12 and later)
    counted = {name: number for name, (_, number) in shots(trace).items()}
    if guest == "matrix-6.1":
        assert set(counted.values()) == {-1}
        return
    # THEN so many keep something
    assert counted == {name: len(folios) for name, folios in MARKS.items()}


def test_rows_tell_how_it_came_and_how_it_ended(trace):
    # GIVEN the rows of the workload's huge pages
    frame = trace.df_waste().set_index("head_pfn")
    for number, head in enumerate(heads(trace)):
        row = frame.loc[[head]].iloc[0]
        tries, result, references, end = ENDS[number]
        # THEN they tell who left it so, that it was queued, and what became of it
        assert (row["comm"], row["tries"], row["end"]) == ("waste", tries, end), number
        assert row["queued_ts"] >= row["from_ts"], number
        # AND why it was not split, where that was tried
        if tries:
            assert row["result"] in np.atleast_1d(result), number
            assert row["references"] == references, number
