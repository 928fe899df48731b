# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture: what must be in it, for each kind of life."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import analysis  # noqa: E402
from analysis.ranking import most_interesting  # noqa: E402
from analysis.trace import Trace  # noqa: E402
from tests import mock_stories  # noqa: E402
from tests.mock import MockTrace  # noqa: E402


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    pyplot.close("all")


def _open(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


def _texts(figure: Figure) -> str:
    found = [text.get_text() for ax in figure.axes for text in ax.texts]
    found += [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    found += [text.get_text() for text in figure.texts]
    return "\n".join(found)


def test_marks_tasks_and_double_map_are_named_when_a_lifecycle_is_drawn(tmp_path: Path) -> None:
    # GIVEN a life cycle with marks
    opened = _open(mock_stories.lifecycle(), tmp_path)
    # WHEN its folio is drawn
    figure = analysis.plot_timeline(opened, most_interesting(opened))
    figure.savefig(tmp_path / "out.png")
    # THEN marks, tasks, DoubleMap, operations and the end have their names
    text = _texts(figure)
    for name in ("faulted", "parent split", "child-1/101", "DoubleMap", "split_pmd", "×511",
                 "folio split", "0x12400"):  # fmt: skip
        assert name in text
    assert (tmp_path / "out.png").stat().st_size > 20_000


def test_the_race_is_told_when_a_reader_overlaps_the_free(tmp_path: Path) -> None:
    # GIVEN lives of which some were freed under a reader
    opened = _open(mock_stories.seed_2015(), tmp_path)
    # WHEN the most interesting one is drawn
    life = most_interesting(opened)
    figure = analysis.plot_timeline(opened, life)
    # THEN it is one of these, and the picture says who read
    assert opened.df_lives()["raced_reads"][life] == 1
    assert "reader window overlaps free: page-types/900" in _texts(figure)


def test_the_kernels_death_is_drawn_when_it_died_of_a_reader(tmp_path: Path) -> None:
    # GIVEN a kernel that died in a reader's window
    opened = _open(mock_stories.crash(), tmp_path)
    # WHEN the life that it died of is drawn
    figure = analysis.plot_timeline(opened, most_interesting(opened))
    # THEN its complaint is there, and who died in which window
    text = _texts(figure)
    assert "page dumped because: VM_BUG_ON_PAGE(!PageHead(page))" in text
    assert "page-types/900" in text and "died 21.000 µs after it" in text


def test_loss_is_told_when_events_were_lost(tmp_path: Path) -> None:
    # GIVEN a life with a loss in it
    opened = _open(mock_stories.lossy(), tmp_path)
    # WHEN it is drawn
    figure = analysis.plot_timeline(opened, 0)
    # THEN the picture says how much
    assert "37 events lost" in _texts(figure)


@pytest.mark.parametrize("era", ["double_map", "large"])
@pytest.mark.parametrize("story", ["lifecycle", "seed_2015", "file_thp", "lossy", "crash"])
def test_every_story_is_drawn_when_the_era_is_any(tmp_path: Path, story: str, era: str) -> None:
    # GIVEN any story
    opened = _open(getattr(mock_stories, story)(era), tmp_path)
    # WHEN its first and its last life are drawn
    for life in (0, len(opened.lives) - 1):
        figure = analysis.plot_timeline(opened, life)
        figure.savefig(tmp_path / f"{life}.svg")
        # THEN the vector file stays small: the map of pages is an image in it
        assert (tmp_path / f"{life}.svg").stat().st_size < 2_000_000


def test_only_the_counters_are_drawn_when_axes_are_given(tmp_path: Path) -> None:
    # GIVEN axes of the caller
    opened = _open(mock_stories.file_thp("large"), tmp_path)
    figure, ax = pyplot.subplots()
    # WHEN a life is drawn into them
    result = analysis.plot_timeline(opened, 0, ax)
    # THEN it is the caller's figure, with nothing but the twin axis added
    assert result is figure
    assert len(figure.axes) == 2
    assert len(ax.lines) >= 1
