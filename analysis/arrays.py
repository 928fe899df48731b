# SPDX-License-Identifier: GPL-2.0-or-later
"""The few vector operations that cutting and replaying are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Records = npt.NDArray[np.void]


def changes(*keys: Ints) -> Bools:
    """Where a run of equal (sorted) keys begins."""
    first = np.ones(len(keys[0]), dtype=bool)
    if len(first) > 1:
        first[1:] = False
        for key in keys:
            first[1:] |= key[1:] != key[:-1]
    return first


def segment_cumsum(values: Ints, first: Bools) -> Ints:
    """Running sums that begin again wherever ``first`` is set."""
    if len(values) == 0:
        return values.astype(np.int64)
    total = np.cumsum(values, dtype=np.int64)
    starts = np.flatnonzero(first)
    base = total[starts] - values[starts]
    return total - np.repeat(base, np.diff(np.append(starts, len(values))))


def first_of(keys: Ints) -> tuple[Ints, Ints]:
    """The distinct keys in ascending order and the place where each occurs first."""
    distinct, place = np.unique(keys, return_index=True)
    return distinct, place.astype(np.int64)


def expand(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Write ranges out: for each element the number of its range and its value."""
    owner = np.repeat(np.arange(len(starts), dtype=np.int64), lengths)
    begin = np.cumsum(lengths) - lengths
    return owner, starts[owner] + np.arange(len(owner), dtype=np.int64) - begin[owner]


def pair_returns(keys: Sequence[Ints], enters: Bools, returns: Bools) -> Ints:
    """For each return the row of the enter that it ends, else -1.

    A return belongs to the last enter with the same keys.
    """
    rows = np.flatnonzero(enters | returns)
    told = [key[rows] for key in keys]
    by_key = np.lexsort((rows, *told))
    rows, told = rows[by_key], [key[by_key] for key in told]
    partner = np.full(len(enters), -1, dtype=np.int64)
    if len(rows) > 1:
        same = ~changes(*told)[1:]
        ends = same & enters[rows[:-1]] & returns[rows[1:]]
        partner[rows[1:][ends]] = rows[:-1][ends]
    return partner
