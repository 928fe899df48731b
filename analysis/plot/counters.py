# SPDX-License-Identifier: GPL-2.0-or-later
"""The panel of the whole folio's counters: PMD mappings, PTE mappings, DoubleMap."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.arrays import Bools, Ints
from analysis.plot.discrepancies import draw_findings, levels
from analysis.plot.labels import Panel, size_of
from analysis.plot.scene import Scene
from analysis.plot.shapes import bars
from analysis.plot.style import DOUBLE_MAP, MANY, PMD, PTE, WRONG, Floats

#: Observations drawn as dots before they are thinned out.
DOTS = 2000
#: A value that is so many times what the replay reaches is drawn at the edge.
OFF_SCALE = 4


def _steps(scene: Scene, value: Ints, known: Bools, begin: int, end: int) -> tuple[Floats, Floats]:
    """A step signal between two times, with gaps where it is not known."""
    ts = scene.counts.ts
    first = max(0, int(np.searchsorted(ts, begin, "right")) - 1)
    last = int(np.searchsorted(ts, end, "right"))
    if first >= last:
        return np.zeros(0), np.zeros(0)
    x = scene.axis.x(np.append(ts[first:last].clip(begin), end))
    y = np.where(known, value, np.nan).astype(float)[first:last]
    return x, np.append(y, y[-1:])


def _draw_signal(
    ax: Axes, scene: Scene, signal: tuple[Ints, Bools], label: str, colour: str, width: float,
) -> list[Line2D]:  # fmt: skip
    """One counter: firm as far as it is certain, pale and dotted after that."""
    begin, end = max(scene.begin, scene.first), scene.until
    since = scene.doubtful.since if scene.doubtful else end
    firm = min(max(begin, since), end)
    named = ax.plot(
        *_steps(scene, *signal, begin, firm), color=colour, lw=width, drawstyle="steps-post",
        label=f"{label}, replayed", rasterized=len(scene.counts.ts) > MANY, zorder=4,
    )  # fmt: skip
    if firm < end:
        named += ax.plot(
            *_steps(scene, *signal, firm, end), color=colour, lw=width, drawstyle="steps-post",
            ls=(0, (1, 1.2)), alpha=0.75, label=f"{label}, in doubt",
            rasterized=len(scene.counts.ts) > MANY, zorder=4,
        )  # fmt: skip
    return named


def draw_counters(panel: Panel, scene: Scene) -> list[Line2D]:
    """Draw the panel; returns the entries of the legend."""
    ax, counts = panel.ax, scene.counts
    old = "double_map" in counts.counters
    everywhere = np.full(len(counts.ts), counts.entire_known)
    name = "compound_mapcount + 1" if old else "_entire_mapcount + 1"
    if scene.trace.plan.sums_pages:
        name = "by _total_mapped_pages"
    ax.set_ylabel(f"PMD mappings\n({name})", color=PMD)
    ax.tick_params(axis="y", colors=PMD)
    named = _draw_signal(ax, scene, (counts.entire, everywhere), "PMD mappings", PMD, 2.2)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))

    panel.under = right = ax.twinx()
    total, known = counts.pte_total()
    right.set_ylabel("PTE mappings\n(of all pages)", color=PTE)
    right.tick_params(axis="y", colors=PTE)
    named += _draw_signal(right, scene, (total, known), "PTE mappings", PTE, 1.8)
    right.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    right.spines["top"].set_visible(False)
    ax.set_zorder(right.get_zorder() + 1)
    ax.patch.set_visible(False)

    seen = _observed(scene)
    _set_limits(ax, right, scene, seen)
    if len(seen):
        value, _ = scene.trace.log.counter("entire_mapcount")
        some = seen[:: max(1, len(seen) // DOTS)]
        named += ax.plot(
            scene.axis.x(scene.trace.log.ts[some]), value[some], ".", color="#0b2c52", ms=4.5,
            zorder=5, label="observed by a probe, before its operation",
        )  # fmt: skip
    named += _draw_wrong(ax, scene)
    named += draw_findings(panel, right, scene)
    if counts.has("double_map"):
        _draw_double_map(panel, scene)
    return named


def _observed(scene: Scene) -> Ints:
    """Rows of the log that show the count of PMD mappings."""
    _, valid = scene.trace.log.counter("entire_mapcount")
    rows = scene.counts.event[valid[scene.counts.event]]
    return rows[scene.shows(scene.trace.log.ts[rows])]


def _set_limits(left: Axes, right: Axes, scene: Scene, seen: Ints) -> None:
    """The same place for zero on both sides, room for DoubleMap above, findings in view."""
    counts = scene.counts
    value, _ = scene.trace.log.counter("entire_mapcount")
    there = scene.spread(counts.entire)
    ranges = []
    for ax, own, more in (
        (left, there, [*levels(scene, left=True), *value[seen].tolist()]),
        (right, scene.spread(counts.pte_sum), levels(scene, left=False)),
    ):
        most = max(1, int(own.max(initial=1)))
        reach = OFF_SCALE * most
        top = max([most, *(v for v in more if v <= reach)])
        bottom = min([0, int(own.min(initial=0)), *(v for v in more if v >= -reach)])
        ranges.append((ax, bottom, top + (0.4 if ax is left else 0.1 * top)))
    below = max(0.06, *(-1.15 * bottom / top for _, bottom, top in ranges))
    for ax, _, top in ranges:
        ax.set_ylim(-below * top, 1.14 * top)


def _draw_wrong(ax: Axes, scene: Scene) -> list[Line2D]:
    """A cross at the foot of the panel for each record that differs from the replay."""
    ts = scene.trace.log.ts[scene.wrong]
    ts = ts[scene.shows(ts)]
    if len(ts) == 0:
        return []
    return ax.plot(
        scene.axis.x(ts), np.full(len(ts), 0.03), "x", color=WRONG, ms=7, mew=2, zorder=6,
        transform=ax.get_xaxis_transform(), clip_on=False, rasterized=len(ts) > MANY,
        label=f"observed differs from replayed ({len(ts)})",
    )  # fmt: skip


def _draw_double_map(panel: Panel, scene: Scene) -> None:
    """A band at the top while PG_double_map is set."""
    spans = scene.spans(scene.counts.double_map != 0)
    bars(panel.ax, spans, 0.9, 1.0, facecolor=DOUBLE_MAP, alpha=0.3, edgecolor=DOUBLE_MAP,
         lw=1, zorder=2)  # fmt: skip
    if len(spans):
        low, high = spans[np.argmax(spans[:, 1] - spans[:, 0])].tolist()
        wide, tall = size_of("DoubleMap", 9, True)
        middle = panel.points((low + high) / 2)
        left = min(max(middle - wide / 2, 0), panel.width - wide)
        inside = (left, min(0.95 * panel.height - tall / 2, panel.height - tall))
        spots = [inside, *panel.around("DoubleMap", middle, 9, True)]
        panel.write("DoubleMap", spots, 9, DOUBLE_MAP, bold=True, alpha=0.0)
