# SPDX-License-Identifier: GPL-2.0-or-later
"""What each record does to its folio's counters, by the rules of the kernel's era.

Three kinds of change are enough: to the whole-folio count (PMD mappings), to the PTE
mappings of every page at once, and to those of some pages.  Because the second is separate,
the cost of a replay grows with the operations, not with operations times pages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.lives import Lives
from analysis.log import Log
from analysis.plan import OP, among

RMAP = ("map", "unmap", "dup", "split_pmd")


@dataclass(frozen=True)
class Effects:
    """Declared changes of the records ``rows``, which are sorted by life, then time.

    ``entire``: change of the whole-folio count.  ``every``: change of the PTE mappings of
    every page.  ``some_*``: a change of ``nr`` pages from page ``start`` on, made by
    element ``at`` of rows.  ``splits``: a PMD mapping was split; it may set DoubleMap.
    """

    rows: Ints
    entire: Ints
    every: Ints
    some_at: Ints
    some_start: Ints
    some_nr: Ints
    some_delta: Ints
    splits: Bools


def effects(log: Log, lives: Lives, rows: Ints, double_map_era: bool) -> Effects:
    """The declared changes of ``rows``."""
    life = lives.of[rows]
    order = lives.order[life]
    op = log.op[rows]
    delta = np.where(among(op, RMAP), log.delta[rows], 0)
    is_split = op == OP["split_pmd"]
    # Only the old kernels' anon split writes counters itself; elsewhere its parts are
    # rmap calls with records of their own: of file folios always, of anonymous ones since
    # commit cb67f4282bf9 ("mm,thp,rmap: simplify compound page mapcount handling") (in v6.2).
    own_split = is_split & lives.anon[life] & double_map_era
    delta = np.where(is_split & ~own_split, 0, delta)

    huge = (log.level[rows] > 0) | is_split | lives.hugetlb[life]
    entire = np.where(huge & (order > 0), delta, 0)
    pages = np.int64(1) << order
    by_pte = ~huge & (delta != 0)
    whole = by_pte & (log.nr[rows] >= pages)
    start = log.pfn[rows] - lives.head[life]
    nr = np.minimum(log.nr[rows], pages - start)
    every = np.where(whole, delta, 0) - np.where(own_split, delta, 0)
    some = np.flatnonzero(by_pte & ~whole)
    return Effects(
        rows=rows,
        entire=entire,
        every=every,
        some_at=some,
        some_start=start[some],
        some_nr=nr[some],
        some_delta=delta[some],
        splits=own_split & (delta < 0),
    )
