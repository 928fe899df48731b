# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies across all panels: cut time, marks, losses, the end of the life, races."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.plot.scene import TOLD, Scene
from analysis.plot.style import DOUBLE_MAP, LOSS, MARK, RACE
from analysis.text import duration

#: Width of one letter of a mark's name, as a share of the panel's width.
LETTER = 0.0063


def draw_cuts(panels: Sequence[Axes], scene: Scene) -> None:
    """Shortened idle time: a pair of slashes on the lowest axis."""
    lowest = panels[-1]
    for low, high in scene.axis.x(scene.axis.cuts).tolist():
        lowest.text(
            (low + high) / 2, 0, "//", ha="center", va="center", fontsize=9, color=MARK,
            transform=lowest.get_xaxis_transform(), zorder=9, clip_on=False,
        )  # fmt: skip


def draw_marks(strip: Axes, panels: Sequence[Axes], scene: Scene) -> None:
    """Named marks and the kernel's death: a line through all panels, the name above, staggered."""
    low, high = scene.axis.limits
    ends: list[float] = []
    labels = [
        (float(x), str(name), MARK)
        for x, name in zip(
            scene.axis.x(scene.marks["ts"].to_numpy()), scene.marks["name"], strict=True
        )
    ]
    if scene.oops is not None and scene.oops.ts is not None:
        place = float(scene.axis.x(np.array([scene.oops.ts]))[0])
        title = scene.oops.title
        labels.append((place, title if len(title) <= 60 else f"{title[:59]}…", RACE))
    ending = {"free": "freed", "split": "folio split", "unseen": "gone, end not seen"}
    if scene.death in ending:
        place = float(scene.axis.x(np.array([scene.end]))[0])
        labels.append((place, ending[scene.death], RACE if scene.death == "free" else DOUBLE_MAP))
    rows = []
    for x, name, _ in labels:
        start = (x - low) / (high - low)
        # A name that would run out of the picture is written to the left of its line.
        width = LETTER * len(name) + 0.012
        start = start - width if start + width > 1.0 else start
        row = next((r for r, end in enumerate(ends) if end <= start), len(ends))
        ends[row : row + 1] = [start + width]
        rows.append(row)
    deepest = max(rows, default=0)
    strip.set_ylim(-0.3, deepest + 1)
    for (x, name, colour), row in zip(labels, rows, strict=True):
        left = (x - low) / (high - low) + LETTER * len(name) + 0.012 > 1.0
        strip.plot([x, x], [-0.3, row + 0.9], color=colour, lw=1, clip_on=False, zorder=3)
        strip.annotate(
            name, (x, row + 0.45), xytext=(-4 if left else 4, 0), textcoords="offset points",
            ha="right" if left else "left", va="center", fontsize=9, color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, zorder=4,
        )  # fmt: skip
        for panel in panels:
            solid = colour != MARK
            panel.axvline(x, color=colour, lw=1.4 if solid else 0.9,
                          ls="-" if solid else (0, (4, 3)), alpha=0.8, zorder=2.5)  # fmt: skip


def draw_losses(panels: Sequence[Axes], scene: Scene) -> None:
    """Grey spans in which events were lost."""
    for loss in scene.losses.to_dict("records"):
        span = np.clip([loss["from_ts"], loss["to_ts"]], scene.begin, scene.axis.times[-1])
        low, high = scene.axis.x(span)
        for panel in panels:
            panel.axvspan(low, high, facecolor=LOSS, alpha=0.35, hatch="///", edgecolor="white",
                          lw=0, zorder=2)  # fmt: skip
        panels[0].text(
            (low + high) / 2, 0.5, f"{loss['lost']} events lost", rotation=90, ha="center",
            va="center", fontsize=9, transform=panels[0].get_xaxis_transform(), zorder=8,
            bbox={"facecolor": "white", "edgecolor": LOSS, "pad": 2, "alpha": 0.9},
        )  # fmt: skip


def draw_races(panels: Sequence[Axes], words: Axes, scene: Scene) -> None:
    """Readers' windows in which the folio ended: red across all panels, and in words."""
    raced = scene.windows[scene.windows["over_death"]]
    comm = scene.trace.df_events()["comm"]
    for number, window in enumerate(raced.to_dict("records")):
        low, high = scene.axis.x(np.array([window["ts"], window["end_ts"]]))
        for panel in panels:
            panel.axvspan(low, high, color=RACE, alpha=0.12, lw=0, zorder=1)
        if number >= TOLD:
            continue
        who = f"{comm.iloc[window['enter']]}/{window['tid']}"
        function = scene.trace.plan.functions[window["function"]]
        page = window["pfn"] - scene.counts.head
        what = "free" if scene.death == "free" else "split"
        early, late = scene.end - window["ts"], window["end_ts"] - scene.end
        # The kernel's death is the end of the window in which it came.
        ended = "died" if window["died"] else "left"
        entered = f"{duration(early)} before it"
        if early < 0:
            entered = f"{duration(-early)} after it began"
        left, right = scene.axis.limits
        on_left = low - left > right - high
        words.annotate(
            f"reader window overlaps {what}: {who}\nwas in {function} on page {page},\n"
            f"entered {entered}, {ended} {duration(late)} after it",
            (low if on_left else high, 0.46 - 0.25 * number), xycoords=words.get_xaxis_transform(),
            xytext=(-24 if on_left else 24, 0), textcoords="offset points",
            ha="right" if on_left else "left", va="center", fontsize=9.5, color=RACE,
            fontweight="bold", zorder=10,
            bbox={"facecolor": "white", "edgecolor": RACE, "pad": 3, "alpha": 0.9},
            arrowprops={"arrowstyle": "->", "color": RACE, "lw": 1.3},
        )  # fmt: skip
