# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of threads over time: from the list at the start and the records of changes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.arrays import Ints
from analysis.log import Log

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN, IDLE = "?", "swapper"


class _Sorted(NamedTuple):
    """What is known of threads, by thread and time: its ``tid``, the ``code`` of its name in
    ``names``, and one number for both, of which ``times`` and ``threads`` give the ranks."""

    names: list[str]
    times: Ints
    threads: Ints
    tid: Ints
    code: Ints
    key: Ints


class TaskNames:
    """The name of each thread at any time of the recording."""

    def __init__(self, alive: list[tuple[int, int, str]]) -> None:
        self._ts = np.zeros(len(alive), dtype=np.int64)
        self._tid = np.array([tid for tid, _, _ in alive], dtype=np.int64)
        self._comm = [comm for _, _, comm in alive]

    def learn(self, log: Log) -> None:
        """Add the names in the records of a log."""
        ts, tid = [self._ts], [self._tid]
        for op in ("task_new", "task_rename", "task_exit"):
            rows, names = log.texts(op)
            # A new task's record is its parent's: the pfn word names the child.
            child = (log.raw["pfn"][rows] & np.uint64(0xFFFFFFFF)).astype(np.int64)
            ts.append(log.ts[rows])
            tid.append(child if op == "task_new" else log.tid[rows])
            self._comm = self._comm + names
        self._ts, self._tid = np.concatenate(ts), np.concatenate(tid)
        self.__dict__.pop("_sorted", None)

    @cached_property
    def _sorted(self) -> _Sorted:
        by_time = np.argsort(self._ts, kind="stable")
        known = by_time[np.argsort(self._tid[by_time], kind="stable")]
        names = sorted({UNKNOWN, IDLE, *self._comm})
        code_of = {name: code for code, name in enumerate(names)}
        code = np.array([code_of[self._comm[one]] for one in known.tolist()], dtype=np.int64)
        times, threads = np.unique(self._ts), np.unique(self._tid)
        key = np.searchsorted(threads, self._tid[known]) * (len(times) + 1)
        key += np.searchsorted(times, self._ts[known], "right")
        return _Sorted(names, times, threads, self._tid[known], code, key)

    def at(self, ts: Ints, tid: Ints) -> tuple[Ints, list[str]]:
        """The name of each thread at each time, as codes into a list of names.

        It is the last name before that time; for a thread that is named only later, for example
        by its exit, that name.
        """
        names, times, threads, known, code, key = self._sorted
        thread = np.searchsorted(threads, tid)
        result = np.full(len(tid), names.index(UNKNOWN), dtype=np.int64)
        if len(known):
            wanted = thread * (len(times) + 1) + np.searchsorted(times, ts, "right")
            last = np.searchsorted(key, wanted, "right") - 1
            for place in (np.minimum(last + 1, len(known) - 1), np.maximum(last, 0)):
                hit = known[place] == tid
                result[hit] = code[place[hit]]
        result[tid == 0] = names.index(IDLE)
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
