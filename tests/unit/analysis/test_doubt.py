# SPDX-License-Identifier: GPL-2.0-or-later
"""A loss makes what it may explain possible, wherever and however it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.plot.scene import scene_of
from analysis.slicing import Wanted, write_slice
from analysis.trace import Trace
from analysis.verify import verify
from probes.events import RECORD
from probes.tracefile import BlockType
from tests.mock import MockTrace
from tests.mock_kernel import Folio, MockKernel

HEAD = 0x800
PARENT, CHILD = 100, 101
SECOND = 1_000_000_000


def _opened(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


def _certainties(trace: Trace) -> set[str]:
    """How sure audit and verify are of what they find; they must find something."""
    told = set(trace.df_findings()["certainty"])
    doubts = verify(trace).differences["doubt"].tolist()
    assert told
    return told | {"possible" if doubt else "certain" for doubt in doubts}


def _loss(begin: int, end: int, kind: str = "ring") -> tuple[BlockType, dict[str, object]]:
    """A LOSS block of one record of CPU 0."""
    return BlockType.LOSS, {"from": begin, "to": end, "kind": kind, "lost": [[0, 1, 1]]}


def _lose(trace: MockTrace, name: str, pfn: int, told: bool = True) -> None:
    """The first record of a probe on a page is lost; ``told``: a LOSS block says so."""
    records = [
        (at, RECORD.unpack(content))
        for at, (kind, content) in enumerate(trace.items)
        if kind is BlockType.RECORDS
    ]
    at, ts = next(
        (at, fields[0])
        for at, fields in records
        if fields[3] == trace.probes[name] and fields[6] == pfn
    )
    trace.items[at : at + 1] = [_loss(ts - 1, ts + 1)] if told else []


def _split_in_two() -> tuple[MockTrace, MockKernel, list[Folio]]:
    """A folio that two processes map, and the pages into which it was split."""
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, 2)
    kernel.map_pte(folio, PARENT, 0, 4)
    kernel.fork(folio, PARENT, CHILD)
    return trace, kernel, kernel.split_folio(folio)


@pytest.mark.parametrize("told", [True, False])
def test_finding_is_possible_when_the_loss_was_before_the_first_record_of_a_split_page(
    tmp_path: Path, told: bool
) -> None:
    # GIVEN a page that a split maps again for two processes, of which one record is lost
    trace, kernel, pages = _split_in_two()
    _lose(trace, "map_anon", HEAD + 1, told)
    kernel.unmap_pte(pages[1], CHILD, 0)
    kernel.snapshot("mark")
    # WHEN it is audited and verified THEN what the page's own records contradict is possible
    opened = _opened(trace, tmp_path)
    assert _certainties(opened) == {"possible"}
    # AND its picture is in doubt from its beginning
    life = int(opened.df_findings()["life"].iloc[0])
    scene = scene_of(opened, life)
    assert scene.doubtful is not None and scene.doubtful.since == scene.begin


def test_finding_is_possible_when_the_loss_was_between_the_first_snapshot_and_the_first_record(
    tmp_path: Path,
) -> None:
    # GIVEN a folio older than the recording, whose first operation after the snapshot is lost
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.older(HEAD, 2)
    folio.ptes |= {(PARENT, 0), (PARENT, 1)}
    kernel.snapshot("start")
    kernel.unmap_pte(folio, PARENT, 0)
    kernel.map_pte(folio, PARENT, 2)
    kernel.snapshot("mark")
    _lose(trace, "unmap", HEAD)
    # WHEN it is audited and verified THEN what the first snapshot had told proves nothing
    assert _certainties(_opened(trace, tmp_path)) == {"possible"}


def test_finding_is_possible_when_a_gap_comes_beside_a_loss_that_is_told(tmp_path: Path) -> None:
    # GIVEN a probe that was skipped early, and a record that is missing without a word
    trace = MockTrace()
    kernel = MockKernel(trace)
    trace.items.append(_loss(trace.now, trace.now + 1, "missed"))
    folio = kernel.alloc(HEAD, 2)
    kernel.map_pte(folio, PARENT, 0)
    kernel.unmap_pte(folio, PARENT, 0)
    _lose(trace, "unmap", HEAD, told=False)
    kernel.map_pte(folio, PARENT, 0)
    # WHEN it is audited THEN the gap is the doubt
    opened = _opened(trace, tmp_path)
    assert _certainties(opened) == {"possible"}
    assert "1 events were lost" in opened.df_findings()["reason"].iloc[0]


@pytest.mark.parametrize("later, certainty", [(10, "possible"), (2 * SECOND, "certain")])
def test_a_loss_is_counted_a_moment_after_it_happened(
    tmp_path: Path, later: int, certainty: str
) -> None:
    # GIVEN a page that was unmapped unseen, and a loss that is told of the time after a snapshot
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, 2)
    kernel.map_pte(folio, PARENT, 0)
    folio.ptes.clear()
    kernel.snapshot("mark")
    trace.items.append(_loss(trace.now + later, trace.now + later + 10))
    # WHEN it is audited and verified THEN a loss explains what was a moment before, and no more
    opened = _opened(trace, tmp_path)
    assert _certainties(opened) == {certainty}
    # AND so it does for what is cut out before the loss
    part = tmp_path / "part"
    write_slice(opened, str(part), Wanted(end=trace.now + 1))
    assert _certainties(analysis.open_trace(str(part))) == {certainty}


@pytest.mark.parametrize("lost, certainty", [(True, "possible"), (False, "certain")])
def test_wrong_call_is_possible_when_the_folio_may_have_been_freed_in_between(
    tmp_path: Path, lost: bool, certainty: str
) -> None:
    # GIVEN a file's folio that is freed and allocated for anonymous memory, or only mapped so
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, 2, anon=False)
    kernel.map_pte(folio, PARENT, 0)
    kernel.unmap_pte(folio, PARENT, 0)
    if lost:
        trace.loss(trace.now, trace.now + 10, [(0, "free", 1), (0, "alloc", 1)])
        trace.tick()
    kernel.emit("map_new", folio, tid=PARENT)
    # WHEN it is audited THEN the call is wrong for certain only if all of the life was seen
    found = _opened(trace, tmp_path).df_findings()
    assert found[found["rule"] == "wrong-call"]["certainty"].tolist() == [certainty]


def test_left_double_map_is_possible_when_the_folio_may_have_been_freed_in_between(
    tmp_path: Path,
) -> None:
    # GIVEN a folio of a file, whose DoubleMap stays, and which was anonymous before the loss
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, 9)
    kernel.map_pmd(folio, PARENT, new=True)
    kernel.unmap_pmd(folio, PARENT)
    trace.loss(trace.now, trace.now + 10, [(0, "free", 1), (0, "alloc", 1)])
    trace.tick()
    folio.anon = False
    kernel.emit("free", folio, nr=0, tid=PARENT, double_map=True)
    # WHEN it is audited THEN the flag that is left is no certain finding
    assert _certainties(_opened(trace, tmp_path)) == {"possible"}


def test_contradiction_is_possible_when_a_change_was_lost_right_before_the_snapshot(
    tmp_path: Path,
) -> None:
    # GIVEN counters that contradict each other, and a loss a moment before they were read
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, 2)
    kernel.map_pte(folio, PARENT, 0, 2)
    mappings = folio.large_mapcount()
    trace.loss(trace.now, trace.now + 10, [(0, "unmap", 1)])
    trace.tick()
    folio.large_mapcount = lambda: mappings + 1  # type: ignore[method-assign]
    kernel.snapshot("wrong")
    # WHEN it is audited THEN an operation may have been under way whose record is lost
    found = _opened(trace, tmp_path).df_findings()
    assert "counters-disagree" in set(found["rule"])
    assert set(found["certainty"]) == {"possible"}
