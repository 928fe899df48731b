# SPDX-License-Identifier: GPL-2.0-or-later
"""The page-by-time map: how many PTE mappings each page of the folio had when."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap

from analysis.plot.scene import Scene
from analysis.plot.style import PMD, RACE, UNKNOWN, Floats

COLUMNS = 1600
#: More rows than this would be too thin to see one that differs from its neighbours.
ROWS = 128
#: Colours of counts above zero before counts share one.
COLOURS = 8


def draw_pages(ax: Axes, bar: Axes, scene: Scene) -> None:
    """Draw the map and its colour bar."""
    counts = scene.counts
    ax.set_ylabel("page in the folio")
    if counts.pages == 0:
        ax.text(0.5, 0.5, "hugetlb pages have no map count of their own", ha="center",
                va="center", transform=ax.transAxes)  # fmt: skip
        ax.set_yticks([])
        bar.set_visible(False)
        return
    low, high = scene.axis.places[0], scene.axis.places[-1]
    columns = low + (np.arange(COLUMNS) + 0.5) / COLUMNS * (high - low)
    ts = scene.axis.ts(columns)
    at = np.searchsorted(counts.ts, ts, side="right") - 1
    value, known = counts.matrix(np.maximum(at, 0))
    shown = np.where(known, value, np.nan)
    shown = _most_different(shown, max(1, counts.pages // ROWS))
    lived = (at >= 0) & (ts <= scene.end)

    most = max(1, int(np.nanmax(shown, initial=1)))
    step = -(-most // COLOURS)
    bounds = [0, *range(1, most + step + 1, step)]
    colours = colormaps["YlGnBu"](np.linspace(0.3, 1.0, len(bounds) - 2))
    _draw_whole(ax, scene)
    palette = ListedColormap(["#ffffff00", *map(tuple, colours)]).with_extremes(
        bad=UNKNOWN, under=RACE
    )
    norm = BoundaryNorm(bounds, palette.N)
    image = ax.imshow(
        np.ma.masked_invalid(shown[:, lived]), cmap=palette, norm=norm, aspect="auto",
        interpolation="nearest", origin="lower",
        extent=(low, low + (high - low) * lived.sum() / COLUMNS, 0, counts.pages),
    )  # fmt: skip
    image.set_zorder(1.5)
    ax.set_ylim(0, counts.pages)
    ax.set_yticks(np.unique(np.linspace(0, counts.pages, 5).astype(int)))
    colorbar = ax.figure.colorbar(image, cax=bar)
    middles = [(a + b) / 2 for a, b in zip(bounds, bounds[1:], strict=False)]
    names = [
        str(a) if b - a == 1 else f"{a} to {b - 1}"
        for a, b in zip(bounds, bounds[1:], strict=False)
    ]
    colorbar.set_ticks(middles, labels=names)
    colorbar.ax.tick_params(length=0)
    alone = "" if scene.trace.plan.page_counts else "\n(by the operations alone)"
    colorbar.set_label(f"PTE mappings of the page{alone}", labelpad=6)
    if counts.pages > ROWS:
        group = counts.pages // ROWS
        bar.set_xlabel(f"a row shows the\none of {group} pages\nthat differs most", fontsize=7)
    if not known[:, lived].all():
        ax.text(0.005, 0.02, "beige: not known, older than the recording", fontsize=8,
                transform=ax.transAxes, color="#6b5d3f")  # fmt: skip


def _most_different(shown: Floats, group: int) -> Floats:
    """Of each group of rows the value that differs most from the rest of its column."""
    if group == 1:
        return shown
    grouped = shown.reshape(-1, group, shown.shape[1])
    usual = np.median(shown, axis=0)
    off = np.nan_to_num(np.abs(grouped - usual), nan=-1.0)
    chosen = off.argmax(axis=1)[:, None, :]
    most: Floats = np.take_along_axis(grouped, chosen, axis=1)[:, 0, :]
    return most


def _draw_whole(ax: Axes, scene: Scene) -> None:
    """Shade the time in which PMD mappings map all pages, which their own counts hide."""
    counts = scene.counts
    mapped = (counts.entire > 0) & counts.entire_known & (counts.ts <= scene.end)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mapped, [0]])))
    spans = scene.axis.x(np.append(counts.ts, scene.end)[edges]).reshape(-1, 2)
    for low, high in spans.tolist():
        ax.axvspan(low, high, facecolor=PMD, alpha=0.13, lw=0, zorder=1)
    if len(spans):
        low, high = spans[np.argmax(spans[:, 1] - spans[:, 0])]
        ax.text(
            low + 0.01 * (scene.axis.places[-1] - low), 0.97, "shaded: mapped by PMD as a whole",
            color=PMD, fontsize=8, va="top", transform=ax.get_xaxis_transform(), zorder=3,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8},
        )  # fmt: skip
