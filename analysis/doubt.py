# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a finding only possible: losses, and probes that are missing."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from analysis.arrays import Ints
from analysis.in_flight import IN_FLIGHT_NS
from analysis.recording import Recording

#: Operations without whose probes the replay may be wrong.
BOOKED = ("map", "unmap", "dup", "split_pmd", "split_folio")


class _Running:
    """What was lost until a time, inclusive; ``lost`` at each of some times (ns)."""

    def __init__(self, times: Ints, lost: Ints) -> None:
        by_time = np.argsort(times)
        self._times = times[by_time].tolist()
        self._sums = [0, *np.cumsum(lost[by_time]).tolist()]

    def until(self, when: int) -> int:
        return int(self._sums[bisect_right(self._times, when)])


class Doubt:
    """Why an observation in a trace may have another explanation."""

    def __init__(self, recording: Recording) -> None:
        spans = recording.lost[recording.lost[:, 2] > 0]
        self._spans = spans
        self._begins = _Running(spans[:, 0], spans[:, 2])
        self._ends = _Running(spans[:, 1], spans[:, 2])
        self._missing = "; ".join(
            f"no probe on {' or '.join(entry['functions'])}"
            for entry in recording.plan.missing
            if entry["op"] in BOOKED and not entry.get("optional")
        )

    @property
    def missing(self) -> str:
        """The probes without which the replay may be wrong, in words; "" if all are there."""
        return self._missing

    def first_loss(self, begin: int, end: int) -> int | None:
        """When (ns) the first loss began that overlaps a span of time; None: nothing was lost."""
        touched = (self._spans[:, 1] >= begin) & (self._spans[:, 0] <= end)
        return int(self._spans[touched, 0].min()) if touched.any() else None

    def reason_lost(self, begin: int, end: int) -> str:
        """The doubt because of events lost in a span of time (ns).

        A probe takes the time and reads the counters before its record is rejected and counted;
        a virtual CPU may be descheduled in between.  So a loss may be older than its time says.
        """
        lost = self._lost(begin, end) or self._lost(begin, end + IN_FLIGHT_NS)
        if not lost:
            return ""
        return f"{lost} events were lost in that time; certain if it is seen without a loss"

    def _lost(self, begin: int, end: int) -> int:
        # A file may have as many losses as findings: those that began, but for those that ended.
        begin, end = min(begin, end), max(begin, end)
        return self._begins.until(end) - self._ends.until(begin - 1)

    def reason_counter(self, since: int, end: int) -> str:
        """The doubt about a counter that operations should explain, see ``Part.since``."""
        missing = f"{self._missing}; certain if every probe is attached" if self._missing else ""
        return self.reason_lost(since, end) or missing

    def at_rest(self, begin: int, end: int) -> str:
        """The doubt about a snapshot's values of folios at rest, whatever was before: a lost
        change, begun shortly before or during the snapshot, would not make them busy."""
        return self.reason_lost(begin - IN_FLIGHT_NS, end)

    def reason_snapshot(self, since: int, end: int, busy: bool) -> str:
        """The doubt about a snapshot's values of a life, see ``Part.since``; ``end``: of the
        snapshot (ns); ``busy``: the folio changed during it."""
        if busy:
            return "the folio changed while the snapshot was taken; certain if it is seen at rest"
        return self.reason_counter(since, end)
