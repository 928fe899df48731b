# SPDX-License-Identifier: GPL-2.0-or-later
"""That no picture lies: its panels agree, what is wrong or in doubt shows, and all is legible."""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.image import AxesImage  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from matplotlib.transforms import Bbox  # noqa: E402

import analysis  # noqa: E402
from analysis.plot.scene import scene_of  # noqa: E402
from analysis.plot.style import CROWDS, OPS, PMD, PTE, WRONG  # noqa: E402
from analysis.ranking import most_interesting  # noqa: E402
from analysis.trace import Trace  # noqa: E402
from tests import mock_stories  # noqa: E402
from tests.bench.synthetic import generate  # noqa: E402
from tests.mock import MockTrace  # noqa: E402
from tests.mock_kernel import MockKernel  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "golden"
HEAD = 0x12400
Story = Callable[[], MockTrace]


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    pyplot.close("all")


def _open(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


def _draw(trace: MockTrace, folder: Path) -> Figure:
    opened = _open(trace, folder)
    return analysis.plot_timeline(opened, most_interesting(opened))


def _split_folio(era: str = "large") -> tuple[MockTrace, MockKernel]:
    """A folio that one process maps by PTEs."""
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, 100, new=True)
    kernel.split_pmd(folio, 100)
    trace.tick(100_000)
    return trace, kernel


def _holes(every: int) -> MockTrace:
    trace, kernel = _split_folio()
    for page in range(0, 512, every):
        kernel.unmap_pte(kernel.folios[0], 100, page)
    trace.tick(300_000)
    kernel.emit("deferred", kernel.folios[0])
    return trace


def _marked(marks: int) -> MockTrace:
    trace, kernel = _split_folio()
    for number in range(max(1, marks)):
        if marks:
            trace.mark(f"step {number} of the work")
        trace.tick(3_000_000)
        kernel.unmap_pte(kernel.folios[0], 100, number)
    kernel.exit(kernel.folios[0], 100)
    kernel.free(kernel.folios[0])
    return trace


def _lossy(losses: int) -> MockTrace:
    trace, kernel = _split_folio()
    for number in range(losses):
        begin = trace.now
        trace.tick(20_000)
        trace.loss(begin, trace.now, [(0, "unmap", 3)])
        trace.tick(300_000)
        kernel.unmap_pte(kernel.folios[0], 100, number)
    kernel.unmap_pte(kernel.folios[0], 100, 300, 100)
    return trace


def _two_too_many() -> MockTrace:
    """Two PMD mappings that no operation declared."""
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, 100, new=True)
    trace.tick(100_000)
    folio.pmds += [1, 2]
    kernel.fork(folio, 100, 101)
    trace.tick(100_000)
    kernel.unmap_pmd(folio, 101)
    return trace


def _without_a_probe() -> MockTrace:
    trace = mock_stories.lifecycle("large")
    trace.missing = [
        {"op": "dup", "functions": ["copy_present_ptes"], "reason": "inlined", "lost": "forks"}
    ]
    return trace


def _long_names() -> MockTrace:
    trace, kernel = _split_folio()
    for tid in range(200, 208):
        trace.tasks.append((tid, tid, "WWWWWWWWWWWWWWW"))
        kernel.unmap_pte(kernel.folios[0], tid, tid)
        trace.mark("W" * 24, tid)
        trace.tick(1_000_000)
    return trace


def _of_order(order: int) -> MockTrace:
    """A folio whose PTE mappings go stretch by stretch, every second one."""
    trace = MockTrace("large")
    pages, head = 1 << order, 1 << 20
    trace.record("alloc", head, order=order, nr=0)
    trace.tick(100_000)
    seen = {"order": order, "refcount": pages + 5}
    trace.record("map_new", head, nr=pages if order < 16 else 0, **seen)
    left, step = pages, max(1, pages // 8)
    for page in range(0, pages, 2 * step):
        trace.tick(40_000)
        trace.record("unmap", head + page, nr=step, mapcount=1, large=left, nr_mapped=left,
                     anon=True, **seen)  # fmt: skip
        left -= step
    trace.tick(40_000)
    trace.record("deferred", head, nr=0, large=left, nr_mapped=left, anon=True, **seen)
    return trace


STORIES: dict[str, Story] = {
    "lifecycle": mock_stories.lifecycle,
    "seed_2015": mock_stories.seed_2015,
    "file_thp": mock_stories.file_thp,
    "crash": mock_stories.crash,
    "late_crash": mock_stories.late_crash,
    "lossy": lambda: mock_stories.lossy("large"),
    "marks-0": lambda: _marked(0),
    "marks-12": lambda: _marked(12),
    "marks-200": lambda: _marked(200),
    "losses-12": lambda: _lossy(12),
    "losses-200": lambda: _lossy(200),
    "two too many": _two_too_many,
    "without a probe": _without_a_probe,
    "long names": _long_names,
    "holes": lambda: _holes(3),
    "order-0": lambda: _of_order(0),
    "order-18": lambda: _of_order(18),
}


def _texts(figure: Figure) -> list[Text]:
    """Every text that is shown."""
    found = [
        text for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text.get_text() != "//"
    ]  # fmt: skip
    hidden = [ax for ax in figure.axes if not ax.get_visible() or not ax.axison]
    labels = {id(t) for ax in hidden for t in ax.get_xticklabels() + ax.get_yticklabels()}
    labels |= {id(t) for ax in hidden if not ax.get_visible() for t in ax.findobj(Text)}
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        # Ticks that are out of view have labels that nobody sees.
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                labels |= {id(tick.label1), id(tick.label2)}
    return [text for text in found if id(text) not in labels]


def _words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in _texts(figure))


def _extents(figure: Figure) -> list[tuple[str, Bbox]]:
    """What each text takes of the page in pixels, without the air above its letters."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in _texts(figure)]
    return [(name, box) for name, box in boxes if box.width > 0]


def _image(figure: Figure, name: str) -> np.ma.MaskedArray:
    (image,) = [i for i in figure.findobj(AxesImage) if i.get_gid() == name]
    return np.ma.asarray(image.get_array())


@pytest.mark.parametrize("every", [2, 3, 4, 5, 7, 8, 64, 511])
def test_panel_and_line_agree_when_every_kth_page_is_unmapped(tmp_path: Path, every: int) -> None:
    # GIVEN a folio with every k-th page unmapped
    opened = _open(_holes(every), tmp_path)
    # WHEN it is drawn
    figure = analysis.plot_timeline(opened, 0)
    # THEN what the map of pages shows adds up to what the line above it shows, at each time
    alike, mixed = _image(figure, "alike"), _image(figure, "mixed")
    rows = alike.shape[0]
    shown = np.where(np.ma.getmaskarray(mixed), alike.filled(np.nan), mixed.filled(np.nan))
    total = shown.sum(axis=0) * (512 // rows)
    scene = scene_of(opened, 0)
    low, high = scene.axis.places[0], scene.axis.places[-1]
    places = low + (np.arange(shown.shape[1]) + 0.5) / shown.shape[1] * (high - low)
    at = np.searchsorted(scene.counts.ts, scene.axis.ts(places), "right") - 1
    assert np.allclose(total, scene.counts.pte_total()[0][at])
    # THEN rows in which a page is mapped and another is not have a colour of their own
    holes = np.zeros(512, dtype=bool)
    holes[::every] = True
    by_row = holes.reshape(rows, -1)
    expected = by_row.any(axis=1) & ~by_row.all(axis=1)
    assert (~np.ma.getmaskarray(mixed)[:, -1]).tolist() == expected.tolist()
    drawn = {i.get_gid(): i.to_rgba(i.get_array()) for i in figure.findobj(AxesImage)
             if i.get_gid()}  # fmt: skip
    assert (drawn["mixed"][:, -1, 3] == expected).all()
    for row in np.flatnonzero(expected).tolist():
        colour = drawn["mixed"][row, -1, :3]
        for other in ((1.0, 1.0, 1.0), *map(tuple, drawn["alike"][~expected, 0, :3].tolist())):
            assert np.abs(colour - np.array(other)).max() > 0.15


def test_one_mapped_page_is_seen_when_its_row_has_two_thousand(tmp_path: Path) -> None:
    # GIVEN a folio of order 18 of which one page is mapped
    trace = MockTrace("large")
    trace.record("alloc", 1 << 20, order=18, nr=0)
    trace.tick(100_000)
    trace.record("map_anon", (1 << 20) + 5000, order=18, nr=1, refcount=5, anon=True)
    trace.tick(100_000)
    trace.record("deferred", 1 << 20, order=18, nr=0, refcount=5, large=1, nr_mapped=1, anon=True)
    # WHEN it is drawn THEN its row is not white
    figure = _draw(trace, tmp_path)
    mixed = _image(figure, "mixed")
    assert (~np.ma.getmaskarray(mixed)).any(axis=1).sum() == 1
    (image,) = [i for i in figure.findobj(AxesImage) if i.get_gid() == "mixed"]
    row = int(np.flatnonzero((~np.ma.getmaskarray(mixed)).any(axis=1))[0])
    *colour, opaque = image.to_rgba(image.get_array())[row, -1]
    assert opaque == 1 and min(colour) < 0.7


@pytest.mark.parametrize("order", [0, 1, 2, 4, 9, 10, 13, 18])
def test_a_folio_is_drawn_in_bounded_memory_when_its_order_is_any(
    tmp_path: Path, order: int
) -> None:
    # GIVEN a folio of any order, in a file of some kilobytes
    opened = _open(_of_order(order), tmp_path)
    # WHEN it is drawn
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figure = analysis.plot_timeline(opened, 0)
    figure.savefig(tmp_path / "out.png")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun
    # THEN no more than some hundred MB are taken, and rows add up to the line
    assert grown < 500_000
    shown = _image(figure, "alike")
    pages = 1 << order
    assert shown.shape[0] == min(128, pages)
    assert shown[:, -1].sum() * pages / shown.shape[0] == opened.counts(0).pte_total()[0][-1]


@pytest.mark.parametrize("name", [*STORIES, "5.10-lifecycle", "6.1-lifecycle", "7.x-shmem-thp"])
def test_no_text_lies_on_another_or_leaves_the_page_when_a_life_is_drawn(
    tmp_path: Path, name: str
) -> None:
    # GIVEN any story or a golden trace
    if name in STORIES:
        opened = _open(STORIES[name](), tmp_path)
    else:
        opened = analysis.open_trace(str(GOLDEN / f"{name}.mapcount"))
    # WHEN its most interesting life is drawn
    figure = analysis.plot_timeline(opened, most_interesting(opened))
    # THEN every text is on the page, and none on another
    boxes = _extents(figure)
    assert len(boxes) > 10
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (one, box), (other, beside) in itertools.combinations(boxes, 2):
        wide = min(box.x1, beside.x1) - max(box.x0, beside.x0)
        high = min(box.y1, beside.y1) - max(box.y0, beside.y0)
        # A pixel is how far letters reach over their line.
        assert wide <= 1 or high <= 2, f"{one!r} lies on {other!r}"


@pytest.mark.parametrize("marks", [0, 12, 200])
def test_no_line_runs_through_a_name_when_there_are_many_marks(tmp_path: Path, marks: int) -> None:
    # GIVEN a life with many marks
    begun = time.process_time()
    figure = _draw(_marked(marks), tmp_path)
    figure.savefig(tmp_path / "out.png")
    # WHEN it is drawn THEN this takes seconds
    assert time.process_time() - begun < 15
    # THEN every name has a line of its own, which crosses no other name
    strip = figure.axes[0]
    names = [(text, box) for text, box in _extents(figure) if text.startswith("step")]
    lines = [line.get_window_extent() for line in strip.lines]
    assert len(names) == marks if marks <= 12 else 6 <= len(names) <= marks
    assert len(lines) == len(names) + 1
    for name, box in names:
        for line in lines:
            beside = line.x0 > box.x1 or line.x1 < box.x0 + 1
            assert beside or line.y1 <= box.y0 + 1, name
    # THEN marks without a name are counted
    assert (f"{marks - len(names)} of {marks} marks" in _words(figure)) == (marks > len(names))


def test_losses_are_added_up_when_they_are_many(tmp_path: Path) -> None:
    # GIVEN a life with 200 losses WHEN it is drawn THEN one text says how many
    words = _words(_draw(_lossy(200), tmp_path))
    assert "600 events lost in 200 spans" in words
    assert words.count("lost in") == 1


def test_both_values_of_a_finding_are_in_view_when_the_books_do_not_balance(
    tmp_path: Path,
) -> None:
    # GIVEN a count of PMD mappings that is 3 where the operations give 1
    opened = _open(_two_too_many(), tmp_path)
    found = opened.df_findings()
    wrong = found[found["counter"] == "entire_mapcount"].iloc[0]
    assert (wrong["observed"], wrong["expected"]) == (3, 1)
    # WHEN it is drawn
    figure = analysis.plot_timeline(opened, 0)
    # THEN both are marked within the axes, and the picture says what they are
    counters = figure.axes[1]
    low, high = counters.get_ylim()
    marked = [line.get_ydata()[0] for line in counters.lines
              if line.get_color() == WRONG and line.get_marker() in ("X", "o")]  # fmt: skip
    assert sorted(marked) == [1.0, 3.0] and low < 1 < 3 < high
    words = _words(figure).replace("\n", " ")
    assert "entire_mapcount is 3, expected 1" in words
    assert "folio_add_new_anon_rmap() by workload/100" in words
    for name in ("finding: observed", "expected"):
        assert name in words


def test_a_finding_is_where_it_was_seen_when_a_snapshot_saw_it(tmp_path: Path) -> None:
    # GIVEN a mapping that is gone without a record before a snapshot
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pte(folio, 100, 7)
    trace.tick(1_000_000)
    folio.ptes.clear()
    kernel.snapshot("end", tasks=(100,))
    trace.tick(1_000_000)
    kernel.emit("deferred", folio)
    opened = _open(trace, tmp_path)
    (shot,) = opened.snapshots
    # WHEN its life is drawn
    figure = analysis.plot_timeline(opened, 0)
    # THEN its findings are marked at the time of the snapshot, that of the page at its page
    found = opened.df_findings()
    assert {"mapcount", "large_mapcount"} <= set(found["counter"])
    assert set(found["seen_ts"]) == {shot.ts_begin}
    place = scene_of(opened, 0).axis.x(np.array([shot.ts_begin]))[0]
    marked = [line for ax in figure.axes for line in ax.lines if line.get_marker() == "X"]
    assert marked and all(line.get_xdata() == pytest.approx(place) for line in marked)
    (of_page,) = [line for line in figure.axes[2].lines if line.get_marker() == "X"]
    assert set(of_page.get_ydata()) == {7.5}


def test_a_value_is_at_the_edge_when_it_is_far_out_of_scale(tmp_path: Path) -> None:
    # GIVEN a count that jumps to 5000 for no reason
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, 100, new=True)
    kernel.emit("deferred", folio, entire=5000)
    # WHEN it is drawn
    figure = _draw(trace, tmp_path)
    # THEN the line of the replay is still seen, an arrow points out, and the words have the value
    counters = figure.axes[1]
    assert counters.get_ylim()[1] < 10
    assert "^" in [line.get_marker() for line in counters.lines]
    assert "entire_mapcount is 5000, expected 1" in _words(figure).replace("\n", " ")


def _dotted(figure: Figure) -> list[tuple[float, float]]:
    """From where to where each of the dotted lines of the replay goes."""
    return [
        (line.get_xdata()[0], line.get_xdata()[-1]) for ax in figure.axes for line in ax.lines
        if line.get_color() in (PMD, PTE) and line.get_linestyle() == "--"
    ]  # fmt: skip


def test_the_replay_is_dotted_when_it_comes_after_a_loss(tmp_path: Path) -> None:
    # GIVEN a life with a loss
    opened = _open(mock_stories.lossy("large"), tmp_path)
    scene = scene_of(opened, 0)
    lost = float(scene.axis.x(np.array([opened.losses[0].from_ts]))[0])
    # WHEN it is drawn THEN lines and pages are in doubt from there on
    figure = analysis.plot_timeline(opened, 0)
    assert len(_dotted(figure)) == 2
    for begin, end in _dotted(figure):
        assert begin == pytest.approx(lost) and end > lost
    veils = [c for c in figure.axes[2].collections if c.get_hatch() == "...."]
    assert [veil.get_paths()[0].get_extents().x0 for veil in veils] == [pytest.approx(lost)]
    assert "in doubt from here on, events were lost" in _words(figure)


def test_all_of_the_replay_is_dotted_when_a_probe_is_missing(tmp_path: Path) -> None:
    # GIVEN a recording without a probe that the books need WHEN it is drawn
    figure = _draw(_without_a_probe(), tmp_path)
    # THEN nothing is drawn as certain, and the picture says why
    firm = [line for ax in figure.axes[1:] for line in ax.lines
            if line.get_color() in (PMD, PTE) and line.get_linestyle() == "-"]  # fmt: skip
    assert not any(np.ptp(line.get_xdata()) for line in firm if len(line.get_xdata()))
    assert len(_dotted(figure)) == 2
    assert "no probe on copy_present_ptes" in _words(figure)


def test_nothing_is_dotted_when_nothing_was_lost(tmp_path: Path) -> None:
    # GIVEN a whole recording WHEN it is drawn THEN nothing is in doubt
    figure = _draw(mock_stories.lifecycle(), tmp_path)
    assert _dotted(figure) == [] and "doubt" not in _words(figure)


def test_a_vector_file_stays_small_when_a_life_has_sixty_thousand_events(tmp_path: Path) -> None:
    # GIVEN one life of 60 000 events
    generate(tmp_path / "t.mapcount", 60_000, 1)
    figure = analysis.plot_timeline(analysis.open_trace(str(tmp_path / "t.mapcount")), 0)
    # WHEN it is written as SVG and PDF THEN crowds of marks are images in it
    for suffix in ("svg", "pdf"):
        figure.savefig(tmp_path / f"out.{suffix}")
        assert (tmp_path / f"out.{suffix}").stat().st_size < 1_000_000


#: What eyes see that lack a cone: protanopia, deuteranopia, tritanopia, on linear RGB
#: (Machado, Oliveira and Fernandes, 2009, severity 1).
EYES = {
    "all cones": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip


def _lab(colour: str, eyes: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a colour as some eyes see it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
                       [0.0193, 0.1192, 0.9505]])  # fmt: skip
    xyz = to_xyz @ np.clip(eyes @ linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", EYES)
def test_crowds_of_marks_differ_when_eyes_lack_a_cone(eyes: str) -> None:
    # GIVEN the operations that come once for each page
    for one, other in itertools.combinations(CROWDS, 2):
        (colour, marker, height), (beside, shape, level) = OPS[one], OPS[other]
        # THEN shape and height differ, and the colours do to all eyes
        assert marker != shape and abs(height - level) >= 0.15
        assert np.linalg.norm(_lab(colour, EYES[eyes]) - _lab(beside, EYES[eyes])) > 20


@pytest.mark.parametrize("end", ["free", "alive"])
def test_no_kind_is_claimed_when_a_folio_was_never_mapped(tmp_path: Path, end: str) -> None:
    # GIVEN a folio that was allocated and, it may be, freed, and never mapped
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, anon=False)
    trace.tick(500_000)
    kernel.emit("free" if end == "free" else "deferred", folio)
    # WHEN it is drawn THEN it is not called what only a mapping could tell
    words = _words(_draw(trace, tmp_path))
    assert "Never mapped folio of 512 pages" in words
    assert "file" not in words.lower()


def test_time_says_that_it_is_bent_when_it_is(tmp_path: Path) -> None:
    # GIVEN bursts between idle time, and a life in which events are evenly spaced
    bursts = _draw(mock_stories.lifecycle(), tmp_path)
    trace, kernel = _split_folio()
    trace.now -= 100_000
    kernel.unmap_pte(kernel.folios[0], 100, 0, 1)
    for page in range(1, 60):
        kernel.unmap_pte(kernel.folios[0], 100, page)
    even = _draw(trace, tmp_path)
    # WHEN both are drawn THEN only the first is not to scale, and its small ticks are uneven
    assert "not to scale" in _words(bursts) and "not to scale" not in _words(even)
    lanes = next(ax for ax in bursts.axes if "time since birth" in ax.get_xlabel())
    places = np.array(lanes.get_xticks(minor=True))
    assert len(places) > 10
    assert np.diff(places).max() > 2 * np.diff(places).min()


def test_only_the_window_is_drawn_when_a_time_is_given(tmp_path: Path) -> None:
    # GIVEN a life cycle and the time around one of its marks
    opened = _open(mock_stories.lifecycle(), tmp_path)
    marks = opened.df_marks().set_index("name")["ts"]
    window = (int(marks["child split"]) - 5000, int(marks["parent split"]) + 5000)
    # WHEN that is looked at
    life = most_interesting(opened)
    scene = scene_of(opened, life, window)
    figure = analysis.plot_timeline(opened, life, window=window)
    # THEN the axis is that time, and only what happened in it is there
    assert (scene.first, scene.last) == window
    assert scene.events["ts"].between(*window).all() and len(scene.events)
    words = _words(figure)
    assert "child split" in words and "parent split" in words
    assert "faulted" not in words and "child 1 exited" not in words and "folio split" not in words
    # THEN the counters begin with what they were
    (pmd,) = [line for line in figure.axes[1].lines if line.get_label() == "PMD mappings, replayed"]
    at = opened.counts(life).position(window[0])
    assert pmd.get_ydata()[0] == opened.counts(life).entire[at]


def test_a_window_without_the_life_is_an_error_when_it_is_drawn(tmp_path: Path) -> None:
    # GIVEN a life and a time after it WHEN it is drawn THEN the error says when it was
    opened = _open(mock_stories.lifecycle(), tmp_path)
    with pytest.raises(analysis.AnalysisError, match="lasts from 0.000 to 141.362 ms"):
        analysis.plot_timeline(opened, most_interesting(opened), window=(2 * 10**12, 3 * 10**12))


def test_one_replay_and_one_table_are_made_when_a_life_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace that was audited
    opened = _open(mock_stories.lifecycle(), tmp_path)
    life = most_interesting(opened)
    assert len(opened.df_findings()) == 0
    made: list[str] = []
    for name in ("replay", "life_table"):
        real = getattr(Trace, name)

        def counted(self: Trace, *args: object, name: str = name, real: object = real) -> object:
            made.append(name)
            return real(self, *args)  # type: ignore[operator]

        monkeypatch.setattr(Trace, name, counted)
    # WHEN a life is drawn THEN it is looked up once and replayed once
    analysis.plot_timeline(opened, life)
    assert sorted(made) == ["life_table", "replay"]
