# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of a trace in frames that fit into memory, with the columns of ``df_events``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.each_part import each_part
from analysis.events_frame import events_frame
from analysis.part import Part
from analysis.trace import Trace


def event_frames(trace: Trace) -> Iterator[pd.DataFrame]:
    """All events; a folio's life is in one frame, and each frame is in time order."""
    yield from common_events(trace)
    for part, numbers in each_part(trace):
        yield piece_events(trace, part, numbers)


def common_events(trace: Trace) -> Iterator[pd.DataFrame]:
    """Events that belong to no page (marks, tasks) and so are in no part of a divided trace."""
    if trace.divided:
        nobody = np.full(len(trace.common), -1, dtype=np.int64)
        yield events_frame(trace.common, trace.names, trace.meta, trace.counters, nobody)


def piece_events(trace: Trace, part: Part, numbers: Ints) -> pd.DataFrame:
    """The events of a part; of an undivided trace all of them."""
    life = numbers[part.lives.of]
    return events_frame(part.log, trace.names, trace.meta, trace.counters, life)
