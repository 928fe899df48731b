# SPDX-License-Identifier: GPL-2.0-or-later
"""What a notebook does with a Trace: open, show, pickle, tell the time of day, ask wrongly."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

import analysis
import probes
from analysis.plot.waste import plot_waste
from analysis.trace import Trace
from probes.tracefile import BlockType
from tests import mock_stories
from tests.hostile_text import NAMES, acts, forged
from tests.mock import START_NS, MockTrace

GOLDEN = Path(__file__).parents[2] / "golden"
FRAMES = ("df_events", "df_lives", "df_marks", "df_losses", "df_truth", "df_findings", "df_tasks",
          "df_stacks")  # fmt: skip
#: What is no life of any trace.
WRONG = (
    None,
    -1,
    99,
    10**30,
    "99",
    "no-such-life",
    "1-0xzz",
    1.5,
    [],
    "9" * 5000,
    f"{10**17}-0x1",
)


def _open(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


@pytest.fixture(scope="module")
def lifecycle() -> Trace:
    return analysis.open_trace(str(GOLDEN / "6.1-lifecycle.mapcount"))


@pytest.mark.parametrize("name", FRAMES)
def test_frames_have_the_same_columns_when_they_are_empty(name: str, tmp_path: Path) -> None:
    # GIVEN a trace with all there is, and one with nothing in it
    full = getattr(_open(mock_stories.lossy(), tmp_path), name)()
    empty = getattr(_open(MockTrace(), tmp_path), name)()
    # THEN both frames have the same columns, of the same types but for the names of categories
    assert len(empty) == 0 and empty.columns.tolist() == full.columns.tolist()
    assert empty.index.name == full.index.name
    for column in full:
        if not isinstance(full[column].dtype, pd.CategoricalDtype):
            assert empty[column].dtype == full[column].dtype, column


def test_marks_and_truth_do_not_load_the_log_when_asked_for(
    lifecycle: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace whose log must not be made
    trace = analysis.open_trace(lifecycle.path)
    monkeypatch.setattr(type(trace.whole), "log", property(lambda self: pytest.fail("loaded")))
    # WHEN marks, snapshots and tasks are asked for THEN the marks know their labels in df_events
    marks, truth, tasks = trace.df_marks(), trace.df_truth(), trace.df_tasks()
    monkeypatch.undo()
    events = lifecycle.df_events()
    seen = events.loc[marks["event"]].reset_index(drop=True)
    for column in ("ts", "time", "tid", "pid"):
        pd.testing.assert_series_equal(marks[column], seen[column])
    assert (seen["op"] == "mark").all() and len(truth) > 0
    # AND the tasks are those that the events have
    by_task = events.groupby("tid")
    assert tasks["events"].tolist() == by_task.size().tolist()
    assert tasks["last_ts"].tolist() == by_task["ts"].max().tolist()
    assert tasks["pid"].tolist() == by_task["pid"].last().tolist()


def test_time_is_that_of_the_day_when_the_header_has_clocks(tmp_path: Path) -> None:
    # GIVEN a recording that began at a known time of day
    story = mock_stories.lifecycle()
    header = story.header()
    header["clock"] = {"monotonic_ns": START_NS, "realtime_ns": 1_700_000_000_000_000_000}
    story.header = lambda: header  # type: ignore[method-assign]
    trace = _open(story, tmp_path)
    events = trace.df_events()
    # THEN each event has its own
    began = pd.Timestamp("2023-11-14T22:13:20")
    expected = began + pd.to_timedelta(events["ts"] - START_NS, unit="ns")
    pd.testing.assert_series_equal(events["time"], expected.rename("time"), check_dtype=False)
    # AND any frame can be put into that order, also one with times that are not known
    lives = trace.by_time(trace.df_lives(), "death_ts")
    alive = trace.df_lives()["death_ts"].isna()
    assert lives.index.isna().tolist() == alive.tolist()
    assert trace.by_time(events).loc["2023-11-14 22:13"].shape[0] == len(events)
    with pytest.raises(analysis.AnalysisError, match="no column 'when'"):
        trace.by_time(events, "when")


@pytest.mark.parametrize("clock", [{}, {"monotonic_ns": "x", "realtime_ns": 1}, {"realtime_ns": 5},
                                   {"monotonic_ns": 1 << 80, "realtime_ns": 1}])  # fmt: skip
def test_time_is_not_known_when_the_header_lacks_clocks(clock: Any, tmp_path: Path) -> None:
    # GIVEN a header without clocks, or with impossible ones
    story = mock_stories.seed_2015()
    header = story.header() | {"clock": clock}
    story.header = lambda: header  # type: ignore[method-assign]
    # THEN no time of day is claimed
    assert _open(story, tmp_path).df_events()["time"].isna().all()


def test_stacks_are_text_when_they_were_recorded(tmp_path: Path) -> None:
    # GIVEN a trace with two stacks
    story = mock_stories.seed_2015()
    frames = {"7": [["inner", ""], ["outer", "ext4"]], "3": [["alone", ""]]}
    story.items.append((BlockType.STACKS, frames))
    # THEN each is a text, innermost first, under its number
    stacks = _open(story, tmp_path).df_stacks()
    assert stacks.index.tolist() == [3, 7] and stacks.index.name == "stack"
    assert stacks["text"].tolist() == ["alone", "inner\nouter"]
    assert stacks["depth"].tolist() == [1, 2]


def test_a_trace_tells_what_is_in_it_when_it_is_shown(lifecycle: Trace) -> None:
    # GIVEN a trace WHEN a notebook shows it THEN kernel, events and marks are told
    assert repr(lifecycle) == (
        "<Trace 6.1-lifecycle.mapcount: 3081 events in 590.344 ms, Linux 6.1.0-56-amd64>"
    )
    table = lifecycle._repr_html_()
    for words in ("Linux 6.1.0-56-amd64", "3081 events", "faulted, forked", "2026-11-24T06:51:47"):
        assert words in table


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_are_text_when_a_trace_is_shown(name: str, tmp_path: Path) -> None:
    # GIVEN a trace in which everything has a hostile name WHEN it is shown THEN nothing acts
    trace = _open(forged(name), tmp_path)
    for shown in (repr(trace), trace._repr_html_()):
        assert not acts(shown)
    assert "<script" not in trace._repr_html_()
    # AND Python has nothing to warn of, whatever the font lacks
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (analysis.plot_lives(trace), analysis.plot_timeline(trace, 0)):
            figure.savefig(tmp_path / "t.png")


def test_a_picture_tells_of_which_recording_it_is(lifecycle: Trace) -> None:
    # GIVEN a trace WHEN any picture of it is drawn THEN it names the kernel and the command
    told = "Linux 6.1.0-56-amd64; recorded: /mapcount/out/lifecycle"
    pictures = (
        analysis.plot_lives(lifecycle), analysis.plot_timeline(lifecycle, 0), plot_waste(lifecycle),
    )  # fmt: skip
    for figure in pictures:
        assert [text for text in figure.texts if told in text.get_text()]


def test_a_trace_is_the_same_when_it_was_pickled(lifecycle: Trace) -> None:
    # GIVEN a trace WHEN it goes to another process THEN its frames are the same there
    again = pickle.loads(pickle.dumps(lifecycle))
    pd.testing.assert_frame_equal(again.df_events(), lifecycle.df_events())


def test_frames_stay_when_the_trace_was_closed() -> None:
    # GIVEN a trace WHEN the block that opened it ends
    path = str(GOLDEN / "6.1-lifecycle.mapcount")
    with analysis.open_trace(path) as trace:
        lives = trace.df_lives()
    # THEN what was made is there, and what needs the file again says that it was closed
    assert trace.df_lives() is lives and len(lives) == 513
    with analysis.open_trace(path) as other:
        pass
    with pytest.raises(analysis.AnalysisError, match="was closed: open it again"):
        other.df_lives()
    other.close()


@pytest.mark.parametrize("life", WRONG, ids=lambda one: repr(one)[:20])
@pytest.mark.parametrize("ask", [
    lambda trace, life: trace.df_counts(life), lambda trace, life: trace.counts(life),
    lambda trace, life: trace.alone(life), lambda trace, life: trace.replay([life]),
    analysis.plot_timeline, lambda trace, life: analysis.plot_lives(trace, [life]),
], ids=["df_counts", "counts", "alone", "replay", "plot_timeline", "plot_lives"])  # fmt: skip
def test_no_such_life_is_one_error_whoever_is_asked(
    ask: Callable[[Trace, Any], object], life: Any, tmp_path: Path
) -> None:
    # GIVEN a trace of five lives WHEN another one is asked for THEN it is said how to find one
    trace = _open(mock_stories.seed_2015(), tmp_path)
    with pytest.raises(analysis.AnalysisError, match="mapcount lives"):
        ask(trace, life)


@pytest.mark.parametrize("page", [512, -1, "a", 1.5, None, 10**30])
def test_no_such_page_is_an_error_when_it_is_asked_for(page: Any, tmp_path: Path) -> None:
    # GIVEN a life of 512 pages WHEN another page is asked for THEN it is said which there are
    trace = _open(mock_stories.seed_2015(), tmp_path)
    with pytest.raises(analysis.AnalysisError, match="it has 512, from 0 on"):
        trace.df_counts(0, [0, page])
    assert set(trace.df_counts(0, np.array([3]))["subpage"]) == {-1, 3}


def test_lives_are_lanes_in_one_figure_when_drawn(lifecycle: Trace) -> None:
    # GIVEN lives by number and by id WHEN they are drawn
    wanted = [5, lifecycle.df_lives()["id"][0]]
    figure = analysis.plot_lives(lifecycle, wanted)
    # THEN each has a lane, in the order of birth, with the time that it was mapped
    (ax,) = figure.axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["0: 0x112000 order 9", "5: 0x112004 order 0"]
    counts = lifecycle.counts(0)
    begin = counts.ts[np.flatnonzero(counts.entire)[0]] - lifecycle.census.first_ts
    bars = [path.vertices for bar in ax.collections for path in bar.get_paths()]
    assert any(np.isclose(bar[:, 0].min(), begin / 1e6) for bar in bars)
    # AND without a wish there are the busiest, and never more than can be read
    assert len(analysis.plot_lives(lifecycle).axes[0].get_yticks()) == 40
    with pytest.raises(analysis.AnalysisError, match="takes 1 to"):
        analysis.plot_lives(lifecycle, range(500))


def test_no_figure_is_left_open_when_pictures_are_drawn(lifecycle: Trace) -> None:
    # GIVEN no figures WHEN two are drawn THEN pyplot knows of none
    pyplot.close("all")
    analysis.plot_timeline(lifecycle, 0)
    assert analysis.plot_lives(lifecycle)._repr_png_().startswith(b"\x89PNG")
    assert pyplot.get_fignums() == []


def test_a_part_of_a_trace_is_not_pickled(lifecycle: Trace, monkeypatch: Any) -> None:
    # GIVEN the memory around one life of a large trace WHEN it is pickled THEN that is refused
    monkeypatch.setattr("analysis.recording.PART", 100)
    near, _ = analysis.open_trace(lifecycle.path).alone(0)
    with pytest.raises(TypeError, match="pickle the whole"):
        pickle.dumps(near)


def test_version_is_that_of_the_program() -> None:
    # GIVEN the package WHEN asked THEN its version is the recorder's
    assert analysis.__version__ == probes.__version__
