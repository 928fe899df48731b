# SPDX-License-Identifier: GPL-2.0-or-later
"""Chooses the life that a user most likely wants to see."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Bools
from analysis.errors import AnalysisError
from analysis.life_table import Table, everyone, some_of
from analysis.trace import Trace


def most_interesting(trace: Trace, pfn: int | None = None) -> int:
    """The number of the most interesting life, see ``interesting``."""
    return int(interesting(trace, pfn)["life"][0])


def interesting(
    trace: Trace, pfn: int | None = None, window: tuple[int, int] | None = None
) -> Table:
    """Lives with a race first, then folios before single pages, then the most map-count changes.

    Among races, the one in which the kernel died comes first, then the one whose reader went on
    longest after the folio's end.  With ``pfn`` only lives that had this page count, with a
    ``window`` (first and last ns) only those that existed in it.
    """

    def wanted(table: Table) -> Bools:
        there = everyone(table)
        if pfn is not None:
            there &= table["head_pfn"] == (np.int64(pfn) >> table["order"]) << table["order"]
        if window is not None:
            there &= table["birth_ts"] <= window[1]
            there &= ~table["dead"] | (table["death_ts"] >= window[0])
        return there

    lives = trace.life_table(wanted)
    if not len(lives["life"]):
        if window is not None:
            raise AnalysisError(
                f"{trace.path} has no life in that time: `mapcount lives --all` lists all"
            )
        if pfn is not None:
            raise AnalysisError(
                f"no recorded folio of {trace.path} contained page {pfn:#x}: "
                "`mapcount lives --all` lists all"
            )
        raise AnalysisError(f"{trace.path} has no folio: record a program that maps memory")
    keys = (lives["events"], lives["changes"], lives["order"] > 0, lives["stayed"], lives["deadly"])
    # The last key counts first; of equals the first life.
    ranked = np.lexsort([-key.astype(np.int64) for key in keys])
    return some_of(lives, ranked[:1])
