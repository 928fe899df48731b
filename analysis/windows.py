# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers' windows: from the entry of a function that looks at a folio to its return."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.arrays import Bools, Ints, first_of
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


def _unreturned(log: Log) -> tuple[Ints, Ints]:
    """Readers that never came back: their entries, and the rows that end their windows.

    The thread did nothing after it but die: its oops ends the window, else the recording.
    """
    # A panic follows on the oops, in the same thread.
    oops = {int(log.tid[row]): row for row in np.flatnonzero(log.op == OP["oops"])[::-1].tolist()}
    threads = int(log.tid.max(initial=0)) + 1
    died = np.full(threads, len(log), dtype=np.int64)
    died[list(oops)] = list(oops.values())
    rows = np.flatnonzero((log.op != OP["read"]) & (np.arange(len(log)) < died[log.tid]))
    last_else = np.full(threads, -1, dtype=np.int64)
    last_else[log.tid[rows]] = rows
    entries = np.flatnonzero((log.op == OP["read"]) & (log.phase == ENTER))[::-1]
    # The last entry of each thread into each function, if it did not return.
    _, last = first_of(log.tid[entries] << 32 | log.function[entries])
    enter = np.sort(entries[last])
    enter = enter[(enter > last_else[log.tid[enter]]) & ~np.isin(enter, log.enter_of)]
    return enter, died[log.tid[enter]]


def reader_windows(log: Log, lives: Lives) -> pd.DataFrame:
    """One row per reader's window.

    Columns: ``enter``, ``leave`` (rows of the log), ``ts``, ``end_ts`` (ns), ``tid``,
    ``function`` (code of the plan), ``pfn``, ``life`` (-1: none), ``over_death`` (the
    folio was freed or split inside the window).  Where the reader died inside, its oops
    ends the window; where the recording ended first, it left after the last row.
    """
    closed = np.flatnonzero((log.op == OP["read"]) & (log.phase == RETURN) & (log.enter_of >= 0))
    inside, until = _unreturned(log)
    enter = np.concatenate([log.enter_of[closed], inside])
    leave = np.concatenate([closed, until])
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
