# SPDX-License-Identifier: GPL-2.0-or-later
"""The two slots that say who maps a folio: replayed, and held against records and snapshots."""

from pathlib import Path

import pytest

import analysis
from analysis.owners import FREE, Slots
from analysis.trace import Trace
from analysis.verify import verify
from tests.mock import MockTrace
from tests.mock_kernel import Folio, MockKernel

HEAD = 0x10000
SLOTS = ["mm_id_mapcount_0", "mm_id_mapcount_1", "mm_id_0", "mm_id_1", "maybe_mapped_shared"]


def test_slots_when_a_third_mm_finds_none() -> None:
    # GIVEN a folio that two mms map WHEN a third one maps it
    two = FREE.mapped(7, 1, 1).mapped(8, 2, 3)
    assert two == Slots(1, 2, 7, 8, 1)
    # THEN it is in no slot, not even when one becomes free
    assert two.mapped(9, 1, 4) == two
    one = two.unmapped(7, 1, 3)
    assert one == Slots(0, 2, 0, 8, 1)
    # AND what it maps from then on is, so that its slot has too few: it goes with the last of these
    assert one.mapped(9, 1, 4) == Slots(1, 2, 9, 8, 1)
    assert one.mapped(9, 1, 4).unmapped(9, 2, 2) == Slots(0, 2, 0, 8, 0)


def test_slots_when_the_first_is_taken_beside_other_mappings() -> None:
    # GIVEN a folio whose mappings are in no slot WHEN an mm takes the first one
    # THEN it may be shared, though there is one mm in the slots
    assert FREE.mapped(7, 1, 3) == Slots(1, 0, 7, 0, 1)
    # BUT not if these are all mappings
    assert FREE.mapped(7, 3, 3) == Slots(3, 0, 7, 0, 0)


class Story:
    """A folio that three processes map in turns, with snapshots in between."""

    def __init__(self) -> None:
        self.trace = MockTrace("owners")
        self.kernel = MockKernel(self.trace)
        self.folio: Folio = self.kernel.alloc(HEAD)

    def tell(self) -> None:
        kernel, folio = self.kernel, self.folio
        kernel.map_pmd(folio, 100, new=True)
        kernel.fork(folio, 100, 101)
        kernel.fork(folio, 101, 102)
        kernel.snapshot("shared")
        kernel.split_pmd(folio, 101)
        kernel.unmap_pmd(folio, 100)
        kernel.fork(folio, 101, 103)
        kernel.snapshot("again")
        for pid in (101, 102, 103):
            kernel.exit(folio, pid)
        kernel.map_pmd(folio, 102)
        kernel.snapshot("alone")

    def opened(self, folder: Path) -> Trace:
        return analysis.open_trace(str(self.trace.write(folder / "t.mapcount")))


def test_slots_of_an_older_folio_when_its_first_record_is_the_end_of_a_copy(tmp_path: Path) -> None:
    # GIVEN a folio from before the recording, which fork copies before anything else is seen
    story = Story()
    story.kernel.map_pmd(story.folio, 100, new=True)
    story.trace.items.clear()
    story.kernel.fork(story.folio, 100, 101)
    # WHEN it is replayed THEN what the end of the copy saw is what the slots are from then on
    counts = story.opened(tmp_path).df_counts(0)
    last = counts[counts["source"] == "replayed"].groupby("counter", observed=True)["value"].last()
    assert last[SLOTS].tolist() == [1, 1, 100, 101, 1]


def test_verify_when_the_kernel_keeps_owners(tmp_path: Path) -> None:
    # GIVEN snapshots of a folio that three processes map WHEN they are verified
    story = Story()
    story.tell()
    opened = story.opened(tmp_path)
    result = verify(opened)
    # THEN each slot is compared in each, and nothing differs
    assert result.table[SLOTS].to_numpy().tolist() == [[1] * 5] * 3
    assert len(result.differences) == 0 and len(opened.df_findings()) == 0
    # AND an address space that found no slot at first got one later
    truth = opened.df_truth().groupby("name")[["mm_id_0", "mm_id_1"]].first()
    assert truth.loc["shared"].tolist() == [100, 101]
    assert 103 in truth.loc["again"].tolist()


def test_finding_when_a_slot_is_forgotten(tmp_path: Path) -> None:
    # GIVEN a kernel that forgets to count an unmapping in its slot
    story = Story()
    kernel, folio = story.kernel, story.folio
    kernel.map_pmd(folio, 100, new=True)
    kernel.fork(folio, 100, 101)
    track = folio.track
    folio.track = lambda mm, diff: None  # type: ignore[method-assign]
    kernel.unmap_pmd(folio, 101)
    folio.track = track  # type: ignore[method-assign]
    kernel.unmap_pmd(folio, 100)
    # WHEN the trace is audited THEN the operation is named, for each counter of the slot
    found = story.opened(tmp_path).df_findings()
    found = found[found["rule"] == "double-entry"]
    assert {"mm_id_mapcount_1", "mm_id_1"} <= set(found["counter"])
    assert set(found["function"]) == {"folio_remove_rmap_ptes"}
    assert (found["certainty"] == "certain").all()


@pytest.mark.parametrize("raced", [False, True])
def test_slots_when_two_cpus_map_at_once(tmp_path: Path, raced: bool) -> None:
    # GIVEN two mappings, the second of which does not see the first in the slots
    trace = MockTrace("owners")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    free = folio.slots()
    trace.owner(HEAD, 100, slots=free)
    trace.record("map_anon", HEAD, order=9, level="pmd", nr=0, anon=True, refcount=512)
    if not raced:  # something that the first CPU did later: its mapping is over
        trace.record("deferred", HEAD, order=9, entire=1, large=1, anon=True, refcount=512,
                     nr_mapped=0x800000)  # fmt: skip
    trace.owner(HEAD, 200, tid=200, cpu=1, slots=free)
    trace.record("map_anon", HEAD, order=9, level="pmd", nr=0, anon=True, refcount=512, tid=200,
                 cpu=1, entire=not raced, large=not raced)  # fmt: skip
    folio.pmds += [100, 200]
    folio.track(200, 1)
    folio.track(100, 1)
    kernel.snapshot("end")
    opened = analysis.open_trace(str(trace.write(tmp_path / "t.mapcount")))
    # WHEN it is verified
    result = verify(opened)
    wrong = set(result.differences["counter"])
    # THEN which of them was first is not known, unless the first was over
    assert wrong & {"mm_id_0", "mm_id_1"} == (set() if raced else {"mm_id_0", "mm_id_1"})
    assert (result.table["mm_id_0"].sum() == 0) == raced


def test_slots_when_an_unmapping_lies_inside_of_a_copy(tmp_path: Path) -> None:
    # GIVEN a folio with two mms in its slots, and a copy for a third, which finds no slot; before
    # its end is recorded, the second mm unmaps the folio, and sees slots that are as they were
    story = Story()
    kernel, folio = story.kernel, story.folio
    kernel.map_pmd(folio, 100, new=True)
    kernel.fork(folio, 100, 101)
    kernel.emit("dup_pmd", folio, nr=0, level="pmd", tid=100)
    folio.pmds.append(102)
    folio.track(102, 1)
    kernel.unmap_pmd(folio, 101)
    kernel.emit("dup_pmd_done", folio, 0, 102, nr=0, level="pmd", tid=100, aux=0)
    kernel.snapshot("end")
    # WHEN it is verified and audited
    opened = story.opened(tmp_path)
    result = verify(opened)
    # THEN no slot is compared, and all else is
    assert result.table[SLOTS].to_numpy().tolist() == [[0] * 5]
    assert result.table[["entire_mapcount", "large_mapcount"]].to_numpy().tolist() == [[1, 1]]
    assert len(result.differences) == 0 and len(opened.df_findings()) == 0
