# SPDX-License-Identifier: GPL-2.0-or-later
"""A time axis that shows bursts of events and shortens the idle time between them.

A folio's life is microseconds of activity between milliseconds of nothing: on a linear
axis all of it is one line.  Here the few gaps that take most of the time are cut to a
fixed width; within a burst an event's place is half its time and half its rank, so that
order and rhythm both show.  Ticks carry the true time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Ints
from analysis.plot.style import Floats

#: A gap is cut when it takes more than this share of the time that is still shown.
IDLE_SHARE = 0.04
MOST_CUTS = 24
GAP_WIDTH = 1.3

#: Begin and end in ns, and the least share of the axis.
Span = tuple[int, int, float]


@dataclass(frozen=True)
class TimeAxis:
    """Maps ns to x by linear pieces.

    ``cuts``: the two ends (ns) of each shortened gap; ``bursts``: where bursts begin (ns).
    """

    times: Ints
    places: Floats
    cuts: Ints
    bursts: Ints

    @property
    def limits(self) -> tuple[float, float]:
        """x limits with a little room at both ends."""
        room = 0.02 * (self.places[-1] - self.places[0])
        return float(self.places[0] - room), float(self.places[-1] + room)

    def x(self, ts: Ints) -> Floats:
        """Places of times; times outside lie at the ends."""
        return np.interp(ts, self.times, self.places)

    def ts(self, x: Floats) -> Ints:
        """Times of places."""
        # In whole ns: 64-bit floats cannot hold a monotonic clock and its fractions.
        since = np.interp(x, self.places, (self.times - self.times[0]).astype(float))
        ts: Ints = self.times[0] + since.astype(np.int64)
        return ts

    def ticks(self, most: int = 14) -> tuple[list[float], list[str]]:
        """Places and labels of true times since the first: the bursts, thinned out."""
        low, high = self.limits
        apart = (high - low) / most
        chosen: list[float] = []
        for place in [*self.x(self.bursts).tolist(), float(self.places[-1])]:
            if not chosen or place - chosen[-1] >= apart:
                chosen.append(place)
        if len(chosen) < most // 3:
            more = np.linspace(self.places[0], self.places[-1], most // 2)
            chosen += [x for x in more.tolist() if all(abs(x - c) >= apart for c in chosen)]
            chosen.sort()
        since = self.ts(np.array(chosen)) - self.times[0]
        unit, size = next(
            (u, s) for u, s in (("s", 10**9), ("ms", 10**6), ("µs", 10**3), ("ns", 1))
            if since.max(initial=0) >= 10 * s or s == 1
        )  # fmt: skip
        digits = 3 if size > 1 and since.max() < 1000 * size else 0
        return chosen, [f"{t / size:.{digits}f} {unit}" for t in since.tolist()]


def compress(times: Ints, zoomed: Sequence[Span] = ()) -> TimeAxis:
    """Make the axis from all times that matter (any order, at least one).

    ``zoomed``: spans that must be wide enough to see what lies in them.
    """
    times = np.unique(times)
    if len(times) == 1:
        times = np.append(times, times[0] + 1)
    gaps = np.diff(times)
    shown = int(times[-1] - times[0])
    cut: list[int] = []
    for gap in np.argsort(gaps)[::-1][:MOST_CUTS].tolist():
        if gaps[gap] <= IDLE_SHARE * shown:
            break
        cut.append(gap)
        shown -= int(gaps[gap])
    cut.sort()
    edges = [0, *(gap + 1 for gap in cut), len(times)]
    places = np.zeros(len(times))
    at = 0.0
    for begin, end in zip(edges, edges[1:], strict=False):
        count = end - begin
        width = 1.5 * np.log10(count) if count > 1 else 0.0
        span = times[begin:end] - times[begin]
        share = 0.5 * span / max(1, int(span[-1])) + 0.5 * np.arange(count) / max(1, count - 1)
        places[begin:end] = at + width * share
        at += width + GAP_WIDTH
    gap = np.array(cut, dtype=np.int64)
    ends = np.stack([times[gap], times[gap + 1]], axis=1)
    return TimeAxis(times, _magnify(times, places, zoomed), ends, times[np.array(edges[:-1])])


def _magnify(times: Ints, places: Floats, spans: Sequence[Span]) -> Floats:
    """Give each span at least its share of the width."""
    for begin, end, share in spans:
        low, high = np.interp([begin, end], times, places)
        missing = share * (places[-1] - places[0]) - (high - low)
        if missing > 0:
            places = places + missing * np.clip((times - begin) / max(1, end - begin), 0, 1)
    return places
