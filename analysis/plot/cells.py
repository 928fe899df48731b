# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums up the pages of a folio by rows of neighbours, so that no page is left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints, changes
from analysis.counts import Counts

#: More rows than this would be too thin to see one of them.
ROWS = 128
#: Values that are made at one time, whatever the folio's order.
CHUNK = 1 << 21
#: The smallest of no values.
NONE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Cells:
    """PTE mappings of ``group`` neighbouring pages (rows) at some positions (columns).

    ``smallest`` and ``largest`` of the counts that are known, their ``total``, and how many
    are ``known``.
    """

    group: int
    smallest: Ints
    largest: Ints
    total: Ints
    known: Ints

    @property
    def differ(self) -> Bools:
        """A mask: where the pages of a row do not all have the same count."""
        unlike: Bools = (self.known > 0) & (self.smallest < self.largest)
        return unlike


def cells(counts: Counts, at: Ints) -> Cells:
    """Sum up the counts at positions ``at``; the memory needed does not depend on the order."""
    group = max(1, counts.pages // ROWS)
    columns, back = np.unique(at, return_inverse=True)
    pages = max(1, CHUNK // len(columns) // group) * group
    parts = [
        _some_rows(counts, columns, first, min(first + pages, counts.pages), group)
        for first in range(0, counts.pages, pages)
    ]
    smallest, largest, total, known = (
        np.concatenate(part)[:, back] for part in zip(*parts, strict=True)
    )
    return Cells(group, smallest, largest, total, known)


def _some_rows(
    counts: Counts, columns: Ints, first: int, end: int, group: int
) -> tuple[Ints, Ints, Ints, Ints]:
    """smallest, largest, total and known of the pages from ``first`` to ``end``."""
    low, high = np.searchsorted(counts.point_page, [first, end])
    page, level = counts.point_page[low:high], counts.point_sum[low:high]
    same = ~changes(page) if len(page) else np.zeros(0, dtype=bool)
    step = level - np.where(same, np.roll(level, 1), 0)
    # A change shows from the first column that is not before it.
    column = np.searchsorted(columns, counts.point_at[low:high])
    seen = column < len(columns)
    shape = (end - first, len(columns))
    flat = (page[seen] - first) * shape[1] + column[seen]
    moved = np.bincount(flat, weights=step[seen], minlength=shape[0] * shape[1])
    value = moved.astype(np.int64).reshape(shape).cumsum(axis=1)
    value += counts.init[first:end, None] + counts.every[columns]
    there = columns >= counts.since[first:end, None]

    def by_row(values: Ints) -> Ints:
        return values.reshape(-1, group, shape[1])

    return (
        by_row(np.where(there, value, NONE)).min(axis=1),
        by_row(np.where(there, value, -NONE)).max(axis=1),
        by_row(np.where(there, value, 0)).sum(axis=1),
        by_row(there.astype(np.int64)).sum(axis=1),
    )
