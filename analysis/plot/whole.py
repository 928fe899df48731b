# SPDX-License-Identifier: GPL-2.0-or-later
"""The time of a whole trace as an axis, and its marks across some panels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.arrays import Ints
from analysis.plot.labels import fitted
from analysis.plot.shapes import uprights
from analysis.plot.style import MARK, Floats
from analysis.trace import Trace

#: Marks that have their names in the picture.
NAMES = 24


class Times:
    """The axis of time: s or ms since the first record."""

    def __init__(self, trace: Trace) -> None:
        self.zero = trace.census.first_ts
        self.end = max(trace.census.last_ts, self.zero + 1)
        seconds = self.end - self.zero >= 10**10
        self.unit, self._size = ("s", 1e9) if seconds else ("ms", 1e6)

    def x(self, ts: Ints) -> Floats:
        """Places of times (ns)."""
        return (ts - self.zero) / self._size


def draw_marks(panels: Sequence[Axes], trace: Trace, times: Times) -> None:
    """A line for each mark, with its name above if there are few."""
    rows, names = trace.common.texts("mark")
    places = times.x(trace.common.ts[rows]).tolist()
    for panel in panels:
        uprights(panel, np.array(places), color=MARK, ls=(0, (4, 3)), lw=0.8, alpha=0.7)
    if len(names) > NAMES:
        return
    _, high = panels[0].get_xlim()
    free = -1.0
    for place, name in zip(places, names, strict=True):
        if place >= free:
            panels[0].annotate(
                fitted(name, 70, 8.5), (place, 1.0),
                xycoords=("data", "axes fraction"), xytext=(1, 3), textcoords="offset points",
                rotation=30, fontsize=8.5, color=MARK,
            )  # fmt: skip
            free = place + 0.022 * high
