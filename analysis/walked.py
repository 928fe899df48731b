# SPDX-License-Identifier: GPL-2.0-or-later
"""The lives of which the page tables walked for a snapshot show every mapping."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Bools, Ints, distinct
from analysis.lives import BIRTHS
from analysis.log import Log
from analysis.part import Part
from analysis.plan import OP, among
from analysis.truth import Snapshot

#: Splits of splits that are followed back to the folio that was allocated.
MOST_SPLITS = 4
NOBODY = -1


def mappers(log: Log, common: Log, rows: Ints) -> Ints:
    """The process whose page tables each of the operations ``rows`` changes: the task's own or,
    for a fork's copy, the child.

    The child is named by the next record of a new process from the same thread; NOBODY if there
    is none.
    """
    who = log.pid[rows].copy()
    copies = np.flatnonzero(log.op[rows] == OP["dup"])
    born = common.raw["pfn"].astype(np.int64)
    process, thread = born >> 32, born & 0xFFFFFFFF
    forks = np.flatnonzero((common.op == OP["task_new"]) & (process == thread))
    forks = forks[np.lexsort((common.ts[forks], common.tid[forks]))]
    who[copies] = NOBODY
    if len(forks) == 0:
        return who
    # One number for thread and time, as both are sorted by.
    tids, times = common.tid[forks], np.unique(common.ts[forks])
    size = len(times) + 1
    key = tids * size + np.searchsorted(times, common.ts[forks])
    tid = log.tid[rows[copies]]
    place = np.searchsorted(key, tid * size + np.searchsorted(times, log.ts[rows[copies]]))
    there = place < len(forks)
    there[there] = tids[place[there]] == tid[there]
    who[copies[there]] = process[forks[place[there]]]
    return who


class Walks:
    """The lives that the page-table walks of a trace's snapshots cover."""

    def __init__(self, part: Part) -> None:
        self._lives, self._common = part.lives, part.recording.common
        rows = np.flatnonzero(among(part.log.op, ("map", "dup")) & (part.lives.of >= 0))
        # Each pair of a life and a process once, as one number.
        who = mappers(part.log, self._common, rows) - NOBODY
        self._life, who = np.divmod(distinct((part.lives.of[rows] << 32) + who), 1 << 32)
        self._who = who + NOBODY
        # Since 6.16 the record of a task's end comes before its page tables are torn down.
        self._pid, place = np.unique(part.log.pid[::-1], return_index=True)
        self._last = part.log.ts[len(part.log) - 1 - place]

    def of(self, shot: Snapshot) -> tuple[Bools, Bools]:
        """Masks: lives all of whose mappings the walk found, and lives without extra mappings.

        The first are lives mapped only by tasks whose page tables were walked while they were
        stopped, or that have exited.  A split maps the pages again for other tasks, so its
        children's mappers are those of the folio; the mappers of a folio older than the recording
        are not known.  If a task ran during the walk, a mapping that it moved may be found twice:
        then the second mask is the first.
        """
        lives, common = self._lives, self._common
        ended = (common.op == OP["task_exit"]) & (common.ts <= shot.ts_begin)
        gone = set(common.tid[np.flatnonzero(ended)].tolist())
        gone -= set(self._pid[self._last > shot.ts_begin].tolist())
        seen = gone.union(shot.tasks).difference(shot.torn)
        known = np.ones(len(lives), dtype=bool)
        known[self._life[np.isin(self._who, list(seen), invert=True)]] = False
        alone = known & (lives.birth == BIRTHS.index("alloc"))
        children = known & (lives.parent >= 0)
        for _ in range(MOST_SPLITS):
            alone[children] = alone[lives.parent[children]]
        return alone, alone if shot.torn else np.ones(len(lives), dtype=bool)
