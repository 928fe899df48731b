# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts the panels of one folio's life together."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from analysis.plot.annotate import (
    RUG,
    draw_cuts,
    draw_doubt,
    draw_losses,
    draw_marks,
    draw_races,
    flags_of,
    has_rug,
    rows_of,
)
from analysis.plot.counters import draw_counters
from analysis.plot.discrepancies import draw_page_findings
from analysis.plot.figure import Picture, put_title, recorded
from analysis.plot.labels import Panel, fitted
from analysis.plot.lanes import draw_lanes, lane_count
from analysis.plot.pages import draw_pages
from analysis.plot.scene import Scene, Window, scene_of
from analysis.plot.style import DPI, GRID
from analysis.text import duration
from analysis.trace import Trace

#: Inches: the page's width and its margins, the panels' heights and what lies between them.
WIDTH, LEFT, RIGHT, TOP = 14.0, 1.75, 1.15, 0.85
STRIP_ROW, PANEL, LANE, GAP, AXIS = 0.19, 2.3, 0.36, 0.07, 0.5
LEGEND_ROWS, LEGEND_ROW, LEGEND_COLUMNS = 3, 0.19, 7
BAR, BAR_GAP = 0.15, 0.72
#: Parts of the time between two ticks, and points between two smaller ticks.
PARTS, MINOR = 5, 3.0


def plot_timeline(
    trace: Trace, life: int | str, ax: Axes | None = None, window: Window = None
) -> Figure:
    """Draw a life; the public function of the same name in analysis describes it."""
    scene = scene_of(trace, life, window)
    if ax is None:
        return _whole_figure(scene)
    ax.set_xlim(*scene.axis.limits)
    panel = Panel(ax, scene.axis.limits)
    named = draw_counters(panel, scene)
    draw_losses([panel], scene)
    draw_doubt(panel, (), scene)
    _label_time(panel, scene)
    ax.legend(handles=named, loc="upper left", fontsize=8)
    figure = ax.figure
    while isinstance(figure, SubFigure):
        figure = figure.figure
    return figure


class _Page:
    """A page of panels, from the top down, all of one width."""

    def __init__(self, scene: Scene, height: float) -> None:
        self.figure = Picture(figsize=(WIDTH, height), dpi=DPI)
        self.limits = scene.axis.limits
        self.height = height
        self.y = height - TOP

    def add(self, high: float, left: float = LEFT, width: float = WIDTH - LEFT - RIGHT) -> Axes:
        """Axes below what there is."""
        self.y -= high
        bounds = (left / WIDTH, self.y / self.height, width / WIDTH, high / self.height)
        return self.figure.add_axes(bounds)

    def panel(self, high: float) -> Panel:
        """A panel on the shared axis of time."""
        ax = self.add(high)
        ax.set_xlim(*self.limits)
        ax.spines[["top", "right"]].set_visible(False)
        self.y -= GAP
        return Panel(ax, self.limits)


def _whole_figure(scene: Scene) -> Figure:
    lanes_height = 0.2 + LANE * max(1, lane_count(scene))
    # Names above the panels are placed first: their rows decide how high the page is.
    flags = flags_of(_Page(scene, 10.0).panel(1.0), scene)
    rows = rows_of(flags)
    foot = RUG if has_rug(flags, scene) else 0.0
    strip_height = STRIP_ROW * (rows + foot) + 0.05
    below = AXIS + LEGEND_ROWS * LEGEND_ROW
    height = TOP + strip_height + 2 * PANEL + lanes_height + 4 * GAP + below
    page = _Page(scene, height)
    strip, counters, pages = page.panel(strip_height), page.panel(PANEL), page.panel(PANEL)
    page.y += PANEL + GAP
    second = page.add(0.3 * PANEL, WIDTH - RIGHT + BAR_GAP - 0.55, BAR)
    page.y -= 0.15 * PANEL
    bar = page.add(0.55 * PANEL, WIDTH - RIGHT + BAR_GAP - 0.55, BAR)
    page.y -= GAP
    lanes = page.panel(lanes_height)
    panels = (counters, pages, lanes)

    named = draw_counters(counters, scene)
    draw_races(panels, pages, scene)
    draw_pages(pages, bar, second, scene)
    draw_page_findings(pages.ax, scene)
    named += draw_lanes(lanes, scene)
    draw_losses(panels, scene)
    draw_doubt(counters, (pages,), scene)
    strip.ax.set_ylim(-foot, rows)
    strip.ax.axis("off")
    draw_marks(strip, panels, flags, scene)
    for panel in panels:
        panel.ax.set_xlim(*scene.axis.limits)
    for panel in panels[:-1]:
        panel.ax.tick_params(labelbottom=False, bottom=False)
    for panel in panels:
        _label_time(panel, scene, labels=panel is lanes)
    if scene.axis.bent:
        draw_cuts(lanes, scene)
    _legend(page.figure, named)
    _title(page.figure, scene)
    return page.figure


def _legend(figure: Figure, named: Sequence[Line2D]) -> None:
    figure.legend(
        handles=named, loc="lower center", ncols=min(LEGEND_COLUMNS, max(1, len(named))),
        fontsize=8, frameon=False, bbox_to_anchor=(0.5, 0.0), handletextpad=0.3,
        columnspacing=1.1,
    )  # fmt: skip


def _label_time(panel: Panel, scene: Scene, labels: bool = True) -> None:
    axis, ax = scene.axis, panel.ax
    times, words = axis.ticks(scene.begin)
    ax.set_xticks(axis.x(times), labels=words if labels else [""] * len(words), fontsize=8.5)
    ground = panel.under or ax
    ground.set_xticks(axis.x(times))
    ground.grid(axis="x", color=GRID, lw=0.6, zorder=0)
    ground.set_axisbelow(True)
    if not labels:
        return
    low, high = axis.limits
    minor = axis.between(times, PARTS, MINOR / panel.width * (high - low))
    ax.set_xticks(minor, minor=True)
    zero = (scene.begin - scene.trace.census.first_ts) / 1e6
    said = [f"time since birth, {zero:.3f} ms into the trace"]
    if axis.bent:
        said.append(f"not to scale: small ticks divide the time between labels in {PARTS}")
    if axis.bent and len(axis.cuts):
        said.append("// idle time is shortened")
    ax.set_xlabel(fitted("; ".join(said), panel.width, 9), fontsize=9)


def _title(figure: Figure, scene: Scene) -> None:
    trace, counts = scene.trace, scene.counts
    noun = f"folio of {1 << counts.order} pages" if counts.order else "page"
    what = f"{scene.kind} {noun}"
    title = f"{what[0].upper()}{what[1:]} at pfn {counts.head:#x} (order {counts.order})"
    end = "still alive" if scene.death == "alive" else f"end: {scene.death}"
    lived = duration(scene.end - scene.begin)
    words = f"life {scene.name}; birth: {scene.birth}, {end}; lived {lived}"
    if scene.first > scene.begin or scene.last < scene.end:
        shown = duration(scene.last - scene.first)
        words += f"; {shown} of it shown, from {duration(scene.first - scene.begin)} on"
    words += f"; {scene.unlisted} breaches here are not listed" if scene.unlisted else ""
    words += f"; {recorded(trace.recording)}"
    put_title(figure, LEFT, 0.3, title, words)
