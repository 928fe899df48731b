# SPDX-License-Identifier: GPL-2.0-or-later
"""The findings about a life's counters: both values drawn, and a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.plot.labels import Panel, wrapped
from analysis.plot.scene import Scene
from analysis.plot.style import WRONG, Floats

#: The counters that an axis of the counters' panel shows, and those that a page has.
LEFT, RIGHT = ("entire_mapcount",), ("large_mapcount", "mappings")
OF_PAGE = ("mapcount", "kpagecount", "page tables")
#: Findings that are told in words; the others are counted.
TOLD = 3
SIZE, ROOM, LINES = 9.0, 420.0, 2


def _found(scene: Scene) -> pd.DataFrame:
    # What a snapshot sees after the end is of the end.
    found = scene.findings.assign(seen_ts=scene.findings["seen_ts"].clip(scene.begin, scene.end))
    return found[scene.shows(found["seen_ts"].to_numpy(dtype=np.int64))]


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]


def levels(scene: Scene, left: bool) -> list[int]:
    """The values, observed and expected, that the range of one of the two axes must include."""
    found = _found(scene)
    some = found[found["counter"].isin(LEFT if left else RIGHT)]
    return [int(value) for name in ("observed", "expected") for value in some[name].unique()]


def _words(scene: Scene, one: dict[str, Any]) -> str:
    page = one["pfn"] - scene.counts.head
    where = f" of page {page}" if one["counter"] in OF_PAGE else ""
    doubt = " (possible)" if one["certainty"] == "possible" else ""
    words = f"{one['rule']}{doubt}: {one['counter']}{where} is {one['observed']}, "
    words += f"expected {one['expected']}"
    if one["function"]:
        words += f"; after {one['function']}() by {one['comm']}/{one['tid']}"
    return wrapped(words, ROOM, SIZE, LINES, bold=True)


def _draw_pairs(panel: Panel, ax: Axes, x: Floats, found: pd.DataFrame) -> Floats:
    """Observed and expected of findings; a value out of view is at the edge that it left by.

    Returns where the observed values are drawn.
    """
    bottom, top = ax.get_ylim()
    room = 0.03 * (top - bottom)
    is_ = found["observed"].to_numpy(dtype=float)
    observed = np.clip(is_, bottom + room, top - room)
    expected = np.clip(found["expected"].to_numpy(dtype=float), bottom + room, top - room)
    # One line for all: some thousand findings are some thousand gaps in it.
    pairs = np.column_stack([expected, observed, np.full(len(x), np.nan)])
    ax.plot(np.repeat(x, 3), pairs.ravel(), color=WRONG, lw=1.2, ls=":", zorder=7)
    ax.plot(x, expected, "o", color=WRONG, mfc="none", ms=9, mew=1.8, zorder=7)
    outside, above = observed != is_, observed > expected
    for marker, where in (("X", ~outside), ("^", outside & above), ("v", outside & ~above)):
        if where.any():
            ax.plot(x[where], observed[where], marker, color=WRONG, mec="white", ms=10, mew=0.8,
                    zorder=8)  # fmt: skip
    places = np.column_stack([np.tile(x, 2), np.concatenate([observed, expected])])
    for at, value in np.unique(places, axis=0).tolist():
        panel.keep_free(at, (value - bottom) / (top - bottom))
    return np.asarray(observed)


def draw_findings(panel: Panel, right: Axes, scene: Scene) -> list[Line2D]:
    """Draw the findings and their texts; returns the entries of the legend."""
    found = _found(scene)
    x = scene.axis.x(found["seen_ts"].to_numpy(dtype=np.int64))
    y = np.full(len(found), 0.03)
    counter = found["counter"]
    sides = [(panel.ax, counter.isin(LEFT).to_numpy()), (right, counter.isin(RIGHT).to_numpy())]
    for ax, here in sides:
        if here.any():
            y[here] = _draw_pairs(panel, ax, x[here], found[here])
    rows = _rows(found[:TOLD])
    targets = [
        (x[at], y[at], next((ax.transData for ax, here in sides if here[at]),
                            panel.ax.get_xaxis_transform()))
        for at in range(len(rows))
    ]  # fmt: skip
    told = 0
    for one, target in zip(rows, targets, strict=True):
        words = _words(scene, one)
        told += panel.write(
            words, panel.around(words, panel.points(target[0]), SIZE, True), SIZE, WRONG,
            bold=True, target=target, edgecolor=WRONG,
        )  # fmt: skip
    if len(found) > told:
        words = f"{len(found) - told} more findings: see `mapcount audit`"
        panel.write(words, panel.around(words, 0, SIZE), SIZE, WRONG, edgecolor=WRONG)
    if not any(here.any() for _, here in sides):
        return []
    style = {"color": WRONG, "lw": 0, "ms": 8}
    return [
        Line2D([], [], marker="X", label="finding: observed", **style),  # type: ignore[arg-type]
        Line2D([], [], marker="o", mfc="none", label="expected", **style),  # type: ignore[arg-type]
    ]


def draw_page_findings(ax: Axes, scene: Scene) -> None:
    """A cross on the page whose count is wrong."""
    found = _found(scene)
    found = found[found["counter"].isin(OF_PAGE)]
    if len(found) and scene.counts.pages:
        x = scene.axis.x(found["seen_ts"].to_numpy(dtype=np.int64))
        page = found["pfn"].to_numpy(dtype=np.int64) - scene.counts.head + 0.5
        ax.plot(x, page, "X", color=WRONG, mec="white", ms=9, mew=0.8, zorder=8, clip_on=False)
