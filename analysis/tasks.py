# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of threads over time: from the list at the start and the records of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.arrays import Ints
from analysis.log import Log

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN, IDLE = "?", "swapper"


class TaskNames:
    """Knows what each thread was called at any time of the recording."""

    def __init__(self, alive: list[tuple[int, int, str]]) -> None:
        self._ts = np.zeros(len(alive), dtype=np.int64)
        self._tid = np.array([tid for tid, _, _ in alive], dtype=np.int64)
        self._comm = [comm for _, _, comm in alive]

    def learn(self, log: Log) -> None:
        """Take in the names that the records of a log give."""
        ts, tid = [self._ts], [self._tid]
        for op in ("task_new", "task_rename", "task_exit"):
            rows, names = log.texts(op)
            # A new task's record is its parent's: the pfn word names the child.
            child = (log.raw["pfn"][rows] & np.uint64(0xFFFFFFFF)).astype(np.int64)
            ts.append(log.ts[rows])
            tid.append(child if op == "task_new" else log.tid[rows])
            self._comm = self._comm + names
        self._ts, self._tid = np.concatenate(ts), np.concatenate(tid)

    def at(self, ts: Ints, tid: Ints) -> tuple[Ints, list[str]]:
        """The name of each thread at each time, as codes into a list of names.

        It is the last name given until then.  A thread that is named only later, by its
        exit for one, gets that name.
        """
        by_time = np.argsort(self._ts, kind="stable")
        known = by_time[np.argsort(self._tid[by_time], kind="stable")]
        names = sorted({UNKNOWN, IDLE, *self._comm})
        code_of = {name: code for code, name in enumerate(names)}
        code = np.array([code_of[self._comm[one]] for one in known.tolist()], dtype=np.int64)
        # One number for thread and time: times are ranked among those that are known.
        times, threads = np.unique(self._ts), np.unique(self._tid)
        size = len(times) + 1
        key = np.searchsorted(threads, self._tid[known]) * size
        key += np.searchsorted(times, self._ts[known], "right")
        thread = np.searchsorted(threads, tid)
        result = np.full(len(tid), code_of[UNKNOWN], dtype=np.int64)
        if len(known):
            wanted = thread * size + np.searchsorted(times, ts, "right")
            last = np.searchsorted(key, wanted, "right") - 1
            for place in (np.minimum(last + 1, len(known) - 1), np.maximum(last, 0)):
                hit = self._tid[known[place]] == tid
                result[hit] = code[place[hit]]
        result[tid == 0] = code_of[IDLE]
        return result, names

    def comm(self, ts: pd.Series[int], tid: pd.Series[int]) -> pd.Series[Any]:
        """The name of each thread at each time, as a category."""
        import pandas as pd

        codes, names = self.at(ts.to_numpy().astype(np.int64), tid.to_numpy().astype(np.int64))
        used = np.flatnonzero(np.bincount(codes, minlength=len(names)))
        place = np.zeros(len(names), dtype=np.int64)
        place[used] = np.arange(len(used))
        make: Any = pd.Categorical.from_codes  # the stubs do not allow arrays of codes
        return pd.Series(
            make(place[codes], categories=[names[code] for code in used]), index=ts.index
        )
