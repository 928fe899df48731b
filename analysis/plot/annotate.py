# SPDX-License-Identifier: GPL-2.0-or-later
"""Annotations across all panels: shortened time, marks, losses, doubt, the life's end, races."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.plot.labels import Flag, Panel, fitted, placed, wrapped
from analysis.plot.scene import TOLD, Scene
from analysis.plot.shapes import bars, told_apart, uprights
from analysis.plot.style import DOUBLE_MAP, LOSS, MARK, RACE
from analysis.text import count, duration

#: Rows of names above the panels, and points that a name may take.
ROWS, NAME = 4, 240.0
SIZE = 9.0
#: Marks that names are tried for, evenly chosen among more.
CANDIDATES = 256
#: Height of the ticks for marks without names, in rows of names.
RUG = 0.5
#: Losses that have a text of their own; more are added up.
LOSSES = 3
HATCHED = 24
ENDINGS = {"free": "freed", "split": "folio split", "unseen": "gone, end not seen"}


def draw_cuts(lowest: Panel, scene: Scene) -> None:
    """Shortened idle time: a pair of slashes on the lowest axis, and a break in it."""
    for low, high in scene.axis.x(scene.axis.cuts).tolist():
        lowest.ax.text(
            (low + high) / 2, 0, "//", ha="center", va="center", fontsize=9, color=MARK,
            transform=lowest.ax.get_xaxis_transform(), zorder=9, clip_on=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.2},
        )  # fmt: skip


def _ends(strip: Panel, scene: Scene) -> list[Flag]:
    """The kernel's death and the folio's end."""
    found = []
    if scene.oops is not None and scene.oops.ts is not None:
        x = float(scene.axis.x(np.array([scene.oops.ts]))[0])
        found.append(Flag(strip.points(x), fitted(scene.oops.title, 2 * NAME, SIZE), RACE))
    if scene.death in ENDINGS and scene.end <= scene.last:
        x = float(scene.axis.x(np.array([scene.end]))[0])
        colour = RACE if scene.death == "free" else DOUBLE_MAP
        found.append(Flag(strip.points(x), ENDINGS[scene.death], colour))
    return found


def _named_marks(strip: Panel, scene: Scene) -> list[Flag]:
    """The marks as flags, from right to left: then each line ends below the names before it."""
    marks = scene.marks.iloc[:: max(1, -(-len(scene.marks) // CANDIDATES))]
    places = [strip.points(x) for x in scene.axis.x(marks["ts"].to_numpy()).tolist()]
    flags = [
        Flag(x, fitted(str(name), NAME, SIZE), MARK)
        for x, name in zip(places, marks["name"], strict=True)
    ]
    return flags[::-1]


def flags_of(strip: Panel, scene: Scene) -> list[Flag]:
    """The names that fit above the panels: the ends first, then the marks."""
    marks, ends = _named_marks(strip, scene), _ends(strip, scene)
    # The ends take the upper rows, so that marks find room below them.
    top = [
        Flag(one.x, one.name, one.colour, ROWS - 1 - number, one.span(SIZE)[1] > strip.width)
        for number, one in enumerate(ends)
    ]
    best: list[Flag] = []
    for every in (1, 2, 4, 8, 16, 32, 64, 128, CANDIDATES):
        wanted = marks[::every]
        found = placed(wanted, strip.width, ROWS, SIZE, top)
        # Evenly chosen names tell more than some neighbours here and there.
        best = found if 2 * len(found) >= len(best) else best
        if len(found) == len(wanted) + len(top):
            break
    used = sorted({flag.row for flag in best})
    return [replace(flag, row=used.index(flag.row)) for flag in best]


def rows_of(flags: Sequence[Flag]) -> int:
    """How many rows the names take."""
    return max((flag.row for flag in flags), default=0) + 1


def has_rug(flags: Sequence[Flag], scene: Scene) -> bool:
    """Whether the names of some marks do not fit."""
    return sum(flag.colour == MARK for flag in flags) < len(scene.marks)


def draw_marks(strip: Panel, panels: Sequence[Panel], flags: Sequence[Flag], scene: Scene) -> None:
    """Named marks and ends: a line through all panels, the name above it.

    Marks whose names do not fit are ticks above the panels.
    """
    low, high = strip.limits
    named = {(round(flag.x, 3), flag.colour) for flag in flags}
    for flag in flags:
        x = low + flag.x / strip.width * (high - low)
        foot, _ = strip.ax.get_ylim()
        strip.ax.plot([x, x], [foot, flag.row + 0.95], color=flag.colour, lw=1, clip_on=False)
        start, _ = flag.span(SIZE)
        strip.ax.annotate(
            flag.name, (start + 2, flag.row + 0.5), xycoords=("axes points", "data"), ha="left",
            va="center", fontsize=SIZE, color=flag.colour,
        )  # fmt: skip
    for colour, style in ((MARK, (0, (4, 3))), (RACE, "-"), (DOUBLE_MAP, "-")):
        lines = [low + f.x / strip.width * (high - low) for f in flags if f.colour == colour]
        for panel in panels:
            uprights(panel.ax, np.array(lines), color=colour, ls=style,
                     lw=0.9 if colour == MARK else 1.4, alpha=0.8, zorder=2.5)  # fmt: skip
    places = scene.axis.x(scene.marks["ts"].to_numpy())
    left = [x for x in places.tolist() if (round(strip.points(x), 3), MARK) not in named]
    if left:
        strip.ax.vlines(told_apart(np.array(left)), -RUG, -0.1, color=MARK, lw=0.8, alpha=0.8)
        strip.ax.annotate(
            f"{len(left)} of {count(len(places), 'mark')} without their names (ticks)",
            (1.0, 1.0), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
            ha="right", va="bottom", fontsize=8, color=MARK,
        )  # fmt: skip


def draw_losses(panels: Sequence[Panel], scene: Scene) -> None:
    """Grey spans in which events were lost."""
    losses = scene.losses
    if not len(losses):
        return
    spans = losses[["from_ts", "to_ts"]].to_numpy().clip(scene.first, scene.last)
    places = scene.axis.x(spans)
    hatch = "///" if len(losses) <= HATCHED else None
    for panel in panels:
        bars(panel.ax, places, facecolor=LOSS, alpha=0.35, hatch=hatch, edgecolor="white", lw=0,
             zorder=0.9)  # fmt: skip
        # A span that is narrower than a pixel has an edge all the same.
        uprights(panel.ax, places[:, 0], color=LOSS, lw=0.5, alpha=0.6, zorder=0.9)
    first = panels[0]
    middles = [first.points(x) for x in places.mean(axis=1).tolist()]
    if len(losses) <= LOSSES:
        for x, lost in zip(middles, losses["lost"].tolist(), strict=True):
            words = f"{count(lost, 'event')} lost"
            first.write(words, [(x, first.height / 2), *first.around(words, x, SIZE)], SIZE,
                        "#333333", edgecolor=LOSS)  # fmt: skip
        return
    words = f"{losses['lost'].sum()} events lost in {len(losses)} spans"
    first.write(words, first.around(words, middles[0], SIZE), SIZE, "#333333", edgecolor=LOSS)


def draw_doubt(panel: Panel, veiled: Sequence[Panel], scene: Scene) -> None:
    """The time from which on the replay is in doubt: the reason, and a grey veil over panels
    without dotted lines."""
    doubtful = scene.doubtful
    if doubtful is None or doubtful.since >= scene.until:
        return
    since = max(doubtful.since, scene.first)
    span = scene.axis.x(np.array([[since, scene.until]]))
    for other in veiled:
        bars(other.ax, span, facecolor="#ffffff", alpha=0.3, lw=0, hatch="....",
             edgecolor="#888888", zorder=1.8)  # fmt: skip
    start = "in doubt" if since == scene.begin else "in doubt from here on"
    words = wrapped(f"dotted: {start}, {doubtful.why}", 0.5 * panel.width, 8, 2)
    x = panel.points(float(span[0, 0]))
    panel.write(words, [(x + 2, 2.0), *panel.around(words, x, 8)], 8, "#333333")


def draw_races(panels: Sequence[Panel], words: Panel, scene: Scene) -> None:
    """Readers' windows in which the folio ended: red across all panels, with a text."""
    raced = scene.windows[scene.windows["over_death"]]
    spans = raced[["ts", "end_ts"]].to_numpy(dtype=np.int64).reshape(-1, 2)
    places = scene.axis.x(spans.clip(scene.first, scene.last))
    for panel in panels:
        bars(panel.ax, places, color=RACE, alpha=0.12, lw=0, zorder=1)
    comm = scene.trace.df_events()["comm"] if len(raced) else None
    for window, (low, high) in zip(
        raced.head(TOLD).to_dict("records"), places.tolist(), strict=False
    ):
        assert comm is not None
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
        lines = (
            f"reader window overlaps {what}: {who}",
            f"was in {function} on page {page},",
            f"entered {entered}, {ended} {duration(late)} after it",
        )
        text = "\n".join(fitted(line, 0.45 * words.width, 9.5, True) for line in lines)
        left, right = words.limits
        on_left = low - left > right - high
        spots = words.around(text, words.points(low if on_left else high), 9.5, True)
        words.write(
            text, spots, 9.5, RACE, bold=True, edgecolor=RACE,
            target=(low if on_left else high, 0.4, words.ax.get_xaxis_transform()),
        )  # fmt: skip
