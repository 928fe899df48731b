# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace that is read in parts must say what it says as a whole."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import recording as recording_module
from analysis.lives_text import lives_text
from analysis.part import Part
from analysis.plan import OP
from analysis.ranking import most_interesting
from analysis.replay import Replay
from analysis.stats_text import stats_text
from analysis.trace import Trace
from analysis.verify import verify
from tests import mock_stories
from tests.bench.synthetic import generate
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

HEAD = 0x800


def _many_folios() -> MockTrace:
    """Four huge pages whose lives run at once: shared, split, read, freed, used again."""
    trace = MockTrace()
    kernel = MockKernel(trace)
    for turn in range(2):
        folios = [kernel.alloc(HEAD + 512 * at) for at in range(4)]
        for folio in folios:
            kernel.map_pmd(folio, 100, new=True)
            trace.record("read", folio.head, order=9, tid=300)
        for at, folio in enumerate(folios):
            trace.record("fork", 0, tid=100)
            kernel.unmap_pmd(folio, 100)
            if at != 3:
                trace.record("read_done", folio.head, order=9, tid=300, aux=0)
            if at % 2:
                kernel.split_folio(folio)
            trace.mark(f"turn {turn}")
        for at, folio in enumerate(folios):
            if not at % 2:
                kernel.free(folio)
            trace.record("read", folio.head + 1, tid=301 + at)
    return trace


def _marks_alone() -> MockTrace:
    trace = MockTrace()
    for turn in range(60):
        trace.mark(f"turn {turn}")
    return trace


def _miscounted() -> MockTrace:
    """Three huge pages; the kernel forgets to count a page's unmapping in the second."""
    trace = MockTrace()
    kernel = MockKernel(trace)
    folios = [kernel.alloc(HEAD + 512 * at) for at in range(3)]
    for folio in folios:
        kernel.map_pmd(folio, 100, new=True)
        kernel.fork(folio, 100, 101)
        kernel.split_pmd(folio, 101)
    for at, folio in enumerate(folios):
        kernel.unmap_pte(folio, 101, 5)
        if at == 1:
            folio.ptes.add((-1, 5))
        kernel.map_pte(folio, 101, 5)
        trace.mark(f"{{mark}} {at}")
    kernel.snapshot("{after}", tasks=(100, 101))
    return trace


STORIES = {
    "miscounted": _miscounted,
    "marks": _marks_alone,
    "many": _many_folios,
    "lifecycle": mock_stories.lifecycle,
    "race": mock_stories.seed_2015,
    "lossy": mock_stories.lossy,
    "crash": mock_stories.crash,
    "late_crash": mock_stories.late_crash,
}


def _both(path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> tuple[Trace, Trace]:
    whole = analysis.open_trace(str(path))
    monkeypatch.setattr(recording_module, "PART", size)
    return whole, analysis.open_trace(str(path))


def _assert_same(whole: Trace, parts: Trace) -> None:
    expected, table = whole.life_table(), parts.life_table()
    for name in expected:
        np.testing.assert_array_equal(table[name], expected[name], err_msg=name)
    assert stats_text(parts) == stats_text(whole)
    assert lives_text(parts, table) == lives_text(whole, expected)
    if len(table["life"]):
        assert most_interesting(parts) == most_interesting(whole)
    assert parts.totals == whole.totals
    pd.testing.assert_frame_equal(parts.df_findings(), whole.df_findings())
    assert parts.audit.set_aside == whole.audit.set_aside
    verdicts = verify(whole), verify(parts)
    pd.testing.assert_frame_equal(verdicts[0].table, verdicts[1].table, check_dtype=False)
    pd.testing.assert_frame_equal(verdicts[0].differences, verdicts[1].differences)


@pytest.mark.parametrize("size", [1, 7, 50])
@pytest.mark.parametrize("story", STORIES)
def test_lives_and_totals_are_the_same_when_a_trace_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: str, size: int
) -> None:
    # GIVEN a trace, written out of order of time as a ring of many CPUs is
    trace = STORIES[story]()
    for at in range(0, len(trace.items) - 1, 5):
        trace.items[at], trace.items[at + 1] = trace.items[at + 1], trace.items[at]
    path = trace.write(tmp_path / "t.mapcount", block=11, ring=True)
    # WHEN it is read at once and in parts
    whole, parts = _both(path, monkeypatch, size)
    # THEN both say the same
    _assert_same(whole, parts)
    if story == "miscounted":
        assert len(whole.df_findings()) > 0
    if story == "many" or (story == "miscounted" and size == 1):
        assert len(list(parts.parts())) > 1


def test_each_life_is_replayed_once_when_a_trace_is_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace that is read in several parts
    monkeypatch.setattr(recording_module, "PART", 4)
    trace = analysis.open_trace(str(_many_folios().write(tmp_path / "t.mapcount")))
    replayed: dict[Part, list[int]] = {}
    replay = Part.replay

    def counted(self: Part, which: Iterable[int]) -> Replay:
        lives = list(which)
        replayed.setdefault(self, []).extend(lives)
        return replay(self, lives)

    monkeypatch.setattr(Part, "replay", counted)
    # WHEN it is audited THEN each part replays its lives once
    trace.df_findings()
    assert len(replayed) > 1
    for part, lives in replayed.items():
        assert sorted(lives) == list(range(len(part.lives)))


def test_reader_that_dies_is_told_once_when_its_records_are_in_several_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN readers that never return: one dies, one does something else, one reads on
    trace = _many_folios()
    path = trace.write(tmp_path / "t.mapcount")
    whole, parts = _both(path, monkeypatch, 3)
    # WHEN their windows are counted THEN parts know what a thread did in other ones
    unreturned = whole.reader_windows.leave == len(whole.log)
    assert unreturned.sum() > 0
    assert parts.totals.windows == whole.totals.windows
    # AND in the whole, nothing follows them in their threads
    for row in whole.reader_windows.enter[unreturned].tolist():
        later = whole.log.tid[row + 1 :] == whole.log.tid[row]
        assert not (later & (whole.log.op[row + 1 :] != OP["read"])).any()


@pytest.mark.parametrize("golden", ["7.x-shmem-thp", "6.1-shmem-thp", "5.10-shmem-thp"])
def test_the_answer_is_known_when_the_trace_is_synthetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: str
) -> None:
    # GIVEN forty copies of a golden folio
    path = tmp_path / "t.mapcount"
    answer = generate(path, 60_000, 40, golden)
    # WHEN they are read in parts THEN totals are those of one, forty times
    whole, parts = _both(path, monkeypatch, 5_000)
    assert len(list(parts.parts())) > 5
    found = parts.totals
    assert parts.census.events == answer.events > 50_000
    assert (found.orders, found.births, found.deaths, found.changes) == (
        answer.orders, answer.births, answer.deaths, answer.changes,
    )  # fmt: skip
    _assert_same(whole, parts)


def test_timeline_draws_the_same_life_when_the_trace_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace of many folios
    whole, parts = _both(_many_folios().write(tmp_path / "t.mapcount"), monkeypatch, 20)
    for life in range(whole.totals.lives):
        # WHEN one life is taken out THEN its counters are the same, and all marks are there
        near, number = parts.alone(life)
        assert len(near.log) < len(whole.log)
        expected, counts = whole.df_counts(life), near.df_counts(number)
        for name in ("ts", "counter", "subpage", "value", "source"):
            assert counts[name].tolist() == expected[name].tolist()
        assert near.df_marks()["name"].tolist() == whole.df_marks()["name"].tolist()


def test_an_unknown_life_is_an_error_when_it_is_looked_for(tmp_path: Path) -> None:
    # GIVEN a trace WHEN lives are asked for that it does not hold THEN each is one error
    opened = analysis.open_trace(str(_many_folios().write(tmp_path / "t.mapcount")))
    for life in (-1, 10_000, "x", "12-0xzz", "5-0x800", "-0x800"):
        with pytest.raises(analysis.AnalysisError, match="mapcount lives"):
            opened.life_number(life)
    assert opened.life_number(opened.df_lives()["id"][3]) == opened.life_number("3") == 3


def test_memory_is_given_back_when_blocks_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace in parts
    monkeypatch.setattr(recording_module, "PART", 50_000)
    path = tmp_path / "t.mapcount"
    generate(path, 200_000, 100)
    tracemalloc.start()
    try:
        # WHEN all of it was read
        opened = analysis.open_trace(str(path))
        assert opened.totals.lives == 1700
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # THEN next to nothing of it is left in memory, and none of it is mapped
    assert held < path.stat().st_size // 4
    assert os.fspath(path) not in Path("/proc/self/maps").read_text()
