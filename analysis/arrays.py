# SPDX-License-Identifier: GPL-2.0-or-later
"""The few vector operations that finding lives and replaying them need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
Records = npt.NDArray[np.void]


def changes(*keys: Ints) -> Bools:
    """A mask: True where a run of equal (sorted) keys begins."""
    first = np.ones(len(keys[0]), dtype=bool)
    if len(first) > 1:
        first[1:] = False
        for key in keys:
            first[1:] |= key[1:] != key[:-1]
    return first


def segment_cumsum(values: npt.NDArray[np.signedinteger[Any]], first: Bools) -> Ints:
    """Running sums that begin again wherever ``first`` is set."""
    if len(values) == 0:
        return values.astype(np.int64)
    total = np.cumsum(values, dtype=np.int64)
    starts = np.flatnonzero(first)
    base = total[starts] - values[starts]
    total -= np.repeat(base, np.diff(np.append(starts, len(values))))
    return total


def first_of(keys: Ints) -> tuple[Ints, Ints]:
    """The distinct keys in ascending order and the place where each occurs first."""
    distinct, place = np.unique(keys, return_index=True)
    return distinct, place.astype(np.int64)


def expand(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Expand ranges: for each element the number of its range and its value."""
    owner = np.repeat(np.arange(len(starts), dtype=np.int64), lengths)
    value = np.arange(len(owner), dtype=np.int64)
    value += np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return owner, value


def distinct(keys: Ints) -> Ints:
    """The distinct keys in ascending order; runs of equal keys cost little."""
    runs = np.sort(keys[changes(keys)])
    return runs[changes(runs)]


def pair_returns(keys: Sequence[Ints], enters: Bools) -> Ints:
    """For enter and return records in time order: the enter of each return, else -1.

    A return belongs to the last enter with the same keys.
    """
    by_key = np.lexsort((np.arange(len(enters)), *keys))
    partner = np.full(len(enters), -1, dtype=np.int64)
    same = ~changes(*(key[by_key] for key in keys))[1:]
    ends = same & enters[by_key[:-1]] & ~enters[by_key[1:]]
    partner[by_key[1:][ends]] = by_key[:-1][ends]
    return partner
