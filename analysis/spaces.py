# SPDX-License-Identifier: GPL-2.0-or-later
"""The processes of each address space at any time, by the records of fork, exec and exit.

An address space (struct mm_struct) is identified by its address, which may be reused after its
end.  fork gives a process a new one, exec another, and vfork and clone(CLONE_VM) share one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from analysis.log import Log
from analysis.plan import OP
from analysis.records import NAMED, words

#: The operations whose records say which address space a process has.
NAMING = ("task_new", "task_rename", "task_exit")


class Spaces:
    """``alive``: (pid, mm) of the processes when recording began."""

    def __init__(self, alive: Iterable[tuple[int, int]], common: Log) -> None:
        self._alive = list(alive)
        rows = np.flatnonzero(np.isin(common.op, [OP[op] for op in NAMING]))
        about = common.raw["pfn"][rows].astype(np.int64)
        columns = (
            common.ts[rows],
            about >> 32,
            about & 0xFFFFFFFF,
            common.op[rows] == OP["task_exit"],
            words(common.raw, rows, NAMED)["mm"],
        )
        #: ts, process, thread, whether that is the thread's end, its mm.
        self._told = list(zip(*(column.tolist() for column in columns), strict=True))

    def every(self) -> list[tuple[int, int]]:
        """(address space, process) of all processes, in time order."""
        told = [(mm, pid) for _, pid, _, ends, mm in self._told if mm and not ends]
        return list(dict.fromkeys([*((mm, pid) for pid, mm in self._alive), *told]))

    def at(self, ts: int) -> dict[int, list[int]]:
        """By address space the processes that have it, ascending.

        An address space without a process keeps its last process: it is being torn down.
        """
        space = dict(self._alive)
        last = {mm: pid for pid, mm in self._alive}
        for when, pid, tid, ends, mm in self._told:
            if when > ts:
                break
            if ends:
                if tid == pid:
                    space.pop(pid, None)
            elif mm:
                space[pid] = mm
                last[mm] = pid
        found: dict[int, list[int]] = {}
        for pid, mm in sorted(space.items()):
            found.setdefault(mm, []).append(pid)
        return {mm: found.get(mm, [pid]) for mm, pid in last.items()}
