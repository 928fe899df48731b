# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of a trace in frames that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.events_frame import events_frame
from analysis.pieces import pieces
from analysis.trace import Trace


def event_frames(trace: Trace) -> Iterator[pd.DataFrame]:
    """``df_events`` in frames; a folio's life is in one frame.

    A trace of one piece is one frame, in the order of time.  Of a larger one the first frame
    has what belongs to no page (marks, tasks), and each frame is in the order of time.
    """
    for number, (part, numbers) in enumerate(pieces(trace)):
        if part is trace:
            yield trace.df_events()
            return
        if number == 0:
            nobody = np.full(len(trace.common), -1, dtype=np.int64)
            yield events_frame(trace.common, trace.names, trace.counters, nobody)
        yield events_frame(part.log, trace.names, trace.counters, numbers[part.lives.of])
