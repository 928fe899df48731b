# SPDX-License-Identifier: GPL-2.0-or-later
"""The panel of operations by task: a lane for each task, and one for each reader's function."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from analysis.plot.labels import Panel, fitted, size_of
from analysis.plot.scene import Scene
from analysis.plot.style import CROWDS, GRID, MANY, OPS, RACE, READER

MOST_TASKS = 8
MOST_READERS = 4
#: Repetitions of an operation in one burst from which their number is written beside it.
MANY_ALIKE = 8
#: Share of the width between two runs of marks.
APART = 0.03
#: Points for a lane's name, and of the letters of such a number.
NAME, NUMBER = 112.0, 7.5
#: Operations whose places in a lane are nearer than this hide each other.
SAME_HEIGHT = 0.15


def _task_lanes(scene: Scene) -> tuple[pd.Series[int], list[str]]:
    """The lane of each operation and the lanes' names, in order of appearance."""
    events = scene.events
    tids, first, whose = np.unique(events["tid"], return_index=True, return_inverse=True)
    by_first = np.argsort(first)
    lane = np.empty(len(tids), dtype=np.int64)
    lane[by_first] = np.minimum(np.arange(len(tids)), MOST_TASKS - 1)
    names = []
    for tid in tids[by_first][:MOST_TASKS].tolist():
        # A task is called what it was called last: exec comes after the fork.
        last = events[events["tid"] == tid].iloc[-1]
        names.append(fitted(f"{last['comm']}/{tid}", NAME, 8.5))
    if len(tids) > MOST_TASKS:
        names[-1] = f"{len(tids) - MOST_TASKS + 1} more tasks"
    return pd.Series(lane[whose], index=events.index), names


def _reader_lanes(scene: Scene) -> tuple[pd.Series[int], list[str]]:
    windows = scene.windows
    who = pd.Series(list(zip(windows["tid"], windows["function"], strict=True)), dtype=object)
    kinds = list(dict.fromkeys(who.tolist()))
    names = []
    for tid, function in kinds[:MOST_READERS]:
        first = windows.loc[(who == (tid, function)).to_numpy(), "enter"].iloc[0]
        comm = scene.trace.df_events()["comm"].iloc[first]
        lines = (f"{comm}/{tid}", scene.trace.plan.functions[function])
        names.append("\n".join(fitted(line, NAME, 8.5) for line in lines))
    if len(kinds) > MOST_READERS:
        names[-1] = f"{len(kinds) - MOST_READERS + 1} more readers"
    lane_of = {kind: min(lane, MOST_READERS - 1) for lane, kind in enumerate(kinds)}
    return who.map(lane_of), names


def lane_count(scene: Scene) -> int:
    """How many lanes the panel will have."""
    return len(_task_lanes(scene)[1]) + len(_reader_lanes(scene)[1])


def draw_lanes(panel: Panel, scene: Scene) -> list[Line2D]:
    """Draw the panel; returns the entries of the legend."""
    ax = panel.ax
    lane, names = _task_lanes(scene)
    _, readers = _reader_lanes(scene)
    lanes = len(names) + len(readers)
    ax.set_ylim(lanes - 0.4, -0.6)
    events = scene.events
    x = pd.Series(scene.axis.x(events["ts"].to_numpy()), index=events.index)
    named: list[Line2D] = []
    for op, (colour, marker, offset) in OPS.items():
        mine = events["op"] == op
        if not mine.any():
            continue
        size = {"|": 9, "x": 5, "+": 6, "_": 6, "*": 11}.get(marker, 7)
        many = bool(mine.sum() > MANY)
        named += ax.plot(
            x[mine], lane[mine] - offset, marker, color=colour, ms=size, mew=1.2, alpha=0.85,
            label=op, rasterized=many, zorder=4,
        )  # fmt: skip
        by_pmd = mine & (events["level"] != "pte")
        if op in CROWDS and by_pmd.any():
            ax.plot(x[by_pmd], lane[by_pmd] - offset, marker, color=colour, ms=size + 3, mew=4,
                    rasterized=many)  # fmt: skip
        near = [name for name, (*_, at) in OPS.items() if abs(at - offset) < SAME_HEIGHT]
        beside = events["op"].isin(near)
        for place in range(len(names)):
            ours, all_ours = x[mine & (lane == place)], x[beside & (lane == place)]
            if len(ours):
                _number_repetitions(panel, (ours, all_ours), op, place - offset)

    if named:
        named.append(
            Line2D([], [], color="#666666", marker="|", lw=0, ms=11, mew=4, label="thick: by PMD")
        )
    reader, _ = _reader_lanes(scene)
    windows = scene.windows
    if len(windows):
        level = len(names) + reader.to_numpy()
        raced = windows["over_death"].to_numpy()
        low, high = (scene.axis.x(windows[c].to_numpy()) for c in ("ts", "end_ts"))
        for which, colour in ((~raced, READER), (raced, RACE)):
            ax.hlines(level[which], low[which], high[which], color=colour, lw=7, zorder=3,
                      rasterized=bool(which.sum() > MANY))  # fmt: skip
            # The edges keep a window visible that is narrower than a pixel.
            ax.plot(low[which], level[which], "|", color=colour, ms=8, mew=1, zorder=3,
                    rasterized=bool(which.sum() > MANY))  # fmt: skip
        named.append(Line2D([], [], color=READER, marker="s", lw=0, ms=8, label="reader's window"))
    names += readers
    ax.set_yticks(range(len(names)), labels=names, fontsize=8.5)
    for border in range(len(names) - 1):
        ax.axhline(border + 0.5, color=GRID, lw=0.8, zorder=1)
    return named


def _number_repetitions(
    panel: Panel, places: tuple[pd.Series[float], pd.Series[float]], op: str, lane: float
) -> None:
    """Write "unmap ×512" over or beside so many marks that they run into a bar.

    ``places``: x of the operation in one lane, and of all that is drawn at its height.
    """
    low, high = panel.limits
    mine, beside = (np.append(np.sort(one.to_numpy()), high) for one in places)
    run = np.cumsum(np.diff(mine[:-1], prepend=mine[:1]) > APART * (high - low))
    starts = np.flatnonzero(np.diff(run, prepend=-1)).tolist()
    bottom, top = panel.ax.get_ylim()
    y = (lane - bottom) / (top - bottom) * panel.height
    for begin, end in zip(starts, [*starts[1:], len(run)], strict=True):
        if end - begin < MANY_ALIKE:
            continue
        text = f"{op} ×{end - begin}"
        wide, tall = size_of(text, NUMBER)
        first, last = panel.points(mine[begin]), panel.points(mine[end - 1])
        free = beside[min(np.searchsorted(beside, mine[end - 1], "right"), len(beside) - 1)]
        spots = []
        if last - first > wide:
            spots = [
                (left, y - tall / 2) for left in ((first + last - wide) / 2, first, last - wide)
            ]
        elif panel.points(free) - last > wide + 3:
            spots = [(last + 3, y - tall / 2)]
        panel.write(text, spots, NUMBER, OPS[op][0], bold=False)
