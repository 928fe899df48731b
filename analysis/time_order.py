# SPDX-License-Identifier: GPL-2.0-or-later
"""The time order of a whole trace, for its parts, which have only some of the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.records import Chunk, batches

#: A trace has fewer records than this holds, and twice as many need twice the memory.
Rank = npt.NDArray[np.uint32]


class TimeOrder(NamedTuple):
    """For each record, in the order of the file: ``rank``, its row in the whole log, and
    ``following``, that of the next record of its CPU or task; if none, the number of records.
    """

    rank: Rank
    following: Rank


def following(cpu: npt.NDArray[np.uint16], tid: npt.NDArray[np.uint32]) -> Rank:
    """For each of some rows in time order the next row of its CPU or, if that is earlier, of its
    task on any CPU; if none, the number of rows.

    By then both have finished the operation.  Each CPU has an idle task of its own, all with tid 0.
    """
    by_task = _next(tid)
    by_task[tid == 0] = len(tid)
    return np.minimum(_next(cpu), by_task)


def _next(key: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]) -> Rank:
    """For each row the next one with the same key, or the number of rows."""
    result = np.full(len(key), len(key), dtype=np.uint32)
    by_key = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[by_key[1:]] == key[by_key[:-1]])
    result[by_key[same]] = by_key[same + 1]
    return result


def time_order_of(chunks: Sequence[Chunk], done: Callable[[], None]) -> TimeOrder:
    """The time order; ``done`` is called when blocks that were read are not needed for a while."""
    total = sum(map(len, chunks))
    ts = np.empty(total, np.uint64)
    cpu, tid = np.empty(total, np.uint16), np.empty(total, np.uint32)
    at = 0
    for batch in batches(chunks):
        here = slice(at, at + len(batch))
        ts[here], cpu[here], tid[here] = batch["ts"], batch["cpu"], batch["tid"]
        at += len(batch)
        done()
    by_time = np.argsort(ts, kind="stable")
    del ts
    rank = np.empty(total, np.uint32)
    rank[by_time] = np.arange(total, dtype=np.uint32)
    return TimeOrder(rank, following(cpu[by_time], tid[by_time])[rank])
