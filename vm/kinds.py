# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of findings: findings with one cause are one kind, however many there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm import audits
from vm.matrix import CHECKED, LOST, NOT_BEGUN, Cell

#: The rule of a kind that no finding is of: the guest died, or only `verify` differs.
DIED, DIFFERS = "kernel died", "verify"


@dataclass(frozen=True)
class Kind:
    """The common properties of findings with one cause; ``row``: in docs/trophies.md, if known."""

    kernel: str
    rule: str
    counter: str = ""
    function: str = ""
    row: str | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        words = (self.kernel, self.rule, self.counter, self.function)
        return re.sub(r"[^\w.]+", "-", "-".join(filter(None, words))).strip("-")


@dataclass(frozen=True)
class Sighting:
    """One kind in one trace: its first finding, as in `audit --json`, and the number of them."""

    kind: Kind
    finding: dict[str, Any]
    times: int = 1


def sightings(cell: Cell, traces: Path) -> Iterator[Sighting]:
    """The kinds of the certain findings of a recording, whose trace is in the folder TRACES."""
    if cell.outcome == LOST and cell.reason != NOT_BEGUN:
        # Addresses and numbers of processes are others at each death.
        words = re.sub(r"0x[0-9a-f]+|\d+", "N", cell.reason)
        yield Sighting(Kind(cell.kernel, DIED, words), {"sentence": cell.reason})
    if cell.outcome != CHECKED or not (cell.certain or cell.differences or cell.real):
        return
    found: dict[Kind, list[dict[str, Any]]] = {}
    for finding in audits.findings(traces / str(cell.trace)):
        row = audits.row_of(finding)
        if finding["certainty"] == "certain" and (row or finding["severity"] != audits.RACE):
            # Which reader is asked by whom is no matter: the value is wrong.
            function = "" if row else str(finding["function"])
            kind = Kind(cell.kernel, str(finding["rule"]), str(finding["counter"]), function, row)
            found.setdefault(kind, []).append(finding)
    if cell.differences and not cell.certain:
        yield Sighting(Kind(cell.kernel, DIFFERS), {"sentence": cell.reason}, cell.differences)
    for kind, findings in found.items():
        yield Sighting(kind, findings[0], len(findings))
