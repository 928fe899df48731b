# SPDX-License-Identifier: GPL-2.0-or-later
"""The panel of the whole folio's counters: PMD mappings, PTE mappings, DoubleMap."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.arrays import Bools, Ints
from analysis.divergence import divergences
from analysis.plot.scene import Scene
from analysis.plot.style import DOUBLE_MAP, MANY, PMD, PTE, WRONG, Floats

#: Observations drawn as dots before they are thinned out.
DOTS = 3000


def _steps(scene: Scene, value: Ints, known: Bools) -> tuple[Floats, Floats]:
    """A step signal up to the end of the life, with gaps where it is not known."""
    counts = scene.counts
    alive = counts.ts <= scene.end
    x = np.append(scene.axis.x(counts.ts[alive]), scene.axis.x(np.array([scene.end])))
    y = np.where(known, value, np.nan).astype(float)[alive]
    return x, np.append(y, y[-1:])


def draw_counters(ax: Axes, scene: Scene) -> list[Line2D]:
    """Draw the panel; returns what a legend has to name."""
    counts = scene.counts
    old = "double_map" in counts.counters
    many = len(counts.ts) > MANY
    everywhere = np.full(len(counts.ts), counts.entire_known)
    name = "compound_mapcount" if old else "_entire_mapcount"
    ax.set_ylabel(f"PMD mappings\n({name} + 1)", color=PMD)
    ax.tick_params(axis="y", colors=PMD)
    (pmd,) = ax.plot(
        *_steps(scene, counts.entire, everywhere), color=PMD, lw=2.2, drawstyle="steps-post",
        label="PMD mappings, replayed", rasterized=many, zorder=4,
    )  # fmt: skip
    highest = int(counts.entire.max(initial=1))
    _set_limits(ax, highest + 0.4)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))

    right = ax.twinx()
    total, known = counts.pte_total()
    right.set_ylabel("PTE mappings\n(of all pages)", color=PTE)
    right.tick_params(axis="y", colors=PTE)
    (pte,) = right.plot(
        *_steps(scene, total, known), color=PTE, lw=1.8, drawstyle="steps-post",
        label="PTE mappings, replayed", rasterized=many, zorder=3,
    )  # fmt: skip
    most = max(1, int(total.max(initial=1)))
    _set_limits(right, most * 1.1)
    right.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    right.spines["top"].set_visible(False)
    ax.set_zorder(right.get_zorder() + 1)
    ax.patch.set_visible(False)

    named = [pmd, pte, *_draw_observed(ax, scene)]
    if counts.has_double_map:
        _draw_double_map(ax, scene)
    return named


def _set_limits(ax: Axes, top: float) -> None:
    """The same place for zero on both sides, and room for DoubleMap above."""
    ax.set_ylim(-0.06 * top, 1.14 * top)


def _draw_observed(ax: Axes, scene: Scene) -> list[Line2D]:
    counts, log = scene.counts, scene.trace.log
    value, valid = log.counter("entire_mapcount")
    rows = counts.event[valid[counts.event]]
    rows = rows[:: max(1, len(rows) // DOTS)]
    named: list[Line2D] = []
    if len(rows):
        named += ax.plot(
            scene.axis.x(log.ts[rows]), value[rows], ".", color="#0b2c52", ms=4.5, zorder=5,
            label="observed by a probe, before its operation",
        )  # fmt: skip
    run = scene.trace.replay([counts.life])
    found = divergences(log, scene.trace.lives, run, counts.counters)
    wrong = np.unique(np.concatenate([one.row for one in found]))
    if len(wrong):
        level = np.full(len(wrong), 0.03)
        named += ax.plot(
            scene.axis.x(log.ts[wrong]), level, "x", color=WRONG, ms=7, mew=2, zorder=6,
            transform=ax.get_xaxis_transform(), clip_on=False,
            label=f"observed differs from replayed ({len(wrong)})",
        )  # fmt: skip
    return named


def _draw_double_map(ax: Axes, scene: Scene) -> None:
    """A band at the top while PG_double_map is set."""
    counts = scene.counts
    edges = np.flatnonzero(np.diff(np.concatenate([[0], counts.double_map, [0]])))
    ts = np.append(counts.ts, scene.end)
    spans = scene.axis.x(ts[edges]).reshape(-1, 2)
    for low, high in spans.tolist():
        ax.axvspan(
            low, high, ymin=0.9, ymax=1.0, facecolor=DOUBLE_MAP, alpha=0.3, edgecolor=DOUBLE_MAP,
            lw=1, zorder=2,
        )  # fmt: skip
    if len(spans):
        low, high = spans[np.argmax(spans[:, 1] - spans[:, 0])]
        ax.text(
            (low + high) / 2, 0.95, "DoubleMap", color=DOUBLE_MAP, ha="center", va="center",
            fontsize=9, fontweight="bold", transform=ax.get_xaxis_transform(), zorder=6,
        )  # fmt: skip
