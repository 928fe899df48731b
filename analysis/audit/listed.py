# SPDX-License-Identifier: GPL-2.0-or-later
"""Which breaches of a rule become findings, and how many are only counted.

A broken kernel, or a forged file, may breach a rule with each of a million records; a finding
costs a thousand times what a record does.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from analysis.arrays import Ints


class Listed:
    """The room that is left for each kind, which is a rule and a counter; ``beyond``: how many
    breaches found none.  In a smaller part of the trace (``mapcount slice``) these are findings.
    The last one has its place: a kernel may have died in it.
    """

    #: Findings of a kind.
    MOST = 2000

    def __init__(self) -> None:
        self._taken: Counter[tuple[str, str]] = Counter()
        self.beyond = 0

    def first(self, rule: str, counter: str, row: Ints) -> list[int]:
        """Places of the first breaches that there is room for, and of the last, by the rows that
        show them, in their given order."""
        room = self.MOST - self._taken[rule, counter]
        by_row = np.argsort(row, kind="stable")
        if len(by_row) > room > 0:
            by_row = np.append(by_row[: room - 1], by_row[-1:])
        kept = np.sort(by_row[: max(room, 0)]).tolist()
        self._taken[rule, counter] += len(kept)
        self.beyond += len(row) - len(kept)
        return [*kept]
