# SPDX-License-Identifier: GPL-2.0-or-later
"""The compressed time axis."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.plot.axis import compress

TIMES = st.lists(st.integers(0, 10**13), min_size=1, max_size=200)


@given(times=TIMES, zoom=st.booleans())
def test_axis_keeps_the_order_when_times_are_any(times: list[int], zoom: bool) -> None:
    # GIVEN any times
    times_array = np.array(times, dtype=np.int64)
    spans = [(min(times), max(times), 0.3)] if zoom else []
    # WHEN an axis is made of them
    axis = compress(times_array, spans)
    # THEN later is further right, and a place leads back to its time
    ordered = np.unique(times_array)
    places = axis.x(ordered)
    assert (np.diff(places) >= 0).all()
    assert np.abs(axis.ts(axis.places) - axis.times).max() <= 1
    low, high = axis.limits
    assert low <= places[0] and places[-1] <= high


def test_axis_shows_a_burst_when_idle_time_is_a_thousand_times_longer() -> None:
    # GIVEN two bursts of 100 events, one µs apart, with a second between
    burst = np.arange(100) * 1000
    times = np.concatenate([burst, burst + 10**9])
    # WHEN an axis is made
    axis = compress(times)
    # THEN the gap is cut and each burst has more width than the gap
    assert len(axis.cuts) == 1
    x = axis.x(times)
    assert x[99] - x[0] > x[100] - x[99]


def test_axis_gives_a_span_its_share_when_it_is_asked_for() -> None:
    # GIVEN a short span in a long burst
    times = np.arange(1000) * 1000
    # WHEN it is asked to be wide
    axis = compress(times, [(500_000, 501_000, 0.25)])
    # THEN it is
    low, high = axis.x(np.array([500_000, 501_000]))
    assert (high - low) / axis.places[-1] > 0.19
