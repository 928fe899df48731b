# SPDX-License-Identifier: GPL-2.0-or-later
"""The death of the recorded kernel: its time, and the kernel's messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.log import Log
from analysis.plan import OP


@dataclass(frozen=True)
class Oops:
    """``ts``: ns of CLOCK_MONOTONIC, None if not known; ``within_ns``: its precision, 0 if a
    probe took it; ``lines``: the console's messages, from the first complaint on.
    """

    ts: int | None
    within_ns: int
    title: str
    lines: tuple[str, ...]


def oops_of(log: Log, block: dict[str, Any] | None) -> Oops | None:
    """The first oops or panic in a probe's record or on the console (an OOPS block)."""
    rows = np.flatnonzero(log.op == OP["oops"])
    lines = tuple(block["lines"]) if block else ()
    if len(rows):
        row = int(rows[0])
        function = log.plan.functions[int(log.function[row])]
        said = _title(lines) if lines else f"{function} by tid {log.tid[row]}"
        return Oops(int(log.ts[row]), 0, said, lines)
    if block is None:
        return None
    return Oops(block.get("monotonic_ns"), block.get("within_ns", 0), _title(lines), lines)


def _title(lines: tuple[str, ...]) -> str:
    """The first line without its time."""
    return lines[0].rpartition("] ")[2].strip() if lines else "an oops without a message"
