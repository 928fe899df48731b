# SPDX-License-Identifier: GPL-2.0-or-later
"""The workload's marks as the data frame of ``Trace.df_marks``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.clock import time_of_day
from analysis.columns import category, texts
from analysis.log import Log
from analysis.recording import Recording
from analysis.time_order import Rank


def marks_frame(recording: Recording, log: Log, rank: Rank) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_marks``.

    ``log`` has the marks, and ``rank`` the label in ``df_events`` of each of its records.
    """
    rows, names = log.texts("mark")
    ts, tid = log.ts[rows], log.tid[rows]
    codes, comms = recording.names.at(ts, tid)
    used, place = np.unique(codes, return_inverse=True)
    return pd.DataFrame(
        {
            "ts": ts,
            "time": time_of_day(recording.meta, ts),
            "name": texts(names),
            "tid": tid.astype(np.int32),
            "pid": log.pid[rows].astype(np.int32),
            "comm": category(place, [comms[code] for code in used]),
            "event": rank[rows].astype(np.int64),
        }
    )
