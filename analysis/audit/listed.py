# SPDX-License-Identifier: GPL-2.0-or-later
"""Which breaches of a rule become findings, and how many are only counted.

A broken kernel, or a forged file, may breach a rule with each of a million records; a finding
costs a thousand times what a record does.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from analysis.arrays import Bools, Ints


class Listed:
    """How many findings of each kind (a rule and a counter) can still be listed; ``beyond``: how
    many breaches are only counted.  In a smaller part of the trace (``mapcount slice``) they are
    findings.  Breaches in which the kernel died are listed before all others.
    """

    #: Findings of a kind.
    MOST = 2000

    def __init__(self) -> None:
        self._taken: Counter[tuple[str, str]] = Counter()
        self.beyond = 0

    def first(self, rule: str, counter: str, row: Ints, died: Bools | None = None) -> list[int]:
        """Indices of the first breaches that can be listed, by the rows that show them, in their
        given order; ``died``: in which of them the kernel died."""
        room = self.MOST - self._taken[rule, counter]
        by_row = np.lexsort((row, np.zeros(len(row)) if died is None else ~died))
        kept = np.sort(by_row[:room]).tolist()
        self._taken[rule, counter] += len(kept)
        self.beyond += len(row) - len(kept)
        return [*kept]
