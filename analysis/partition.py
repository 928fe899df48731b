# SPDX-License-Identifier: GPL-2.0-or-later
"""Divides the records of a large trace into parts that fit into memory.

A folio's life is independent of every other, and folios are naturally aligned.  So all
records of some frames of memory can be read as a trace of their own, and results about
the lives in it hold for the whole trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints, Records, changes
from analysis.census import FRAME_SHIFT, Census, is_common
from analysis.plan import Plan
from analysis.records import Chunk, batches, gathered, joined, picked

#: Records of a part; more only where a single folio has more.  So many that numpy's arrays
#: are small enough to be used again, not asked of the kernel page by page.
PART = 1 << 18
#: Records that are taken out of the file in one reading; at least one part's.
AT_ONCE = 1 << 23
#: A record that belongs to no part; part numbers are smaller.
NOWHERE = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Partition:
    """The first span of each part, ascending: memory in spans of ``1 << shift`` pages.

    ``events``: how many records each part has.
    """

    shift: int
    begins: Ints
    events: Ints

    def part_of(self, pfn: Ints) -> Ints:
        """The part that each page is in."""
        return np.searchsorted(self.begins, pfn >> self.shift, "right") - 1

    def owns(self, part: int, pfn: Ints) -> Bools:
        """A mask of the pages of a part, with or without a record; the first part has all below."""
        own: Bools = np.maximum(self.part_of(pfn), 0) == part
        return own


def partition(counted: Census, size: int, order: int) -> Partition:
    """Divide memory into parts of about ``size`` records, never inside an aligned block of
    ``order``, which is at least the order of the largest folio."""
    size = max(size, counted.events // (NOWHERE - 1) + 1)
    shift = max(FRAME_SHIFT, order)
    span = counted.frames >> (shift - FRAME_SHIFT)
    begin = np.flatnonzero(changes(span))
    events = np.add.reduceat(counted.frame_events, begin)
    first = np.flatnonzero(changes((np.cumsum(events) - events) // size))
    return Partition(shift, span[begin][first], np.add.reduceat(events, first))


def by_part(
    chunks: Sequence[Chunk], plan: Plan, parts: Partition, done: Callable[[], None]
) -> Iterator[tuple[Records, Ints]]:
    """Yield the records of each part in time order, and their indices in the file.

    ``done`` is called whenever blocks that were read are not needed for a while.
    """
    where = []
    for batch in batches(chunks):
        part = parts.part_of(batch["pfn"].astype(np.int64)).astype(np.uint16)
        part[is_common(batch, plan)] = NOWHERE
        where.append(part)
        done()
    part = np.concatenate(where)
    reading = (np.cumsum(parts.events) - 1) // AT_ONCE
    first = np.flatnonzero(changes(reading)).tolist()
    for begin, end in zip(first, [*first[1:], len(reading)], strict=True):
        places = np.flatnonzero((part >= begin) & (part < end))
        records = gathered(chunks, places, done)
        for number in range(begin, end):
            rows = np.flatnonzero(part[places] == number)
            rows = rows[np.argsort(records["ts"][rows], kind="stable")]
            yield picked(records, rows), places[rows]


def near_page(several: Iterable[Records], plan: Plan, pfn: int, order: int) -> Records:
    """The records of the frames that a folio of ``order`` at ``pfn`` can overlap, and all marks."""
    shift = max(FRAME_SHIFT, order)
    found = []
    for records in several:
        near = records["pfn"] >> np.uint64(shift) == pfn >> shift
        near[is_common(records, plan)] = True
        found.append(picked(records, np.flatnonzero(near)))
    return joined(found)
