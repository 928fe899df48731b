# SPDX-License-Identifier: GPL-2.0-or-later
"""The records that show a finding, read from a trace of any size by their labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from analysis.arrays import Ints
from analysis.counters import COUNTERS
from analysis.each_part import each_part
from analysis.part import Part
from analysis.plan import ENTER, RETURN
from analysis.trace import Trace

HEADER = ("event", "ms", "cpu", "task", "function", "pfn", "pages", "counters, as observed")
Row = tuple[object, ...]


def evidence(trace: Trace, wanted: Iterable[int]) -> dict[int, Row]:
    """A row of a table for each of some events."""
    labels = np.unique(np.fromiter(wanted, np.int64))
    found: dict[int, Row] = {}
    for part, _ in each_part(trace) if len(labels) else ():
        rows = np.flatnonzero(np.isin(part.log.rank, labels))
        found |= zip(part.log.rank[rows].tolist(), _rows(trace, part, rows), strict=True)
    return found


def _rows(trace: Trace, part: Part, rows: Ints) -> list[Row]:
    log = part.log
    codes, names = trace.names.at(log.ts[rows], log.tid[rows])
    phases = {ENTER: ", begin", RETURN: ", end"}
    return [
        (
            int(log.rank[row]),
            f"{(int(log.ts[row]) - trace.census.first_ts) / 1e6:.6f}",
            int(log.raw["cpu"][row]),
            f"{names[code]}/{log.tid[row]}",
            log.plan.functions[log.function[row]] + phases.get(int(log.phase[row]), ""),
            hex(log.pfn[row]),
            int(log.nr[row]),
            _observed(part, row),
        )
        for row, code in zip(rows.tolist(), codes.tolist(), strict=True)
    ]


def _observed(part: Part, row: int) -> str:
    told = []
    for name in COUNTERS:
        value, valid = part.log.counter(name)
        if name in part.counters and valid[row]:
            told.append(f"{name} {value[row]}")
    if part.log.read[row]:
        told.append(f"refcount {part.log.raw['refcount'][row]}")
    return ", ".join(told) or "not read"
