# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a finding merely possible: losses, and probes that are missing."""

from __future__ import annotations

import numpy as np

from analysis.recording import Recording

#: Operations without whose probes the books cannot balance.
BOOKED = ("map", "unmap", "dup", "split_pmd", "split_folio")


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
        return f"{lost} events were lost in that time; certain if it is seen without a loss"

    def books(self, begin: int, end: int) -> str:
        """The doubt about a counter that operations should explain, over its life."""
        missing = f"{self._missing}; certain if every probe is attached" if self._missing else ""
        return self.lost(begin, end) or missing

    def snapshot(self, born: int, end: int, busy: bool) -> str:
        """The doubt about what a snapshot, until ``end``, shows of a life since its birth;
        ``busy``: the folio changed meanwhile."""
        if busy:
            return "the folio changed while the snapshot was taken; certain if it is seen at rest"
        return self.books(born, end)
