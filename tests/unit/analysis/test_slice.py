# SPDX-License-Identifier: GPL-2.0-or-later
"""Slices of a trace: what they keep, and that they tell nothing that the whole does not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis.__main__ import main
from analysis.slicing import Wanted, write_slice
from analysis.trace import Trace
from analysis.verify import verify
from tests import mock_stories
from tests.mock import START_NS, MockTrace

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.mapcount"))
FRAME = 0x11200


def cut(
    path: Path,
    output: Path,
    time: tuple[float, float] = (0, math.inf),
    pages: tuple[tuple[int, int], ...] | None = None,
) -> Trace:
    """A slice of the trace PATH, opened."""
    trace = analysis.open_trace(str(path))
    output.unlink(missing_ok=True)
    write_slice(trace, str(output), Wanted.of(trace, time, pages))
    return analysis.open_trace(str(output))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_slice_is_sound_wherever_it_is_cut(
    tmp_path: Path, path: Path, bounds: tuple[float, float]
) -> None:
    # GIVEN a golden trace, in which nothing is wrong
    whole = analysis.open_trace(str(path))
    span = (whole.census.last_ts - whole.census.first_ts) / 1e6
    begin, end = sorted(bound * span for bound in bounds)
    # WHEN any time of it is cut out
    part = cut(path, tmp_path / "part", (begin, end))
    # THEN it has just the records of that time
    since = whole.log.ts - whole.census.first_ts
    inside = (since >= round(begin * 1e6)) & (since < round(end * 1e6))
    np.testing.assert_array_equal(part.log.raw, whole.log.raw[inside])
    # AND nothing is wrong in it either
    assert len(part.df_findings()) == 0
    assert verify(part).certain == 0


def test_a_slice_of_all_is_the_same_story(tmp_path: Path) -> None:
    # GIVEN a trace WHEN all of it is cut out THEN events, lives, truth and verdict are the same
    path = mock_stories.lifecycle().write(tmp_path / "t")
    whole, part = analysis.open_trace(str(path)), cut(path, tmp_path / "part")
    assert part.df_events().equals(whole.df_events())
    assert part.df_lives().equals(whole.df_lives())
    assert part.df_truth().equals(whole.df_truth())
    assert part.trailer == whole.trailer
    assert not part.warnings


def test_whole_frames_are_kept_when_pages_are_wanted(tmp_path: Path) -> None:
    # GIVEN two folios in neighbouring frames, and a mark
    trace = MockTrace()
    for pfn in (FRAME, FRAME + 512):
        trace.record("alloc", pfn, order=9, nr=0)
        trace.record("map_new", pfn, order=9, nr=0, level="pmd", anon=True)
    trace.mark("done")
    trace.truth("end", [FRAME, FRAME + 512], bytes(2 * 512 * 64), [0] * 1024, [0] * 1024)
    # WHEN a page in the middle of the second is wanted
    path, page = trace.write(tmp_path / "t"), FRAME + 512 + 77
    part = cut(path, tmp_path / "part", pages=((page, page),))
    # THEN its folio is whole, the mark is there, and the other is not, in the snapshot neither
    assert part.df_lives()["head_pfn"].tolist() == [FRAME + 512]
    assert part.df_lives()["events"].tolist() == [2]
    assert part.df_marks()["name"].tolist() == ["done"]
    assert part.snapshots[0].frames.tolist() == [FRAME + 512]
    assert part.snapshots[0].pages.shape == (1, 512, 64)


def test_what_was_cut_away_is_no_loss(tmp_path: Path) -> None:
    # GIVEN a trace with one loss of 37 events
    path = mock_stories.lossy().write(tmp_path / "t")
    whole = analysis.open_trace(str(path))
    gap = whole.gaps[0]
    # WHEN all is kept but the pages THEN the one loss is there, and no other
    nothing = cut(path, tmp_path / "nothing", pages=((1, 1),))
    assert nothing.cpu_lost == whole.cpu_lost == {gap.cpu: 37}
    assert [loss.lost for loss in nothing.losses] == [37]
    # AND a slice of the slice keeps it as well
    again = cut(tmp_path / "nothing", tmp_path / "again", pages=((1, 1),))
    assert again.gaps == whole.gaps
    assert again.meta["slice"]["of"] == "t"
    # BUT a slice that begins after it has none
    later = (gap.to_ts - whole.census.first_ts + 1) / 1e6
    assert cut(path, tmp_path / "later", (later, math.inf)).gaps == []


def test_tasks_keep_the_names_that_they_had(tmp_path: Path) -> None:
    # GIVEN a task that was born and renamed before the slice begins
    trace = MockTrace()
    trace.task_new(200, "child")
    trace.task_rename(200, "worker")
    trace.tick(1_000_000)
    trace.record("alloc", FRAME, order=9, nr=0, tid=200)
    # WHEN it is cut THEN its name is known
    part = cut(trace.write(tmp_path / "t"), tmp_path / "part", (0.5, math.inf))
    assert part.df_events()["comm"].tolist() == ["worker"]
    assert part.census.first_ts > START_NS + 500_000


def test_a_slice_of_a_death_ends_with_it(tmp_path: Path) -> None:
    # GIVEN a trace whose kernel died
    trace = mock_stories.seed_2015(rounds=2)
    trace.dies(["kernel BUG at mm/util.c:1"])
    trace.mark("last")
    path = trace.write(tmp_path / "t")
    whole = analysis.open_trace(str(path))
    # WHEN its end is in the slice THEN the death is; WHEN it is not THEN the slice ends in order
    assert cut(path, tmp_path / "a").recovery == whole.recovery
    before = (whole.census.last_ts - whole.census.first_ts) / 2e6
    part = cut(path, tmp_path / "b", (0, before))
    assert part.recovery is None
    assert part.trailer is not None and part.trailer["end"] == "cut here"
    assert not part.warnings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--time", "7"], "'7' is not a time span: write A:B"),
        (["--time", "5:3"], "'5:3' is not a time span"),
        (["--time", "x:"], "'x:' is not a time span"),
        (["--time", "nan:"], "'nan:' is not a time span"),
        (["--pfn", "x"], "'x' is not a page span"),
    ],
)
def test_usage_is_explained_when_a_span_is_none(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a span that is none WHEN slice is run THEN it is a usage error with what to write
    with pytest.raises(SystemExit) as ended:
        main(["slice", "t", "-o", str(tmp_path / "part"), *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_command_writes_a_trace_that_stats_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace WHEN the command cuts it
    path, part = mock_stories.lifecycle().write(tmp_path / "t"), tmp_path / "part"
    assert main(["slice", str(path), "--time", ":0.01", "-o", str(part)]) == 0
    assert f"wrote {part}: " in capsys.readouterr().out
    # THEN stats says whose slice it is, and where it ends
    assert main(["stats", str(part), "--strict"]) == 0
    text = capsys.readouterr().out
    assert "slice of    t" in text
    assert "ended       cut here" in text
    # AND it is not overwritten unasked
    assert main(["slice", str(path), "-o", str(part)]) == 1


def test_nothing_is_found_in_a_trace_of_no_folio(tmp_path: Path) -> None:
    # GIVEN a trace with a mark alone WHEN it is audited and verified THEN nothing is wrong
    trace = MockTrace()
    trace.mark("alone")
    opened = analysis.open_trace(str(trace.write(tmp_path / "t")))
    assert len(opened.df_findings()) == 0
    assert verify(opened).checked == 0
