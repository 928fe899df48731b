# SPDX-License-Identifier: GPL-2.0-or-later
"""The workloads' written tables against the kernel, and the reconstruction against both."""

import numpy as np
import pytest

from analysis.__main__ import main as analysis_main
from tests.kernel.jobs import KERNEL, STORIES
from vm import scenarios

pytestmark = pytest.mark.guest(f"matrix-{KERNEL}")


def marks_of(story):
    return [mark for mark in scenarios.table(story).marks if mark.folio == "thp"]


def each_mark():
    return [(story, mark.name) for story in STORIES for mark in marks_of(story)]


def mark_of(story, name):
    return next(mark for mark in marks_of(story) if mark.name == name)


def has_double_map(trace, story):
    return "double_map" in trace.meta["counters"] and scenarios.table(story).kind == "anon"


def life_at(trace, ts):
    """The huge page that the story is about, as it lives at a time."""
    lives = trace.df_lives()
    alive = lives[(lives["order"] == 9) & (lives["birth_ts"] <= ts)]
    alive = alive[alive["death_ts"].isna() | (alive["death_ts"] > ts)]
    assert len(alive) == 1, "the story has one huge page at a time"
    return int(alive.index[0])


def last_values(frame, counter, ts):
    """subpage -> value of a counter as of a time."""
    rows = frame[(frame["counter"] == counter) & (frame["ts"] <= ts)]
    rows = rows[rows["source"] == "replayed"]
    return rows.groupby("subpage")["value"].last()


@pytest.mark.parametrize("story, name", each_mark())
def test_df_counts_at_each_mark_when_compared_with_the_table(opened, story, name):
    # GIVEN a recorded story and the row of its table for a mark
    trace, mark = opened(story), mark_of(story, name)
    marks = trace.df_marks()
    ts = int(marks.loc[marks["name"] == name, "ts"].iloc[0])
    # WHEN the counts of its huge page are reconstructed as of the mark
    frame = trace.df_counts(life_at(trace, ts))
    # THEN they are the row: PMD mappings, DoubleMap, and PTE mappings of all 512 pages
    assert last_values(frame, "entire_mapcount", ts)[-1] == mark.pmd
    if has_double_map(trace, story):
        assert last_values(frame, "double_map", ts)[-1] == mark.double_map
    ptes = last_values(frame, "pte_mappings", ts)
    assert ptes.reindex(range(512)).tolist() == mark.pte_counts()


@pytest.mark.parametrize("story, name", each_mark())
def test_kernel_words_at_each_mark_when_compared_with_the_table(opened, story, name):
    # GIVEN the raw struct pages that the recorder read from /proc/kcore at the mark
    trace, mark = opened(story), mark_of(story, name)
    truth = trace.df_truth()
    pages = truth[(truth["name"] == name) & (truth["order"] == 9)].sort_values("pfn")
    assert len(pages) == 512
    # THEN the kernel's own words are what the table says
    assert set(pages["entire_mapcount"]) == {mark.pmd}
    anon = scenarios.table(story).kind == "anon"
    expected = np.array(mark.pte_counts())
    if "double_map" in trace.meta["counters"]:
        expected = expected + (mark.double_map if anon else mark.pmd)
    assert pages["mapcount"].tolist() == expected.tolist()
    if has_double_map(trace, story):
        assert set(pages["double_map"]) == {bool(mark.double_map)}


@pytest.mark.parametrize("story", STORIES)
def test_verify_when_the_story_is_recorded(opened, capsys, story):
    # GIVEN a recorded story WHEN the replay is held against the kernel's counters
    status = analysis_main(["verify", opened(story).path])
    # THEN there is no difference
    output = capsys.readouterr().out
    assert status == 0, output
    assert "0 differences, 0 possible" in output


@pytest.mark.parametrize("story", STORIES)
def test_losses_when_the_story_is_recorded(opened, story):
    # GIVEN a recorded story THEN nothing of it is lost, and the file is whole
    trace = opened(story)
    assert trace.df_losses().empty
    assert not trace.warnings
    assert not trace.meta["missing"]


def test_reader_windows_when_pages_are_freed_under_a_reader(opened):
    # GIVEN the thread's reproducer beside a reader of /proc/kpageflags and kpagecount
    trace = opened("seed-2015")
    # WHEN its readers' windows are held against the frees of the pages they look at
    events = trace.df_events()
    frees = events[events["op"] == "free"]
    windows = trace.windows
    assert len(windows) > 100
    raced = windows[windows["over_death"]]
    # THEN the race of 2015 is there
    assert len(raced)
    # AND each is one by the plain definition: the page's folio is freed between the two times
    for window in raced.itertuples():
        inside = frees[
            (frees["life"] == window.life) & frees["ts"].between(window.ts, window.end_ts)
        ]
        assert len(inside) == 1
        assert set(inside["tid"]) != {window.tid}
    # AND what was lost of so many records is told
    assert trace.df_losses()["lost"].sum() == trace.trailer["lost"]
