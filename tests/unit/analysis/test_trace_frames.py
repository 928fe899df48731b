# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames of a Trace: columns, types, NA, names over time."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.trace import Trace
from tests import mock_stories
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

HEAD = 0x800
STORIES = ("lifecycle", "seed_2015", "file_thp", "lossy")


def _open(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


def _documented(function: object) -> set[str]:
    return set(re.findall(r"``([a-z0-9_]+)``", str(function.__doc__)))


@pytest.mark.parametrize("name", ["df_events", "df_lives", "df_marks", "df_losses", "df_truth"])
def test_docstrings_name_every_column_when_a_frame_is_made(tmp_path: Path, name: str) -> None:
    # GIVEN a trace with everything in it
    opened = _open(mock_stories.lossy(), tmp_path)
    # WHEN a frame is made
    frame = getattr(opened, name)()
    # THEN its docstring is its schema
    assert set(frame.columns) <= _documented(getattr(Trace, name))


def test_counters_are_logical_and_na_when_the_kernel_has_none(tmp_path: Path) -> None:
    # GIVEN a folio and a single page on a kernel without nr_pages_mapped
    trace = MockTrace("double_map")
    trace.record("map_anon", HEAD, order=9, mapcount=3, entire=2, anon=True, double_map=True)
    trace.record("map_anon", HEAD + 512, mapcount=1)
    trace.record("map_anon", HEAD + 1024, order=9, unread=True)
    trace.record("map_anon", HEAD + 1536, mapcount=-127)
    # WHEN the events are read
    events = _open(trace, tmp_path).df_events()
    # THEN values are fields + 1, and NA where nothing was there to read
    na = pd.NA
    assert events["mapcount"].tolist()[:2] == [3, 1]
    assert events["mapcount"].isna().tolist() == [False, False, True, True]
    assert events["entire_mapcount"].fillna(-9).tolist() == [2, -9, -9, -9]
    assert events["nr_pages_mapped"].isna().all()
    assert events["large_mapcount"].isna().all()
    assert events["double_map"].tolist()[0] is True
    assert events["double_map"].tolist()[1] is na


def test_delta_is_zero_when_the_function_failed(tmp_path: Path) -> None:
    # GIVEN a fork's copy of a PMD mapping that fails, and one that does not
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, 100, new=True)
    kernel.emit("dup_pmd", folio, nr=0, level="pmd")
    kernel.emit("dup_pmd_done", folio, nr=0, level="pmd", aux=-11)
    kernel.fork(folio, 100, 101)
    # WHEN the events are read
    opened = _open(trace, tmp_path)
    # THEN only the second one counts
    assert opened.df_events()["delta"].tolist() == [0, 1, 0, 0, 0, 1]
    assert opened.counts(0).at(trace.now).entire == 2


def test_comm_follows_renames_when_a_task_changes_its_name(tmp_path: Path) -> None:
    # GIVEN tasks that were there, that are new, that exec, and that only exit
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, tid=100)
    trace.task_new(101, "workload", 100)
    kernel.map_pte(folio, 101, 1)
    trace.task_rename(101, "child")
    kernel.map_pte(folio, 101, 2)
    kernel.map_pte(folio, 777, 3)
    trace.task_exit(777, "latecomer")
    kernel.map_pte(folio, 888, 4)
    # WHEN the events are read
    events = _open(trace, tmp_path).df_events()
    # THEN each has the name of its time
    maps = events[events["op"] == "map"]
    assert maps["comm"].tolist() == ["workload", "child", "latecomer", "?"]


def test_events_are_in_time_order_when_the_ring_was_not(tmp_path: Path) -> None:
    # GIVEN records whose places in the file are not in order of time
    trace = MockTrace()
    MockKernel(trace).map_pte(MockKernel(trace).older(HEAD), 100, 0, nr=5)
    trace.items.reverse()
    # WHEN they are read, from either kind of block
    plain = _open(trace, tmp_path).df_events()
    ring = analysis.open_trace(str(trace.write(tmp_path / "r", ring=True))).df_events()
    # THEN the frame is in order of time
    assert plain["ts"].is_monotonic_increasing
    pd.testing.assert_frame_equal(plain, ring)


def test_losses_and_gaps_agree_when_events_were_lost(tmp_path: Path) -> None:
    # GIVEN a trace with 37 lost events
    opened = _open(mock_stories.lossy(), tmp_path)
    # WHEN losses are asked for
    losses, gaps = opened.df_losses(), opened.gaps
    # THEN the recorder's count and the gap in the numbering agree
    assert losses["lost"].tolist() == [37]
    assert losses["event"].tolist() == ["page_remove_rmap"]
    assert [gap.lost for gap in gaps] == [37]
    assert opened.cpu_lost == {gaps[0].cpu: 37}


def test_marks_lose_their_newline_when_echo_wrote_them(tmp_path: Path) -> None:
    # GIVEN a mark that echo wrote
    trace = MockTrace()
    trace.mark("forked\n")
    # WHEN the marks are read
    marks = _open(trace, tmp_path).df_marks()
    # THEN the name is the name
    assert marks["name"].tolist() == ["forked"]


@pytest.mark.parametrize("story", STORIES)
def test_frames_are_empty_but_whole_when_there_are_no_events(tmp_path: Path, story: str) -> None:
    # GIVEN the header of a story and nothing else
    trace = getattr(mock_stories, story)()
    trace.items.clear()
    # WHEN every frame is made
    opened = _open(trace, tmp_path)
    # THEN all of them are empty
    for name in ("df_events", "df_lives", "df_marks", "df_losses", "df_truth"):
        assert len(getattr(opened, name)()) == 0


def test_life_is_found_by_number_and_by_id_when_asked(tmp_path: Path) -> None:
    # GIVEN a trace with lives
    opened = _open(mock_stories.seed_2015(), tmp_path)
    # WHEN a life is asked for by its id, its number, its number as text, and wrongly
    life = opened.df_lives()["id"][3]
    # THEN the first three are the same and the last one is an error that names the command
    assert opened.life_number(life) == opened.life_number(3) == opened.life_number("3") == 3
    for wrong in (99, "99", "no-such-life", -1):
        with pytest.raises(analysis.AnalysisError, match="mapcount lives"):
            opened.life_number(wrong)
