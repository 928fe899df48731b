# SPDX-License-Identifier: GPL-2.0-or-later
"""The threads, processes and functions of records, for a frame that names them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.part import Part


class Parties:
    """Names of the threads of some records; a row of -1 is none, or at ``shown`` a process."""

    def __init__(self, trace: Part, rows: Ints, shown: Ints, pid: Ints) -> None:
        log = trace.log
        self.there = rows >= 0
        at = np.where(self.there, rows, shown)
        known = len(log) > 0
        self.tid = np.where(self.there, log.tid[at], pid) if known else pid
        self.pid = np.where(self.there, log.pid[at], pid) if known else pid
        self.stack = log.aux[at] if known else at
        self.has_stack = (log.has_stack[at] if known else self.there) & self.there
        self.function = [
            trace.plan.functions[code] if there and code >= 0 else ""
            for code, there in zip(log.function[at].tolist(), self.there.tolist(), strict=True)
        ]
        by_time = np.argsort(at, kind="stable")
        ts = pd.Series(log.ts[at[by_time]], index=by_time)
        comm = trace.recording.names.comm(ts, pd.Series(self.tid[by_time], index=by_time))
        names = comm.sort_index().astype(str).tolist()
        self.comm = [
            name if tid >= 0 else "" for name, tid in zip(names, self.tid.tolist(), strict=True)
        ]

    def names(self) -> list[str]:
        """comm/tid of each."""
        return [
            f"{comm}/{tid}" if there else "nobody"
            for comm, tid, there in zip(self.comm, self.tid.tolist(), self.there, strict=True)
        ]
