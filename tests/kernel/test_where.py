# SPDX-License-Identifier: GPL-2.0-or-later
"""Where pages are mapped, by the records alone: against a written table, the page tables that the
recorder walked at each mark, and smaps."""

from collections import Counter

import pytest

import analysis
from analysis.truth import AREA
from tests.kernel.jobs import ARM64_OF_4_KIB, ARM64_OF_16_KIB, LAB_KERNELS, PLACED, of_kernels
from tests.where_truth import compared
from vm import scenarios

#: The only lab kernel whose rmap functions are not told for whom they map (before 5.18).
UNTOLD = "5.10"
TOLD = [*(kernel for kernel in LAB_KERNELS if kernel != UNTOLD), ARM64_OF_4_KIB]


@pytest.fixture(params=of_kernels("matrix-{}", TOLD))
def trace(request, guests):
    """The workload that is about places, recorded."""
    return analysis.open_trace(str(guests(request.param).trace("where")))


def roles(frame):
    """pid -> parent or child."""
    parent, *children = sorted(frame["pid"].unique())
    return {parent: "parent"} | dict.fromkeys(children, "child")


@pytest.mark.parametrize("mark", scenarios.places("where"), ids=lambda mark: mark.name)
def test_df_where_at_each_mark_when_compared_with_the_table(trace, mark):
    # GIVEN the row of the table for a mark WHEN it is asked what is mapped where
    frame = trace.df_where()
    frame = frame[frame["order"] == 9]
    role = roles(frame)
    here = frame[frame["name"] == mark.name]
    found = {
        (role[pid], start, kind): (rows["life"].nunique(), rows["bytes"].sum() >> 10)
        for (pid, start, kind), rows in here.groupby(["pid", "vma_start", "kind"])
    }
    # THEN it is the row
    assert found == mark.maps


def test_names_of_mappings_when_a_file_is_mapped(trace):
    # GIVEN a huge page of a memory file WHEN it is asked where it is THEN its mapping is named
    frame = trace.df_where()
    assert set(frame[~frame["anon"]]["vma"]) == {"/memfd:where (deleted)"}
    assert set(frame[frame["anon"] & (frame["order"] == 9)]["vma"]) == {""}
    assert set(frame["comm"]) == {"where"}


def test_smaps_when_compared_with_the_records(trace):
    # GIVEN Rss and what PMDs map, of each mapping at each mark, as the kernel told them
    frame, compared_areas = trace.df_where(), Counter()
    for number, shot in enumerate(trace.snapshots):
        here = frame[frame["snapshot"] == number]
        areas = {
            (int(area["pid"]), int(area["start"])): (int(area["rss"]), int(area["huge"]))
            for area in shot.areas.view(AREA)
        }
        # THEN they are what the records say of it
        for (pid, start), rows in here.groupby(["pid", "vma_start"]):
            rss, huge = areas[pid, start]
            assert rows["bytes"].sum() >> 10 == rss, (shot.name, pid, hex(start))
            assert rows.loc[rows["pmd"], "bytes"].sum() >> 10 == huge, (shot.name, pid, hex(start))
            compared_areas[shot.name] += 1
    assert compared_areas["file_twice"] == 6


@pytest.mark.parametrize("guest", of_kernels("matrix-{}", [*TOLD, ARM64_OF_16_KIB]))
def test_page_tables_when_compared_with_the_records(guests, guest):
    # GIVEN the page tables that were walked at each mark
    # THEN the records say the same, page by page
    found = compared(analysis.open_trace(str(guests(guest).trace("where"))))
    assert (found.only_told, found.only_walked) == (set(), set())
    assert found.same > 9000


@pytest.mark.parametrize("workload", PLACED)
@pytest.mark.parametrize("guest", of_kernels("places-{}", TOLD, at_landing=False))
def test_page_tables_when_other_workloads_are_recorded(guests, guest, workload):
    # GIVEN a workload recorded with --where
    recorded = analysis.open_trace(str(guests(guest) / f"{workload}.mapcount"))
    assert not any(shot.torn for shot in recorded.snapshots)
    # THEN at each mark the records and the page tables say the same
    found = compared(recorded)
    assert (found.only_told, found.only_walked) == (set(), set())
    assert found.same > 0


@pytest.mark.truth
@pytest.mark.guest(f"matrix-{UNTOLD}")
def test_missing_when_the_kernel_does_not_tell(guests):
    # GIVEN a kernel whose rmap functions get no mapping THEN the trace says what it cannot tell
    untold = analysis.open_trace(str(guests(f"matrix-{UNTOLD}").trace("where")))
    missing = {name: gap["reason"] for gap in untold.meta["missing"] for name in gap["functions"]}
    assert missing["page_remove_rmap"] == "it has no argument vma"
