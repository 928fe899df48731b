# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts the records of a trace in one pass, whatever its size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Ints, Records, changes
from analysis.errors import AnalysisError
from analysis.losses import NUMBERS
from analysis.plan import ENTER, OP, Plan
from analysis.records import MOVES, PLACED, is_beside, joined, picked, words
from probes import limits
from probes.events import MARK_FIRST, MOVED, NO_ADDRESS, PLACE

#: The order of the smallest span of memory that records are counted for.
FRAME_SHIFT = 9
#: Ids of probes and of CPUs that fit into a record.
PROBES = CPUS = 1 << 16


@dataclass(frozen=True)
class Census:
    """Totals of the records of a trace.

    ``first_ts``, ``last_ts``: ns.  ``probes``: records by probe id.  By thread, ascending:
    ``tids``, ``tid_events``, ``tid_last`` (ns of its last record), ``tid_pid`` (its process at
    that time).  ``cpu_lost``: by CPU, how many sequence numbers are missing; ``cpu_uneven``: the
    CPUs where a number is missing and another occurs twice.  ``frames`` (pfn >> FRAME_SHIFT,
    ascending) have ``frame_events`` records; ``order`` is the highest order that occurs.
    ``common``: the records that belong to no page: marks, tasks, the kernel's death.
    For readers that never return: ``died`` (ns of a thread's oops), ``last_else`` (ns of a
    thread's last record before it died, readers' records excepted), ``last_entry`` (ns of a
    thread's last entry into a reader's function).
    """

    events: int
    first_ts: int
    last_ts: int
    probes: Ints
    tids: Ints
    tid_events: Ints
    tid_last: Ints
    tid_pid: Ints
    cpu_lost: dict[int, int]
    cpu_uneven: set[int]
    frames: Ints
    frame_events: Ints
    order: int
    common: Records
    died: dict[int, int]
    last_else: dict[int, int]
    last_entry: dict[tuple[int, int], int]


def is_common(records: Records, plan: Plan) -> Ints:
    """Rows of the records that belong to no page."""
    probe = records["probe"]
    apart = (probe >= MARK_FIRST) & ~is_beside(probe)
    return np.flatnonzero(apart | (plan.op[probe] == OP["oops"]))


Sums = tuple[Ints, Ints, Ints]


def _summed(key: Ints, number: Ints, last: Ints) -> Sums:
    """The distinct keys in ascending order, their numbers added up, their greatest values."""
    by_key = np.argsort(key, kind="stable")
    key, number, last = key[by_key], number[by_key], last[by_key]
    begin = np.flatnonzero(changes(key))
    return key[begin], np.add.reduceat(number, begin), np.maximum.reduceat(last, begin)


class _Tally:
    """Counts records by key; a run of equal keys costs no more than one."""

    def __init__(self) -> None:
        none = np.zeros(0, dtype=np.int64)
        self._found: list[Sums] = [(none, none, none)]

    def add(self, key: Ints, value: Ints) -> None:
        """Count each key, and keep the greatest value given with it."""
        if len(key):
            begin = np.flatnonzero(changes(key))
            number = np.diff(np.append(begin, len(key)))
            self._found.append(_summed(key[begin], number, np.maximum.reduceat(value, begin)))

    def total(self) -> Sums:
        """The distinct keys in ascending order, the count of each, its greatest value."""
        key, number, last = (np.concatenate(column) for column in zip(*self._found, strict=True))
        return _summed(key, number, last) if len(key) else (key, number, last)


class _Numbering:
    """Each CPU's numbering of its records, which begins again after the last of 32 bits.

    Of each CPU the lowest and the highest number are kept, and their sum, of either half of all
    numbers.
    """

    def __init__(self) -> None:
        self._low = np.full((CPUS, 2), np.iinfo(np.int64).max)
        self._high = np.full((CPUS, 2), -1, dtype=np.int64)
        self._there, self._sum = np.zeros((2, CPUS, 2), dtype=np.int64)
        # The same as one row each: NumPy is ten times as fast at one index.
        rows = self._low, self._high, self._there, self._sum
        self._flat = [row.reshape(-1) for row in rows]

    def add(self, batch: Records) -> None:
        """Take in some records."""
        seq = batch["seq"].astype(np.int64)
        place = batch["cpu"].astype(np.int64) << 1 | seq >> 31
        low, high, there, total = self._flat
        np.minimum.at(low, place, seq)
        np.maximum.at(high, place, seq)
        np.add.at(there, place, 1)
        np.add.at(total, place, seq)

    def missing(self) -> dict[int, int]:
        """By CPU, how many sequence numbers between its first and its last are in no record."""
        cpus = np.flatnonzero(self._there.any(axis=1))
        low, high = self._low[cpus], self._high[cpus]
        span = high.max(axis=1) - low.min(axis=1) + 1
        both = (high >= 0).all(axis=1)
        # From the upper half on, over the last number and to the end of the lower half.
        around = high[both, 0] + NUMBERS - low[both, 1] + 1
        span[both] = np.minimum(span[both], around)
        missing = span - self._there[cpus].sum(axis=1)
        return dict(zip(cpus.tolist(), missing.tolist(), strict=True))

    def uneven(self) -> set[int]:
        """The CPUs with as many records as sequence numbers but another sum: a number is missing
        and another occurs twice."""
        found = set()
        for cpu in (cpu for cpu, missing in self.missing().items() if not missing):
            low, high = self._low[cpu].tolist(), self._high[cpu].tolist()
            there = self._there[cpu].tolist()
            around = all(there) and high[1] - low[0] + 1 != sum(there)
            first, last = (low[1], high[0] + NUMBERS) if around else (min(low), max(high))
            total = int(self._sum[cpu].sum()) + (NUMBERS * there[0] if around else 0)
            if (first + last) * sum(there) // 2 != total:
                found.add(cpu)
        return found


class _Threads:
    """What each thread did last, for readers that never return."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._elses, self._entries = _Tally(), _Tally()
        self.died: dict[int, int] = {}

    def add(self, batch: Records, ts: Ints) -> None:
        """Take in some records."""
        probe, tid = batch["probe"], batch["tid"].astype(np.int64)
        op = self._plan.op[probe]
        for row in np.flatnonzero(op == OP["oops"]).tolist():
            self.died.setdefault(int(tid[row]), int(ts[row]))
        reads = op == OP["read"]
        other = ~reads
        for thread, when in self.died.items():
            other &= (tid != thread) | (ts < when)
        self._elses.add(tid[other], ts[other])
        entry = np.flatnonzero(reads & (self._plan.phase[probe] == ENTER))
        self._entries.add(tid[entry] << 32 | self._plan.function[probe[entry]], ts[entry])

    def last_else(self) -> dict[int, int]:
        """By thread, the time of its last record before it died, readers' records excepted."""
        tid, _, last = self._elses.total()
        return dict(zip(tid.tolist(), last.tolist(), strict=True))

    def last_entry(self) -> dict[tuple[int, int], int]:
        """By thread and reader's function, the time of its last entry."""
        keys, _, last = self._entries.total()
        pairs = zip(keys.tolist(), last.tolist(), strict=True)
        return {(key >> 32, key & 0xFFFFFFFF): when for key, when in pairs}


def _check(batch: Records) -> None:
    """Raise AnalysisError for times, pages and threads that no kernel has."""
    if int(max(batch["ts"].max(), batch["pfn"].max())) > limits.EVER:
        raise AnalysisError("a record has a time or a page that no kernel can have")
    # In the place of the page a record about a task has its thread and process.
    late = np.flatnonzero(batch["probe"] > MARK_FIRST)
    tasks = late[~is_beside(batch["probe"][late])]
    about = batch["pfn"][tasks] & np.uint64(0xFFFFFFFF)
    if int(max(batch["tid"].max(), batch["pid"].max(), about.max(initial=0))) > limits.TASK:
        raise AnalysisError("a record has a thread or process id that no kernel can have")


def _check_places(batch: Records) -> None:
    """The same for virtual addresses."""
    address = words(batch, np.flatnonzero(batch["probe"] == PLACE), PLACED)["address"]
    moves = words(batch, np.flatnonzero(batch["probe"] == MOVED), MOVES)
    known = address[address != np.uint64(NO_ADDRESS)]
    for told in (known, moves["begin"], moves["to"], moves["bytes"]):
        if int(told.max(initial=0)) > limits.EVER:
            raise AnalysisError("a record has a virtual address that no kernel can have")


def census(batches: Iterable[Records], plan: Plan) -> Census:
    """Count the records of some batches.

    Raises AnalysisError for times, pages and threads that no kernel has.
    """
    probes = np.zeros(PROBES, dtype=np.int64)
    numbering, threads, tasks, frames = _Numbering(), _Threads(plan), _Tally(), _Tally()
    common: list[Records] = []
    first_ts, last_ts, order = np.iinfo(np.int64).max, 0, 0
    for batch in (batch for batch in batches if len(batch)):
        _check(batch)
        _check_places(batch)
        ts = batch["ts"].astype(np.int64)
        first_ts, last_ts = min(first_ts, int(ts.min())), max(last_ts, int(ts.max()))
        probes += np.bincount(batch["probe"], minlength=PROBES)
        numbering.add(batch)
        threads.add(batch, ts)
        tasks.add(batch["tid"].astype(np.int64) << 32 | batch["pid"], ts)
        apart = is_common(batch, plan)
        common.append(picked(batch, apart))
        paged = np.delete(np.arange(len(batch)), apart)
        frame = (batch["pfn"][paged] >> np.uint64(FRAME_SHIFT)).astype(np.int64)
        frames.add(frame, ts[paged])
        order = max(order, int(batch["order"][paged].max(initial=0)))
    task, task_events, task_last = tasks.total()
    tid, tid_events, tid_last = _summed(task >> 32, task_events, task_last)
    by_time = np.lexsort((task_last, task >> 32))
    tid_pid = task[by_time][np.searchsorted(task[by_time] >> 32, tid, "right") - 1] & 0xFFFFFFFF
    frame, frame_events, _ = frames.total()
    events = int(probes.sum())
    return Census(
        events=events,
        first_ts=first_ts if events else 0,
        last_ts=last_ts,
        probes=probes,
        tids=tid,
        tid_events=tid_events,
        tid_last=tid_last,
        tid_pid=tid_pid,
        cpu_lost=numbering.missing(),
        cpu_uneven=numbering.uneven(),
        frames=frame,
        frame_events=frame_events,
        order=order,
        common=joined(common),
        died=threads.died,
        last_else=threads.last_else(),
        last_entry=threads.last_entry(),
    )
