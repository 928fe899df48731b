# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts the records of a trace in one pass, whatever its size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Ints, Records, changes
from analysis.errors import AnalysisError
from analysis.plan import ENTER, OP, Plan
from analysis.records import joined, picked
from probes.events import MARK_FIRST

#: Pages of the smallest piece of memory that records are counted for: 2 MiB.
FRAME_SHIFT = 9
PROBES = 1 << 16


@dataclass(frozen=True)
class Census:
    """What the records of a trace add up to.

    ``first_ts``, ``last_ts``: ns.  ``probes``: records by probe id.  By thread, ascending:
    ``tids``, ``tid_events``, ``tid_last`` (ns of its last record).  ``cpu_lost``: by CPU,
    how many numbers are missing in its numbering.  ``frames`` (pfn >> FRAME_SHIFT,
    ascending) have ``frame_events`` records; ``order`` is the highest that occurs.
    ``common``: the records that belong to no page: marks, tasks, the kernel's death.
    For readers that never return: ``died`` (ns of a thread's oops), ``last_else`` (ns of the
    last record of a thread before it died that is no reader's), ``last_entry`` (ns of the
    last entry of a thread into a reader's function).
    """

    events: int
    first_ts: int
    last_ts: int
    probes: Ints
    tids: Ints
    tid_events: Ints
    tid_last: Ints
    cpu_lost: dict[int, int]
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
    return np.flatnonzero((probe >= MARK_FIRST) | (plan.op[probe] == OP["oops"]))


class _Tally:
    """Adds numbers up by key; a run of equal keys costs one addition."""

    def __init__(self) -> None:
        self._keys: list[Ints] = []
        self._counts: list[Ints] = []
        self._last: list[Ints] = []

    def add(self, key: Ints, value: Ints) -> None:
        """Count each key, and keep the greatest value that came with it."""
        if len(key):
            begin = np.flatnonzero(changes(key))
            runs = (
                key[begin],
                np.diff(np.append(begin, len(key))),
                np.maximum.reduceat(value, begin),
            )
            for column, found in zip(self._columns(), self._summed(*runs), strict=True):
                column.append(found)

    def _columns(self) -> tuple[list[Ints], list[Ints], list[Ints]]:
        return self._keys, self._counts, self._last

    @staticmethod
    def _summed(key: Ints, number: Ints, last: Ints) -> tuple[Ints, Ints, Ints]:
        by_key = np.argsort(key, kind="stable")
        key, number, last = key[by_key], number[by_key], last[by_key]
        begin = np.flatnonzero(changes(key))
        return key[begin], np.add.reduceat(number, begin), np.maximum.reduceat(last, begin)

    def total(self) -> tuple[Ints, Ints, Ints]:
        """The distinct keys in ascending order, their counts and greatest values."""
        if not self._keys:
            none = np.zeros(0, dtype=np.int64)
            return none, none, none
        keys, counts, last = (np.concatenate(column) for column in self._columns())
        return self._summed(keys, counts, last)


def census(batches: Iterable[Records], plan: Plan) -> Census:
    """Count the records of some batches.

    Raises AnalysisError for times and pages that no kernel has.
    """
    probes = np.zeros(PROBES, dtype=np.int64)
    low = np.full(1 << 16, np.iinfo(np.int64).max)
    high, counted = np.full(1 << 16, -1, dtype=np.int64), np.zeros(1 << 16, dtype=np.int64)
    tids, frames, elses, entries = _Tally(), _Tally(), _Tally(), _Tally()
    common: list[Records] = []
    first_ts, last_ts, order = np.iinfo(np.int64).max, 0, 0
    died: dict[int, int] = {}
    for batch in (batch for batch in batches if len(batch)):
        probe, cpu = batch["probe"], batch["cpu"]
        tid, seq = batch["tid"].astype(np.int64), batch["seq"].astype(np.int64)
        if int(max(batch["ts"].max(), batch["pfn"].max())) >> 63:
            raise AnalysisError("a record's time or page lies beyond what any kernel has")
        ts = batch["ts"].astype(np.int64)
        apart = is_common(batch, plan)
        common.append(picked(batch, apart))
        for row in apart[plan.op[probe[apart]] == OP["oops"]].tolist():
            died.setdefault(int(tid[row]), int(ts[row]))
        probes += np.bincount(probe, minlength=PROBES)
        np.minimum.at(low, cpu, seq)
        np.maximum.at(high, cpu, seq)
        counted += np.bincount(cpu, minlength=len(counted))
        tids.add(tid, ts)
        frame = (batch["pfn"] >> np.uint64(FRAME_SHIFT)).astype(np.int64)
        paged = np.delete(np.arange(len(batch)), apart)
        frames.add(frame[paged], ts[paged])
        order = max(order, int(batch["order"][paged].max(initial=0)))
        first_ts, last_ts = min(first_ts, int(ts.min())), max(last_ts, int(ts.max()))
        reads = plan.op[probe] == OP["read"]
        other = ~reads
        for thread, when in died.items():
            other &= (tid != thread) | (ts < when)
        elses.add(tid[other], ts[other])
        entry = np.flatnonzero(reads & (plan.phase[probe] == ENTER))
        entries.add(tid[entry] << 32 | plan.function[probe[entry]], ts[entry])
    cpus = np.flatnonzero(counted).tolist()
    tid, tid_events, tid_last = tids.total()
    else_tid, _, else_last = elses.total()
    entry_key, _, entry_last = entries.total()
    frame, frame_events, _ = frames.total()
    return Census(
        events=int(probes.sum()),
        first_ts=first_ts if cpus else 0,
        last_ts=last_ts,
        probes=probes,
        tids=tid,
        tid_events=tid_events,
        tid_last=tid_last,
        cpu_lost={cpu: int(high[cpu] - low[cpu] + 1 - counted[cpu]) for cpu in cpus},
        frames=frame,
        frame_events=frame_events,
        order=order,
        common=joined(common),
        died=died,
        last_else=dict(zip(else_tid.tolist(), else_last.tolist(), strict=True)),
        last_entry={
            (key >> 32, key & 0xFFFFFFFF): last
            for key, last in zip(entry_key.tolist(), entry_last.tolist(), strict=True)
        },
    )
