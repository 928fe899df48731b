# SPDX-License-Identifier: GPL-2.0-or-later
"""Converts the recording's clock to the time of day, by the reading of both in its header."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.arrays import Ints
from probes.limits import EVER

#: Of traces without clocks no time of day is known.
NOT_A_TIME = np.datetime64("NaT", "ns")


def time_of_day(meta: dict[str, Any], ts: npt.NDArray[Any]) -> npt.NDArray[np.datetime64]:
    """UTC of times in ns of CLOCK_MONOTONIC; later changes of the clock are not followed."""
    clock = meta.get("clock", {})
    both = clock.get("realtime_ns"), clock.get("monotonic_ns")
    if not all(type(one) is int and 0 <= one <= EVER >> 1 for one in both):
        return np.full(len(ts), NOT_A_TIME)
    since_1970: Ints = ts.astype(np.int64) + (both[0] - both[1])
    return since_1970.astype("datetime64[ns]")
