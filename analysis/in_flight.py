# SPDX-License-Identifier: GPL-2.0-or-later
"""Which records read a folio while another task was changing it."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.effects import RMAP
from analysis.lives import Lives
from analysis.log import Log
from analysis.plan import among

#: The rmap functions run under the page-table lock: what a CPU began it finishes before
#: anything else of its task.  But a virtual CPU may be off its processor for so long.
IN_FLIGHT_NS = 1_000_000_000


def in_flight(log: Log, lives: Lives, rows: Ints) -> Bools:
    """A mask: where another task may have been changing the folio when ``rows`` read it.

    Either an operation that was begun before may not have been finished.  An operation whose
    return is recorded lasts until then: __split_huge_pmd() may sleep before it takes the
    page-table lock, and its CPU may run another task.  Any other operation holds that lock, so
    neither its CPU nor its task records anything else before its end.  Or another CPU began an
    operation before the CPU and the task that read recorded anything else: a probe takes the time
    first and then reads, so its values may be later than its time.
    """
    if len(rows) == 0:  # the usual case, for which no operation need be looked at
        return np.zeros(0, dtype=bool)
    ts, rank, size = log.ts, log.rank, len(log) + 1
    at = np.flatnonzero(among(log.op, RMAP) & (lives.of >= 0))
    at = at[np.argsort(lives.of[at], kind="stable")]
    bracket = log.return_of[at] >= 0
    # Other parts of the trace may have the next record of the CPU.
    over = np.minimum(
        np.searchsorted(rank, log.following[at]), np.searchsorted(ts, ts[at] + IN_FLIGHT_NS)
    )
    over = np.where(bracket, log.return_of[at], over)
    life = lives.of[rows]
    begun, looked = lives.of[at] * size + at, life * size + rows  # the former in order, as `at` is
    busy = _under_way(begun, np.sort(lives.of[at] * size + over), looked)
    # What its own task sees inside a bracket is of its own making.
    opened = at[bracket]
    _, task = np.unique(
        np.concatenate([lives.of[opened], life]) << 32
        | np.concatenate([log.tid[opened], log.tid[rows]]),
        return_inverse=True,
    )
    key = task[: len(opened)] * size
    busy -= _under_way(
        np.sort(key + opened),
        np.sort(key + log.return_of[opened]),
        task[len(opened) :] * size + rows,
    )
    place = np.searchsorted(begun, looked, "right")
    following = at[np.minimum(place, max(0, len(at) - 1))] if len(at) else rows
    same = (place < len(at)) & (lives.of[following] == life)
    same &= (following > rows) & (rank[following] < log.following[rows])
    same &= ts[following] - ts[rows] < IN_FLIGHT_NS
    return np.asarray((life >= 0) & ((busy > 0) | same))


def _under_way(begins: Ints, ends: Ints, looked: Ints) -> Ints:
    """How many spans hold each of ``looked``; neither bound is inside.

    A key is its owner times the size of the log, plus its row; ``begins`` and ``ends`` are sorted.
    """
    begun = np.searchsorted(begins, looked)
    return np.asarray(begun - np.searchsorted(ends, looked, "right"))
