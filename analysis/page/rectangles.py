# SPDX-License-Identifier: GPL-2.0-or-later
"""The PTE mappings of a folio's pages over time as rectangles of one value each."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Bools, Ints, changes
from analysis.counts import Counts

#: Cells of the matrix of pages and moments that rectangles are made of, at most.
CELLS = 1 << 22
#: The value of pages whose count is not known yet.
UNKNOWN = -1


def rectangles(counts: Counts, end: int) -> dict[str, Ints]:
    """``from`` and ``to`` (ns), ``low`` and ``high`` (pages, the last excluded), ``value``.

    Pages without a mapping have no rectangle.  If the counts change too often for a matrix of all
    times, only some times are used.
    """
    moved = np.concatenate([np.flatnonzero(changes(counts.every)), counts.point_at])
    moments = np.unique(np.concatenate([moved, counts.since[counts.since < len(counts.ts)]]))
    moments = moments[:: max(1, len(moments) * counts.pages // CELLS)]
    value, known = counts.matrix(moments)
    value[~known] = UNKNOWN
    page, begin, until, level = _runs(value)
    there = level != 0
    low, high, kept = _merged(page[there], begin[there], until[there], level[there])
    times = np.append(counts.ts[moments], max(end, int(counts.ts[-1])))
    return {
        "from": times[begin[there][kept]],
        "to": times[until[there][kept]],
        "low": low,
        "high": high,
        "value": level[there][kept],
    }


def _runs(value: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Row, first and end column, and value of each run of equal values in the rows."""
    rows, columns = value.shape
    first = np.ones(value.shape, dtype=bool)
    first[:, 1:] = value[:, 1:] != value[:, :-1]
    at = np.flatnonzero(first)
    row, begin = at // columns, at % columns
    until = np.append(begin[1:], 0)[: len(begin)]
    until[until == 0] = columns
    return row, begin, until, value.ravel()[at]


def _merged(page: Ints, begin: Ints, until: Ints, level: Ints) -> tuple[Ints, Ints, Ints]:
    """Runs of neighbouring rows that are alike as one: first row, end row, and one of them."""
    by_look = np.lexsort((page, level, until, begin))
    page = page[by_look]
    alike = (begin[by_look], until[by_look], level[by_look])
    start: Bools = changes(*alike)
    start[1:] |= page[1:] != page[:-1] + 1
    first = np.flatnonzero(start)
    ends = np.append(first[1:], len(page))[: len(first)] - 1
    return page[first], page[ends] + 1, by_look[first]
