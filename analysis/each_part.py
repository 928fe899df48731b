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

    The last element is nobody's number, -1, as -1 is nobody.  The parts' logs know the place of
    each record in the order of the whole.
    """
    numbers = [own for _, own in each(trace, lambda _recording, _part: None)]
    yield from zip(_in_order(trace), numbers, strict=True)


def each(trace: Parted, work: Callable[[Recording, Part], T]) -> Iterator[tuple[T, Ints]]:
    """What WORK makes of the recording and each part, and the numbers as ``each_part`` has them.

    The numbers come last of all, from the same walk.
    """
    return numbered((work(trace.recording, part), begins(part)) for part in _in_order(trace))


def begins(part: Part) -> Ints:
    """The row in the whole log with which each life of a part begins."""
    return part.log.rank[part.lives.first].astype(np.int64)


def numbered(found: Iterable[tuple[T, Ints]]) -> Iterator[tuple[T, Ints]]:
    """Make numbers of what ``begins`` gives: lives count by their first records."""
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
