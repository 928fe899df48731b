# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of time over a whole trace, for its parts, which see only some of the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.records import Chunk, batches

#: A trace has fewer records than this holds, and twice as many need twice the memory.
Rank = npt.NDArray[np.uint32]


class TimeOrder(NamedTuple):
    """By place in the file, of each record: ``rank``, its row in the whole log, and
    ``following``, that of the next record of its CPU or task (the number of all records: none).
    """

    rank: Rank
    following: Rank


def following(cpu: npt.NDArray[np.uint16], tid: npt.NDArray[np.uint32]) -> Rank:
    """For each of some rows in the order of time the next row of its CPU or, if that is sooner, of
    its task, wherever that runs then; their number: there is none.

    Both have finished by then what they were at.  Each CPU has an idle task of its own, all of
    which have the number 0.
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
    """Find it; ``done`` is called when blocks that were read are not needed for a while."""
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
