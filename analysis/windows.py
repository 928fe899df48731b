# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers' windows: from the entry of a function that reads a folio's state to its return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.census import Census
from analysis.lives import DEATHS, Lives
from analysis.log import Log
from analysis.plan import ENTER, OP, RETURN


@dataclass(frozen=True)
class Windows:
    """One element per reader's window.

    ``enter``, ``leave`` (rows of the log), ``ts``, ``end_ts`` (ns), ``tid``, ``function``
    (code of the plan), ``pfn``, ``life`` (-1: none), ``over_death`` (the folio was freed or
    split in the window, or a free was in progress when a reader entered in which the kernel
    died).  If the kernel ``died`` in the reader, the oops ends the window; if the recording ended
    first, ``leave`` is after the last row.
    """

    enter: Ints
    leave: Ints
    ts: Ints
    end_ts: Ints
    tid: Ints
    function: Ints
    pfn: Ints
    life: Ints
    over_death: Bools
    died: Bools

    def __len__(self) -> int:
        return len(self.enter)


def _ended(lives: Lives, life: Ints) -> Bools:
    """Which lives ended before our eyes."""
    return np.isin(lives.death[life], [DEATHS.index("free"), DEATHS.index("split")])


def _over_death(lives: Lives, life: Ints, enter: Ints, leave: Ints) -> Bools:
    """Whether the folio that was looked at ended inside each window.

    An end in the very nanosecond in which the reader left counts: it cannot be excluded.
    """
    hit: Bools = life >= 0
    death = lives.death_row[life[hit]]
    hit[hit] = _ended(lives, life[hit]) & (death > enter[hit]) & (death < leave[hit])
    return hit


def _just_ended(lives: Lives, pfn: Ints, enter: Ints) -> Ints:
    """The life whose end had begun when a reader came to its page; -1: there is none.

    The record of a free or split is made at its beginning: its work on the pages follows.
    """
    life = lives.index.before(pfn, enter)
    there = life >= 0
    there[there] = _ended(lives, life[there]) & (lives.death_row[life[there]] < enter[there])
    return np.where(there, life, -1)


def _unreturned(log: Log, counted: Census) -> Ints:
    """Entries of readers that never came back: their thread did nothing after it but die.

    A kernel that dies dumps the page, for which it may ask the same question of it again.
    """
    reads = (log.op == OP["read"]) & (log.phase == ENTER)
    last = []
    for row in np.flatnonzero(reads & (log.return_of < 0)).tolist():
        tid, ts = int(log.tid[row]), log.ts[row]
        latest = counted.last_entry[tid, int(log.function[row])]
        if latest > ts and tid in counted.died:
            again = np.flatnonzero(reads & (log.ts == latest) & (log.tid == tid))
            if (log.pfn[again] == log.pfn[row]).any():
                latest = ts
        if latest == ts > counted.last_else.get(tid, -1):
            last.append(row)
    return np.array(last, dtype=np.int64)


def reader_windows(log: Log, lives: Lives, counted: Census) -> Windows:
    """The windows of a log; ``counted``: the census, for the threads' records in other parts."""
    closed = np.flatnonzero((log.op == OP["read"]) & (log.phase == RETURN) & (log.enter_of >= 0))
    inside = _unreturned(log, counted)
    oops_ts = np.array([counted.died.get(tid, -1) for tid in log.tid[inside].tolist()], np.int64)
    until = np.where(oops_ts < 0, len(log), np.searchsorted(log.ts, oops_ts))
    enter = np.concatenate([log.enter_of[closed], inside])
    leave = np.concatenate([closed, until])
    died = np.concatenate([np.zeros(len(closed), dtype=bool), oops_ts >= 0])
    end_ts = np.concatenate([log.ts[closed], np.where(oops_ts < 0, counted.last_ts, oops_ts)])
    life = lives.of[enter]
    over_death = _over_death(lives, life, enter, leave)
    fatal = died & (life < 0)
    life[fatal] = _just_ended(lives, log.pfn[enter[fatal]], enter[fatal])
    return Windows(
        enter=enter,
        leave=leave,
        ts=log.ts[enter],
        end_ts=end_ts,
        tid=log.tid[enter],
        function=log.function[enter],
        pfn=log.pfn[enter],
        life=life,
        over_death=over_death | (fatal & (life >= 0)),
        died=died,
    )
