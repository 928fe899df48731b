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
    """Where another CPU was at work on the same folio when ``rows`` looked.

    Either its last record is an operation that may not have been finished; or it began one
    before the CPU that looked recorded anything else: a probe takes the time first and
    looks then, so that what it saw may be later than its time.
    """
    ts, rank = log.ts, log.rank
    acts = among(log.op, RMAP) & (lives.of >= 0)
    at = np.flatnonzero(acts)
    at = at[np.argsort(lives.of[at], kind="stable")]
    size = len(log) + 1
    # An operation may last until the next record of its CPU, which other parts may have: so many
    # have begun before a row, and so many of these are over.  Those of its own CPU all are.
    over = np.minimum(
        np.searchsorted(rank, log.following[at]), np.searchsorted(ts, ts[at] + IN_FLIGHT_NS)
    )
    key, wanted = lives.of[at] * size + at, lives.of[rows] * size + rows
    begun = np.searchsorted(key, wanted)
    done = np.searchsorted(np.sort(lives.of[at] * size + over), wanted, "right")
    busy = (begun > done) & (lives.of[rows] >= 0)
    place = np.searchsorted(key, wanted, "right")
    following = at[np.minimum(place, max(0, len(at) - 1))] if len(at) else rows
    same = (place < len(at)) & (lives.of[following] == lives.of[rows])
    same &= (following > rows) & (rank[following] < log.following[rows])
    return np.asarray(busy | (same & (ts[following] - ts[rows] < IN_FLIGHT_NS)))


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
