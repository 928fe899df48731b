# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace part by part, so that the whole need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from analysis.arrays import Ints
from analysis.part import Part, Parted
from analysis.recording import Recording

T = TypeVar("T")


def each_part(trace: Parted) -> Iterator[tuple[Part, Ints]]:
    """The parts of a trace, and the number of each of their lives in ``df_lives``.

    The last element of the numbers is -1, so that index -1 (no life) gives -1.  The parts' logs
    have the rank of each record in the whole.
    """
    numbers = [own for _, own in each(trace, lambda _recording, _part: None)]
    yield from zip(_in_order(trace), numbers, strict=True)


def each(trace: Parted, work: Callable[[Recording, Part], T]) -> Iterator[tuple[T, Ints]]:
    """WORK(recording, part) for each part, and the numbers as ``each_part`` has them.

    The numbers are known only after all parts were read once.
    """
    return numbered((work(trace.recording, part), begins(part)) for part in _in_order(trace))


def begins(part: Part) -> Ints:
    """The row in the whole log with which each life of a part begins."""
    return part.log.rank[part.lives.first].astype(np.int64)


def numbered(found: Iterable[tuple[T, Ints]]) -> Iterator[tuple[T, Ints]]:
    """The numbers of lives from what ``begins`` gives: in the order of their first records."""
    found = list(found)
    first = np.concatenate([begin for _, begin in found])
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    at = 0
    for result, begin in found:
        yield result, np.append(number[at : at + len(begin)], -1)
        at += len(begin)


def _in_order(trace: Parted) -> Iterator[Part]:
    for part, place in trace.parts():
        if part.owns is not None:
            part.log.rank = trace.recording.time_order.rank[place]
            part.log.following = trace.recording.time_order.following[place]
        yield part
