# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts the panels of one folio's life together."""

from __future__ import annotations

import shlex

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from analysis.plot.annotate import draw_cuts, draw_losses, draw_marks, draw_races
from analysis.plot.counters import draw_counters
from analysis.plot.lanes import draw_lanes, lane_count
from analysis.plot.pages import draw_pages
from analysis.plot.scene import Scene, scene_of
from analysis.plot.style import GRID
from analysis.text import duration
from analysis.trace import Trace

SIZE, DPI = (14, 9), 110


def plot_timeline(trace: Trace, life: int | str, ax: Axes | None = None) -> Figure:
    """Draw a life; the public function of the same name in analysis describes it."""
    scene = scene_of(*trace.alone(life))
    if ax is not None:
        named = draw_counters(ax, scene)
        draw_losses([ax], scene)
        _label_time(ax, scene)
        ax.legend(handles=named, loc="upper left", fontsize=8)
        figure = ax.figure
        while isinstance(figure, SubFigure):
            figure = figure.figure
        return figure
    return _whole_figure(scene)


def _whole_figure(scene: Scene) -> Figure:
    figure = pyplot.figure(figsize=SIZE, dpi=DPI)
    lanes_height = min(3.8, 0.5 + 0.42 * lane_count(scene))
    grid = figure.add_gridspec(
        4, 2, height_ratios=[0.55, 3.0, 3.0, lanes_height], width_ratios=[1, 0.013],
        left=0.125, right=0.925, top=0.9, bottom=0.115, hspace=0.06, wspace=0.075,
    )  # fmt: skip
    strip, counters, pages, lanes = (figure.add_subplot(grid[row, 0]) for row in range(4))
    bar = figure.add_subplot(grid[2, 1])
    panels = (counters, pages, lanes)

    named = draw_counters(counters, scene)
    draw_pages(pages, bar, scene)
    named += draw_lanes(lanes, scene)
    draw_losses(panels, scene)
    draw_races(panels, pages, scene)
    draw_marks(strip, panels, scene)
    for panel in (strip, *panels):
        panel.set_xlim(*scene.axis.limits)
        panel.spines[["top", "right"]].set_visible(False)
    strip.axis("off")
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False, bottom=False)
    _label_time(lanes, scene)
    draw_cuts(panels, scene)
    rows = 1 if len(named) <= 10 else 2
    figure.legend(
        handles=named, loc="lower center", ncols=-(-len(named) // rows), fontsize=8, frameon=False,
        bbox_to_anchor=(0.525, 0.0), handletextpad=0.3, columnspacing=1.1,
    )  # fmt: skip
    _title(figure, scene)
    return figure


def _label_time(ax: Axes, scene: Scene) -> None:
    places, labels = scene.axis.ticks()
    ax.set_xticks(places, labels=labels, fontsize=8.5)
    ax.grid(axis="x", color=GRID, lw=0.6, zorder=0)
    ax.set_axisbelow(True)
    cut = "; // idle time is shortened" if len(scene.axis.cuts) else ""
    ax.set_xlabel(f"time since birth{cut}", fontsize=9)


def _title(figure: Figure, scene: Scene) -> None:
    trace, counts = scene.trace, scene.counts
    life = trace.df_lives().loc[counts.life]
    kind = "hugetlb" if counts.hugetlb else "anonymous" if counts.anon else "file or shmem"
    what = f"{kind} folio of {1 << counts.order} pages" if counts.order else f"{kind} page"
    lived = duration(scene.end - scene.begin)
    end = "still alive" if scene.death == "alive" else f"end: {scene.death}"
    figure.text(
        0.125, 0.965, f"{what.capitalize()} at pfn {counts.head:#x} (order {counts.order})",
        fontsize=14, fontweight="bold", va="center",
    )  # fmt: skip
    command = shlex.join(trace.meta.get("command") or [])
    command = command if len(command) <= 60 else command[:59] + "…"
    figure.text(
        0.125, 0.935,
        f"life {life['id']}; birth: {life['birth']}, {end}; lived {lived}; "
        f"Linux {trace.meta.get('kernel', {}).get('release', '?')}"
        + (f"; recorded: {command}" if command else ""),
        fontsize=9.5, color="#444444", va="center",
    )  # fmt: skip
