# SPDX-License-Identifier: GPL-2.0-or-later
"""The check against ground truth: it passes on the truth, and only on the truth."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.divergence import divergences
from analysis.verify import Verification, verify
from probes.tracefile import BlockType
from tests import mock_stories
from tests.mock import MockTrace
from tests.mock_kernel import FRAME_PAGES, MockKernel

HEAD = 0x800
ERAS = ("double_map", "large")
RAW = FRAME_PAGES * 64
#: What the recorder writes for a page where it has no kpagecount.
NO_COUNT = (1 << 64) - 1


def _verify(trace: MockTrace, folder: Path) -> Verification:
    return verify(analysis.open_trace(str(trace.write(folder / "t.mapcount"))))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("story", ["lifecycle", "file_thp"])
def test_verify_finds_nothing_when_the_story_is_whole(tmp_path: Path, story: str, era: str) -> None:
    # GIVEN a story whose snapshots are the model's own page tables
    trace = getattr(mock_stories, story)(era)
    # WHEN it is verified, and its observations are held against the replay
    path = trace.write(tmp_path / "t.mapcount")
    opened = analysis.open_trace(str(path))
    result = verify(opened)
    run = opened.replay(range(len(opened.lives)))
    found = divergences(opened.log, opened.lives, run, opened.counters)
    # THEN thousands of values agree and nothing differs
    assert result.checked > 4000
    assert len(result.differences) == 0
    assert sum(len(one.row) for one in found) == 0


@pytest.mark.parametrize("era", ERAS)
def test_verify_checks_the_counters_when_the_kernel_has_no_kpagecount(
    tmp_path: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a story on a kernel without CONFIG_PROC_PAGE_MONITOR
    whole = _verify(mock_stories.lifecycle(era), tmp_path)
    truth = MockTrace.truth

    def without(
        self: MockTrace, name: str, frames: Any, pages: bytes, counts: Any, *rest: Any, **more: Any
    ) -> None:
        truth(self, name, frames, pages, [NO_COUNT] * len(counts), *rest, **more)

    monkeypatch.setattr(MockTrace, "truth", without)
    # WHEN it is verified
    result = _verify(mock_stories.lifecycle(era), tmp_path)
    # THEN all else is checked as ever, and what is not there differs from nothing
    assert len(result.differences) == 0
    assert result.table["kpagecount"].sum() == 0
    assert result.checked == whole.checked - whole.table["kpagecount"].sum()
    assert len(analysis.open_trace(str(tmp_path / "t.mapcount")).df_findings()) == 0


#: What is altered: (where in the block after its JSON, how).  One frame per snapshot.
ALTERED: dict[str, tuple[int, str]] = {
    "entire_mapcount": (84, "<i"),
    "mapcount": (7 * 64 + 48, "<i"),
    "kpagecount": (RAW + 7 * 8, "<Q"),
    "page tables": (RAW + 2 * FRAME_PAGES * 8 + 7 * 2, "<H"),
    "large_mapcount": (80, "<i"),
    "nr_pages_mapped": (88, "<i"),
}


Change = Callable[[bytearray, int], None]


def _alter(trace: MockTrace, snapshot: str, at: int, change: Change) -> None:
    for number, (kind, content) in enumerate(trace.items):
        if kind is BlockType.TRUTH and b'"name": "%s"' % snapshot.encode() in content:
            data = bytearray(content)
            (length,) = struct.unpack_from("<I", data)
            change(data, 4 + length + at)
            trace.items[number] = (kind, bytes(data))


def _add_one(code: str) -> Change:
    def change(data: bytearray, at: int) -> None:
        (value,) = struct.unpack_from(code, data, at)
        struct.pack_into(code, data, at, value + 1)

    return change


@pytest.mark.parametrize(
    ("era", "counter"),
    [(era, name) for era in ERAS for name in ALTERED
     if era == "large" or name not in ("large_mapcount", "nr_pages_mapped")],
)  # fmt: skip
def test_verify_finds_the_value_when_the_truth_is_off_by_one(
    tmp_path: Path, era: str, counter: str
) -> None:
    # GIVEN a story with one word of one snapshot altered by one
    trace = mock_stories.lifecycle(era)
    at, code = ALTERED[counter]
    _alter(trace, "child split", at, _add_one(code))
    # WHEN it is verified
    result = _verify(trace, tmp_path)
    # THEN exactly this value is the difference
    assert result.certain == 1
    (one,) = result.differences.to_dict("records")
    assert one["counter"] == counter
    assert "child split" in one["snapshot"]
    assert abs(one["replayed"] - one["truth"]) == 1


def test_verify_finds_double_map_when_the_bit_is_flipped(tmp_path: Path) -> None:
    # GIVEN a snapshot whose DoubleMap bit is flipped
    trace = mock_stories.lifecycle()

    def flip(data: bytearray, at: int) -> None:
        data[at] ^= 1 << 6

    _alter(trace, "child split", 64, flip)
    # WHEN it is verified
    result = _verify(trace, tmp_path)
    # THEN that is the difference
    assert result.differences["counter"].tolist() == ["double_map"]


def test_verify_names_the_first_record_when_an_event_is_missing(tmp_path: Path) -> None:
    # GIVEN a trace in which one unmap of a page was not recorded and the next one was
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, 2)
    kernel.map_pte(folio, 100, 1)
    kernel.map_pte(folio, 101, 1)
    kernel.unmap_pte(folio, 101, 1)
    trace.items.pop()
    kernel.map_pte(folio, 102, 1)
    kernel.snapshot("end")
    # WHEN it is verified
    result = _verify(trace, tmp_path)
    # THEN the record that saw one mapping too few is named
    assert set(result.differences["counter"]) == {"mapcount", "kpagecount"}
    assert result.differences["first_row"].tolist() == [3, 3]


def test_verify_calls_it_possible_when_the_folio_changed_meanwhile(tmp_path: Path) -> None:
    # GIVEN a snapshot that shows a change which was recorded while it was taken
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, 2)
    kernel.map_pte(folio, 100, 0)
    folio.ptes.add((101, 2))
    kernel.snapshot("busy")
    folio.ptes.remove((101, 2))
    trace.now -= 2000
    kernel.map_pte(folio, 101, 2)
    # WHEN it is verified
    result = _verify(trace, tmp_path)
    # THEN the difference is there but is not held against the trace
    assert len(result.differences) == 2
    assert result.certain == 0
    assert result.table["busy"].tolist() == [1]


def test_verify_finds_the_order_when_the_folio_is_gone(tmp_path: Path) -> None:
    # GIVEN a folio whose free nobody recorded
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.alloc(HEAD + 512)
    kernel.folios.remove(folio)
    kernel.older(HEAD + 3, 0)
    kernel.snapshot("end")
    # WHEN it is verified
    result = _verify(trace, tmp_path)
    # THEN the order is the one difference, and nothing of it was decoded
    assert result.differences["counter"].tolist() == ["order"]
    assert result.differences[["replayed", "truth"]].to_numpy().tolist() == [[9, 0]]


def test_start_values_are_used_when_the_folio_is_older(tmp_path: Path) -> None:
    # GIVEN a folio with mappings from before the recording and a snapshot at its start
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.older(HEAD)
    folio.pmds += [100, 101]
    folio.ptes |= {(102, 5), (102, 6)}
    folio.doubled = True
    kernel.snapshot("start")
    kernel.unmap_pte(folio, 102, 5)
    kernel.snapshot("end")
    opened = analysis.open_trace(str(trace.write(tmp_path / "t.mapcount")))
    # WHEN its counts are replayed
    state = opened.counts(0).at(trace.now)
    result = verify(opened)
    # THEN every page is known, DoubleMap too, and the end agrees
    assert (state.entire, state.double_map) == (2, 1)
    assert state.pte.sum() == 1
    assert result.table["unknown"].tolist() == [0, 0]
    assert result.certain == 0


def test_pages_are_unknown_when_nothing_showed_them(tmp_path: Path) -> None:
    # GIVEN an older folio without a snapshot, of which one page is touched
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.older(HEAD)
    folio.ptes |= {(100, page) for page in range(512)}
    kernel.unmap_pte(folio, 100, 5)
    # WHEN its counts are replayed
    opened = analysis.open_trace(str(trace.write(tmp_path / "t.mapcount")))
    state = opened.counts(0).at(trace.now)
    # THEN this page is known and the others are not
    assert state.pte[5] == 0
    assert (state.pte == -1).sum() == 511
    assert set(opened.df_counts(0).query("counter == 'pte_mappings'")["subpage"]) == {5}


def test_a_folio_is_anonymous_when_its_first_mapping_is_all_there_is(tmp_path: Path) -> None:
    # GIVEN a new huge page whose anon bit no record shows yet: it is set after the probe
    trace = MockTrace()
    kernel = MockKernel(trace)
    kernel.map_pmd(kernel.alloc(HEAD), 100, new=True)
    kernel.snapshot("end")
    # WHEN it is verified
    result = _verify(trace, tmp_path)
    # THEN its pages do not count the PMD mapping, as a file's would
    assert result.certain == 0
    assert result.table["mapcount"].tolist() == [512]


def test_verify_finds_a_mapped_page_when_its_remap_was_not_recorded(tmp_path: Path) -> None:
    # GIVEN a folio that was split, and one page of it whose new mapping no record shows
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, 2)
    kernel.map_pte(folio, 100, 1)
    kernel.split_folio(folio)
    kernel.older(HEAD + 3, 0).ptes.add((100, 0))
    kernel.snapshot("end")
    # WHEN it is verified
    result = _verify(trace, tmp_path)
    # THEN this page is the difference, named by the folio that it was part of
    (one,) = result.differences.to_dict("records")
    assert (one["life"], one["counter"], one["subpage"], one["truth"]) == (0, "kpagecount", 3, 1)


@pytest.mark.parametrize(("counted", "wrong"), [(2, []), (1, ["entire_mapcount"])])
def test_verify_reads_a_folio_of_1_gib_when_its_head_is_in_a_frame(
    tmp_path: Path, counted: int, wrong: list[str]
) -> None:
    # GIVEN a page of 1 GiB that two tasks map, and the first of its 512 frames
    trace = MockTrace()
    for entire in (0, 1):
        trace.record("map_file", 1 << 18, order=18, nr=0, level="pmd", entire=entire, hugetlb=True)
    raw = bytearray(RAW)
    struct.pack_into("<Q", raw, 0, 1 << 16)
    struct.pack_into("<B", raw, 81, 18)
    struct.pack_into("<i", raw, 84, counted - 1)
    trace.truth("end", [1 << 18], bytes(raw), [0] * FRAME_PAGES, [0] * FRAME_PAGES)
    # WHEN it is verified THEN its one count is compared
    result = _verify(trace, tmp_path)
    assert result.table["entire_mapcount"].tolist() == [1]
    assert result.differences["counter"].tolist() == wrong
