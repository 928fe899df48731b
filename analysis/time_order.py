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
    ``following``, that of the next record of its CPU (the number of all records: none).
    """

    rank: Rank
    following: Rank


def following(cpu: npt.NDArray[np.uint16]) -> Rank:
    """For each of some rows in the order of time the next row of its CPU, or their number."""
    result = np.full(len(cpu), len(cpu), dtype=np.uint32)
    by_cpu = np.argsort(cpu, kind="stable")
    same = np.flatnonzero(cpu[by_cpu[1:]] == cpu[by_cpu[:-1]])
    result[by_cpu[same]] = by_cpu[same + 1]
    return result


def time_order_of(chunks: Sequence[Chunk], done: Callable[[], None]) -> TimeOrder:
    """Find it; ``done`` is called when blocks that were read are not needed for a while."""
    total = sum(map(len, chunks))
    ts, cpu = np.empty(total, np.uint64), np.empty(total, np.uint16)
    at = 0
    for batch in batches(chunks):
        here = slice(at, at + len(batch))
        ts[here], cpu[here] = batch["ts"], batch["cpu"]
        at += len(batch)
        done()
    by_time = np.argsort(ts, kind="stable")
    del ts
    rank = np.empty(total, np.uint32)
    rank[by_time] = np.arange(total, dtype=np.uint32)
    return TimeOrder(rank, following(cpu[by_time])[rank])
