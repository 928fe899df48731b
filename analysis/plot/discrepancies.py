# SPDX-License-Identifier: GPL-2.0-or-later
"""What the audit found wrong with a life's counters: both values in view, and in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.plot.labels import Panel, wrapped
from analysis.plot.scene import Scene
from analysis.plot.style import WRONG

#: The counters that an axis of the counters' panel shows, and those that a page has.
LEFT, RIGHT = ("entire_mapcount",), ("large_mapcount", "mappings")
OF_PAGE = ("mapcount", "kpagecount", "page tables")
#: Findings that are told in words; the others are counted.
TOLD = 3
SIZE, ROOM, LINES = 9.0, 420.0, 2


def _rows(scene: Scene) -> list[dict[str, Any]]:
    # What a snapshot sees after the end is of the end.
    found = scene.findings.assign(seen_ts=scene.findings["seen_ts"].clip(scene.begin, scene.end))
    found = found[scene.shows(found["seen_ts"].to_numpy(dtype=np.int64))]
    return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]


def levels(scene: Scene, left: bool) -> list[int]:
    """The values, observed and expected, that one of the two axes has to have in view."""
    counters = LEFT if left else RIGHT
    return [
        int(one[name]) for one in _rows(scene) if one["counter"] in counters
        for name in ("observed", "expected")
    ]  # fmt: skip


def _words(scene: Scene, one: dict[str, Any]) -> str:
    page = one["pfn"] - scene.counts.head
    where = f" of page {page}" if one["counter"] in OF_PAGE else ""
    doubt = " (possible)" if one["certainty"] == "possible" else ""
    words = f"{one['rule']}{doubt}: {one['counter']}{where} is {one['observed']}, "
    words += f"expected {one['expected']}"
    if one["function"]:
        words += f"; after {one['function']}() by {one['comm']}/{one['tid']}"
    return wrapped(words, ROOM, SIZE, LINES, bold=True)


def _draw_pair(panel: Panel, ax: Axes, x: float, one: dict[str, Any]) -> float:
    """Observed and expected of one finding; a value out of view is at the edge that it left by."""
    bottom, top = ax.get_ylim()
    room = 0.03 * (top - bottom)
    observed, expected = (
        float(np.clip(one[name], bottom + room, top - room)) for name in ("observed", "expected")
    )
    ax.plot([x, x], [expected, observed], color=WRONG, lw=1.2, ls=":", zorder=7)
    ax.plot([x], [expected], "o", color=WRONG, mfc="none", ms=9, mew=1.8, zorder=7)
    outside = observed != one["observed"]
    marker = "X" if not outside else "^" if observed > expected else "v"
    ax.plot([x], [observed], marker, color=WRONG, mec="white", ms=10, mew=0.8, zorder=8)
    for value in (observed, expected):
        panel.keep_free(x, (value - bottom) / (top - bottom))
    return observed


def draw_findings(panel: Panel, right: Axes, scene: Scene) -> list[Line2D]:
    """Draw and tell the findings; returns what a legend has to name."""
    rows = _rows(scene)
    targets: list[Any] = []
    for one in rows:
        x = float(scene.axis.x(np.array([one["seen_ts"]]))[0])
        if one["counter"] in LEFT:
            targets.append((x, _draw_pair(panel, panel.ax, x, one), "data"))
        elif one["counter"] in RIGHT:
            targets.append((x, _draw_pair(panel, right, x, one), right.transData))
        else:
            targets.append((x, 0.03, panel.ax.get_xaxis_transform()))
    told = 0
    for one, target in list(zip(rows, targets, strict=True))[:TOLD]:
        words = _words(scene, one)
        told += panel.write(
            words, panel.around(words, panel.points(target[0]), SIZE, True), SIZE, WRONG,
            bold=True, target=target, edgecolor=WRONG,
        )  # fmt: skip
    if len(rows) > told:
        words = f"{len(rows) - told} more findings: see `mapcount audit`"
        panel.write(words, panel.around(words, 0, SIZE), SIZE, WRONG, edgecolor=WRONG)
    if not any(one["counter"] in LEFT + RIGHT for one in rows):
        return []
    style = {"color": WRONG, "lw": 0, "ms": 8}
    return [
        Line2D([], [], marker="X", label="finding: observed", **style),  # type: ignore[arg-type]
        Line2D([], [], marker="o", mfc="none", label="expected", **style),  # type: ignore[arg-type]
    ]


def draw_page_findings(ax: Axes, scene: Scene) -> None:
    """A cross on the page whose count is wrong."""
    rows = [one for one in _rows(scene) if one["counter"] in OF_PAGE]
    if rows and scene.counts.pages:
        x = scene.axis.x(np.array([one["seen_ts"] for one in rows]))
        page = np.array([one["pfn"] for one in rows]) - scene.counts.head + 0.5
        ax.plot(x, page, "X", color=WRONG, mec="white", ms=9, mew=0.8, zorder=8, clip_on=False)
