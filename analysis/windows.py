# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers' windows: from the entry of a function that looks at a folio to its return."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.arrays import Bools, Ints
from analysis.lives import DEATHS, Lives
from analysis.log import Log
from analysis.plan import ENTER, OP, RETURN


def over_death(lives: Lives, enter: pd.Series[int], leave: pd.Series[int]) -> Bools:
    """Whether the folio that was looked at ended inside each window (rows of the log).

    An end in the very nanosecond in which the reader left counts: it cannot be excluded.
    """
    life = lives.of[enter]
    hit = life >= 0
    death = lives.death_row[life[hit]]
    ended = np.isin(lives.death[life[hit]], [DEATHS.index("free"), DEATHS.index("split")])
    hit[hit] = ended & (death > enter[hit].to_numpy()) & (death < leave[hit].to_numpy())
    return np.asarray(hit)


def _never_left(log: Log) -> Ints:
    """Entries of readers that are the last record of their thread: it is still inside."""
    last = np.full(int(log.tid.max(initial=0)) + 1, -1, dtype=np.int64)
    last[log.tid] = np.arange(len(log))
    enter = np.flatnonzero((log.op == OP["read"]) & (log.phase == ENTER))
    inside: Ints = enter[last[log.tid[enter]] == enter]
    return inside


def reader_windows(log: Log, lives: Lives) -> pd.DataFrame:
    """One row per reader's window.

    Columns: ``enter``, ``leave`` (rows of the log), ``ts``, ``end_ts`` (ns), ``tid``,
    ``function`` (code of the plan), ``pfn``, ``life`` (-1: none), ``over_death`` (the
    folio was freed or split inside the window).  A reader that never came back, because
    the kernel died of it or the recording ended, left after the last row.
    """
    closed = np.flatnonzero((log.op == OP["read"]) & (log.phase == RETURN) & (log.enter_of >= 0))
    inside = _never_left(log)
    enter = np.concatenate([log.enter_of[closed], inside])
    leave = np.concatenate([closed, np.full(len(inside), len(log), dtype=np.int64)])
    frame = pd.DataFrame(
        {
            "enter": enter,
            "leave": leave,
            "ts": log.ts[enter],
            "end_ts": log.ts[np.minimum(leave, len(log) - 1)],
            "tid": log.tid[enter],
            "function": log.function[enter],
            "pfn": log.pfn[enter],
            "life": lives.of[enter],
        }
    )
    frame["over_death"] = over_death(lives, frame["enter"], frame["leave"])
    return frame
