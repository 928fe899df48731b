# SPDX-License-Identifier: GPL-2.0-or-later
"""The page-by-time map: the PTE mappings of each page of the folio over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.image import AxesImage

from analysis.arrays import Bools
from analysis.plot.cells import Cells, cells
from analysis.plot.labels import Panel
from analysis.plot.scene import Scene
from analysis.plot.shapes import bars
from analysis.plot.style import PMD, RACE, UNKNOWN, Floats

#: Columns of the map: no more than a screen's pixels, which would leave some out.
COLUMNS = 1100
#: Colours of counts above zero before counts share one.
COLOURS = 8


@dataclass(frozen=True)
class PageMap:
    """The data of the map: ``cells`` of columns at times ``ts`` at which the folio ``lived``."""

    cells: Cells
    lived: Bools

    @property
    def alike(self) -> np.ma.MaskedArray:
        """The count in rows whose pages agree; masked where they differ."""
        value = np.ma.array(self.cells.largest.astype(float), mask=self.cells.differ)
        value[self.cells.known == 0] = np.nan
        return value[:, self.lived]

    @property
    def mixed(self) -> np.ma.MaskedArray:
        """The mean of rows whose pages differ; masked elsewhere."""
        mean = self.cells.total / np.maximum(1, self.cells.known)
        return np.ma.array(mean, mask=~self.cells.differ)[:, self.lived]


def page_map(scene: Scene) -> PageMap:
    """The map at the middle of each column."""
    counts = scene.counts
    low, high = scene.axis.places[0], scene.axis.places[-1]
    ts = scene.axis.ts(low + (np.arange(COLUMNS) + 0.5) / COLUMNS * (high - low))
    at = np.searchsorted(counts.ts, ts, side="right") - 1
    return PageMap(cells(counts, np.maximum(at, 0)), (at >= 0) & (ts <= scene.end))


def draw_pages(panel: Panel, bar: Axes, second: Axes, scene: Scene) -> None:
    """Draw the map and its colour bars: of rows whose pages agree, and of those that differ."""
    counts, ax = scene.counts, panel.ax
    ax.set_ylabel("page in the folio")
    if counts.pages == 0:
        ax.text(0.5, 0.5, "hugetlb pages have no map count of their own", ha="center",
                va="center", transform=ax.transAxes)  # fmt: skip
        ax.set_yticks([])
        bar.set_visible(False)
        second.set_visible(False)
        return
    shown = page_map(scene)
    _draw_whole(panel, scene)
    ax.set_ylim(0, counts.pages)
    ax.set_yticks(np.unique(np.linspace(0, counts.pages, 5).astype(int)))
    most = max(1, int(shown.cells.largest[:, shown.lived].max(initial=1)))
    _draw_alike(ax, bar, scene, shown, most)
    if shown.cells.differ[:, shown.lived].any():
        _draw_mixed(ax, second, scene, shown, most)
    else:
        second.set_visible(False)
    if not shown.cells.known[:, shown.lived].all():
        panel.write("beige: not known, older than the recording", [(2.0, 2.0)], 8, "#6b5d3f")


def _image(ax: Axes, scene: Scene, shown: PageMap, value: Floats, **style: object) -> AxesImage:
    low, high = scene.axis.places[0], scene.axis.places[-1]
    lived = np.flatnonzero(shown.lived)
    if len(lived) == 0:
        lived = np.zeros(1, dtype=np.int64)
    edges = low + (high - low) * np.array([lived[0], lived[-1] + 1]) / COLUMNS
    image = ax.imshow(
        value, aspect="auto", interpolation="nearest", origin="lower",
        extent=(edges[0], edges[1], 0, scene.counts.pages), **style,  # type: ignore[arg-type]
    )  # fmt: skip
    image.set_zorder(1.5)
    return image


def _draw_alike(ax: Axes, bar: Axes, scene: Scene, shown: PageMap, most: int) -> None:
    step = -(-most // COLOURS)
    bounds = [0, *range(1, most + step + 1, step)]
    colours = colormaps["YlGnBu"](np.linspace(0.3, 1.0, len(bounds) - 2))
    palette = ListedColormap(["#ffffff00", *map(tuple, colours)]).with_extremes(
        bad=UNKNOWN, under=RACE
    )
    # Masked is what the other image draws, not a number is what nobody knows.
    value = np.ma.filled(shown.alike, 0.0)
    norm = BoundaryNorm(bounds, palette.N)
    image = _image(ax, scene, shown, np.ma.masked_invalid(value), cmap=palette, norm=norm)
    image.set_gid("alike")
    colorbar = ax.figure.colorbar(image, cax=bar)
    pairs = list(zip(bounds, bounds[1:], strict=False))
    colorbar.set_ticks(
        [(a + b) / 2 for a, b in pairs],
        labels=[str(a) if b - a == 1 else f"{a} to {b - 1}" for a, b in pairs],
    )
    colorbar.ax.tick_params(length=0, labelsize=8)
    alone = "" if scene.trace.plan.page_counts else "\n(by the operations alone)"
    group = shown.cells.group
    what = "of the page" if group == 1 else f"of each of\nthe {group} pages of a row"
    colorbar.set_label(f"PTE mappings {what}{alone}", labelpad=4, fontsize=8)


def _draw_mixed(ax: Axes, bar: Axes, scene: Scene, shown: PageMap, most: int) -> None:
    """Rows whose pages differ have colours of their own: a mean is no page's count."""
    tints = colormaps["YlOrBr"](np.linspace(0.25, 0.85, 64))
    palette = ListedColormap(list(map(tuple, tints))).with_extremes(bad="#ffffff00", under=RACE)
    image = _image(
        ax, scene, shown, shown.mixed, cmap=palette, norm=Normalize(0, most)
    )  # fmt: skip
    image.set_gid("mixed")
    colorbar = ax.figure.colorbar(image, cax=bar)
    colorbar.set_ticks([0, most], labels=["> 0", str(most)])
    colorbar.ax.tick_params(length=0, labelsize=8)
    colorbar.set_label("pages differ:\ntheir mean", labelpad=4, fontsize=8)


def _draw_whole(panel: Panel, scene: Scene) -> None:
    """Shade the time in which PMD mappings map all pages, which their own counts hide."""
    counts = scene.counts
    mapped = (counts.entire > 0) & counts.entire_known & (counts.ts <= scene.end)
    spans = scene.spans(mapped)
    bars(panel.ax, spans, facecolor=PMD, alpha=0.13, lw=0, zorder=1)
    if len(spans):
        low, high = spans[np.argmax(spans[:, 1] - spans[:, 0])].tolist()
        words = "shaded: mapped by PMD as a whole"
        spots = [(panel.points(low) + 2, panel.height - 18), *panel.around(words, 0, 8)]
        panel.write(words, spots, 8, PMD)
