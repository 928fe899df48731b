# SPDX-License-Identifier: GPL-2.0-or-later
"""A time axis that shows bursts of events and shortens the idle time between them.

A folio's life is microseconds of activity between milliseconds of nothing: on a linear
axis all of it is one line.  Here the few gaps that take most of the time are cut to a
fixed width; within a burst an event's place is half its time and half its rank, so that
order and rhythm both show.  Ticks carry the true time, and smaller ones between them divide
it equally: where these are uneven, time is bent.
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
#: How far, as a share of the width, a time may be from its place on a straight axis.
STRAIGHT = 0.01

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

    @property
    def bent(self) -> bool:
        """Whether equal times take unequal room anywhere."""
        since = (self.times - self.times[0]) / (self.times[-1] - self.times[0])
        share = (self.places - self.places[0]) / (self.places[-1] - self.places[0])
        return bool(np.abs(since - share).max() > STRAIGHT)

    def ticks(self, zero: int, most: int = 14) -> tuple[Ints, list[str]]:
        """Times and labels, counted from ``zero`` (ns): where bursts begin, and round times."""
        low, high = self.limits
        apart = (high - low) / most
        chosen = [int(self.times[0])]

        def add(times: Ints) -> None:
            taken = self.x(np.array(chosen))
            for ts, place in zip(times.tolist(), self.x(times).tolist(), strict=True):
                if np.abs(taken - place).min() >= apart:
                    chosen.append(ts)
                    taken = np.append(taken, place)

        add(np.append(self.bursts, self.times[-1]))
        if len(chosen) < most // 2:
            first, last = int(self.times[0]) - zero, int(self.times[-1]) - zero
            for step in _round_steps(last - first):
                if len(chosen) < most // 2:
                    add(zero + np.arange(-(-first // step), last // step + 1) * step)
        ordered = np.array(sorted(chosen))
        since = ordered - zero
        unit, size = next(
            (u, s) for u, s in (("s", 10**9), ("ms", 10**6), ("µs", 10**3), ("ns", 1))
            if since.max(initial=0) >= 10 * s or s == 1
        )  # fmt: skip
        digits = 3 if size > 1 and since.max() < 1000 * size else 0
        return ordered, [f"{t / size:.{digits}f} {unit}" for t in since.tolist()]

    def between(self, ticks: Ints, parts: int, apart: float) -> Floats:
        """Places that divide the time between two ticks into equal parts, thinned out."""
        if len(ticks) < 2:
            return np.zeros(0)
        steps = np.diff(ticks)[:, None] * np.arange(1, parts) // parts
        places = np.append(self.x((ticks[:-1, None] + steps).ravel()), self.x(ticks))
        taken = places[-len(ticks) :]
        kept: list[float] = []
        for place in np.sort(places[: -len(ticks)]).tolist():
            if np.abs(taken - place).min() >= apart and (not kept or place - kept[-1] >= apart):
                kept.append(place)
        return np.array(kept)


def _round_steps(span: int) -> list[int]:
    """1, 2 or 5 times a power of ten, from the largest within a span to its thousandth."""
    steps = [m * 10**e for e in range(18) for m in (1, 2, 5)]
    return [step for step in reversed(steps) if span / 1000 <= step <= span]


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
