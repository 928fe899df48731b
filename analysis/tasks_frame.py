# SPDX-License-Identifier: GPL-2.0-or-later
"""The threads that acted as the data frame of ``Trace.df_tasks``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.columns import category
from analysis.recording import Recording


def tasks_frame(recording: Recording) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_tasks``."""
    counted = recording.census
    codes, names = recording.names.at(counted.tid_last, counted.tids)
    used, place = np.unique(codes, return_inverse=True)
    return pd.DataFrame(
        {
            "pid": counted.tid_pid,
            "comm": category(place, [names[code] for code in used]),
            "events": counted.tid_events,
            "last_ts": counted.tid_last,
        },
        index=pd.Index(counted.tids, name="tid"),
    )
