# SPDX-License-Identifier: GPL-2.0-or-later
"""Which record can be the cause: an operation that changes map counts, or that contains such."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Ints
from analysis.effects import RMAP
from analysis.log import Log
from analysis.plan import among

#: A queueing, a migration's copy of flags or an allocation changes no map count.
ACTS = (*RMAP, "split_folio")
#: Those that write page-table entries which map pages.
WRITES = ("map", "dup", "split_pmd", "unmap_all")
#: How the words of a finding name the actor, and what they say where there is none.
AFTER, UNTOUCHED = "after {function} by {actor}", "no operation on it was recorded"


def last_act(log: Log, rows: Ints, ops: tuple[str, ...] = ACTS) -> int:
    """The last of some records that can have changed a count, or is of other ``ops``; -1: none."""
    acts = np.flatnonzero(among(log.op[rows], ops))
    return int(rows[acts[-1]]) if len(acts) else -1
