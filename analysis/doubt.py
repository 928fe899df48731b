# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a finding merely possible: losses, probes that are missing, other CPUs."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.at_snapshot import IN_FLIGHT_NS
from analysis.effects import RMAP
from analysis.lives import Lives
from analysis.log import Log
from analysis.plan import among
from analysis.recording import Recording

#: Operations without whose probes the books cannot balance.
BOOKED = ("map", "unmap", "dup", "split_pmd", "split_folio")


def in_flight(log: Log, lives: Lives, rows: Ints) -> Bools:
    """Where another task was at work on the same folio when ``rows`` looked.

    Either the operation that it began may not have been finished.  One whose return is recorded
    lasts until then: __split_huge_pmd() may sleep before it takes the page-table lock, and its
    CPU run another task.  Any other one holds that lock, so that its CPU records nothing else
    before it is over.  Or another CPU began one before the CPU that looked recorded anything
    else: a probe takes the time first and looks then, so that what it saw may be later than its
    time.
    """
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
    busy = _under_way(lives.of[at], at, over, life, rows, size)
    # What its own task sees inside a bracket is of its own making.
    opened = at[bracket]
    _, task = np.unique(
        np.concatenate([lives.of[opened], life]) << 32
        | np.concatenate([log.tid[opened], log.tid[rows]]),
        return_inverse=True,
    )
    busy -= _under_way(
        task[: len(opened)], opened, log.return_of[opened], task[len(opened) :], rows, size
    )
    place = np.searchsorted(lives.of[at] * size + at, life * size + rows, "right")
    following = at[np.minimum(place, max(0, len(at) - 1))] if len(at) else rows
    same = (place < len(at)) & (lives.of[following] == life)
    same &= (following > rows) & (rank[following] < log.following[rows])
    same &= ts[following] - ts[rows] < IN_FLIGHT_NS
    return np.asarray((life >= 0) & ((busy > 0) | same))


def _under_way(owner: Ints, begin: Ints, end: Ints, wanted: Ints, rows: Ints, size: int) -> Ints:
    """How many of an owner's spans ``begin`` to ``end`` (rows below ``size``) hold each of
    ``rows`` of the ``wanted`` owners; neither bound is inside."""
    key = wanted * size + rows
    begun = np.searchsorted(np.sort(owner * size + begin), key)
    return np.asarray(begun - np.searchsorted(np.sort(owner * size + end), key, "right"))


class Doubt:
    """Why something that was seen in a trace may have another explanation."""

    def __init__(self, recording: Recording) -> None:
        spans = [(one.from_ts, one.to_ts, one.lost) for one in recording.losses or recording.gaps]
        self._spans = np.array(spans, dtype=np.int64).reshape(-1, 3)
        self._missing = "; ".join(
            f"no probe on {' or '.join(entry['functions'])}"
            for entry in recording.plan.missing
            if entry["op"] in BOOKED and not entry.get("optional")
        )

    @property
    def missing(self) -> str:
        """The probes without which the books cannot balance, in words; "" if all are there."""
        return self._missing

    def first_loss(self, begin: int, end: int) -> int | None:
        """When (ns) the first loss began that touches a span of time; None: nothing was lost."""
        spans = self._spans
        touched = (spans[:, 1] >= begin) & (spans[:, 0] <= end) & (spans[:, 2] > 0)
        return int(spans[touched, 0].min()) if touched.any() else None

    def lost(self, begin: int, end: int) -> str:
        """The doubt that events lost in a span of time (ns) cast."""
        if len(self._spans) == 0:
            return ""
        touched = (self._spans[:, 1] >= begin) & (self._spans[:, 0] <= end)
        lost = int(self._spans[touched, 2].sum())
        if not lost:
            return ""
        return f"{lost} events were lost meanwhile; certain if it shows without a loss"

    def books(self, begin: int, end: int) -> str:
        """The doubt about a counter that operations should explain, over its life."""
        missing = f"{self._missing}; certain with every probe" if self._missing else ""
        return self.lost(begin, end) or missing

    def snapshot(self, born: int, end: int, busy: bool) -> str:
        """The doubt about what a snapshot, until ``end``, shows of a life since its birth;
        ``busy``: the folio changed meanwhile."""
        if busy:
            return "the folio changed while the snapshot was taken; certain if it shows at rest"
        return self.books(born, end)
