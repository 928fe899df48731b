# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a finding merely possible: losses, probes that are missing, other CPUs."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.effects import RMAP
from analysis.lives import Lives
from analysis.log import Log
from analysis.losses import sequence_gaps
from analysis.trace import Trace

#: The rmap functions run under the page-table lock: what a CPU began it finishes before
#: anything else of its task.  A virtual CPU may be off its processor for this long.
IN_FLIGHT_NS = 10_000_000
#: Operations without whose probes the books cannot balance.
BOOKED = ("map", "unmap", "dup", "split_pmd", "split_folio")


def in_flight(log: Log, lives: Lives, rows: Ints) -> Bools:
    """Where another CPU was inside an operation on the same folio when ``rows`` looked."""
    cpu = log.raw["cpu"]
    busy = np.zeros(len(rows), dtype=bool)
    acts = np.isin(log.op, RMAP)
    for one in np.unique(cpu):
        mine = np.flatnonzero(cpu == one)
        last = mine[np.maximum(np.searchsorted(mine, rows) - 1, 0)]
        inside = (last < rows) & (cpu[rows] != one) & acts[last]
        inside &= lives.of[last] == lives.of[rows]
        busy |= inside & (log.ts[rows] - log.ts[last] < IN_FLIGHT_NS)
    return busy


class Doubt:
    """Why something that was seen in a trace may have another explanation."""

    def __init__(self, trace: Trace) -> None:
        losses = trace.df_losses()
        spans = losses[["from_ts", "to_ts", "lost"]]
        if spans.empty:
            spans = sequence_gaps(trace.log)[["from_ts", "to_ts", "lost"]]
        self._spans = spans.to_numpy().astype(np.int64)
        self._missing = "; ".join(
            f"no probe on {' or '.join(entry['functions'])}"
            for entry in trace.plan.missing
            if entry["op"] in BOOKED and not entry.get("optional")
        )

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
