# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of the reference count of folios, by the kernel's own words at a snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.expected_at import Present, present
from analysis.part import Part
from analysis.pins import BIAS
from analysis.truth import Snapshot

#: Bits of /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst, fs/proc/page.c).
KPF_LRU, KPF_SWAPCACHE, KPF_PRIVATE, KPF_PRIVATE_2 = 5, 13, 36, 37
#: The low bits of folio->mapping: 0 of a file, where it is not NULL.
MAPPING_FLAGS = 3


@dataclass(frozen=True)
class References:
    """One element for each folio that a snapshot shows: ``here`` are their lives.

    ``count`` references are ``mappings`` + ``page_cache`` + ``swap_cache`` + ``private`` + those
    of its ``pins`` + ``unexplained``.  ``pins`` are -1 where the kernel's word is not in the
    snapshot; ``lru``: it is on a list of folios that may be reclaimed.
    """

    here: Present
    count: Ints
    mappings: Ints
    page_cache: Ints
    swap_cache: Ints
    private: Ints
    pins: Ints
    unexplained: Ints
    lru: Bools


def references(part: Part, shot: Snapshot) -> References:
    """Break down the reference counts of the folios of a part's lives."""
    found = present(part.log, part.lives, shot)
    shown = shot.orders(found.head, found.frame) == part.lives.order[found.life]
    here = Present(
        found.life[shown], found.frame[shown], found.head[shown], found.busy[shown], found.row
    )
    head, frame = here.head, here.frame
    order, hugetlb = part.lives.order[here.life], part.lives.hugetlb[here.life]
    pages = np.int64(1) << order
    flags = shot.kpageflags[frame, head]

    def flag(bit: int) -> Bools:
        return np.asarray((flags >> np.uint64(bit)) & np.uint64(1) == 1)

    count = shot.word("refcount", "<i4", head, frame)
    mapping = shot.word("mapping", "<i8", head, frame)
    of_file = (mapping != 0) & (mapping & MAPPING_FLAGS == 0)
    mappings = _mappings(part, shot, here)
    swap_cache = np.where(flag(KPF_SWAPCACHE), pages, 0)
    # The flag of a hugetlb folio means something else.
    private = ((flag(KPF_PRIVATE) | flag(KPF_PRIVATE_2)) & ~hugetlb).astype(np.int64)
    pins = _pins(shot, here, order)
    left = count - mappings - swap_cache - private - np.where(order > 0, np.maximum(pins, 0), 0)
    # A hugetlb folio in the page cache has one reference for it until commit a08c7193e4f1 ("mm/
    # filemap: remove hugetlb special casing in filemap.c") (in v6.7), which nothing else tells.
    in_cache = np.where(hugetlb & (left < pages), 1, pages)
    page_cache = np.where(of_file, in_cache, 0)
    left = left - page_cache
    small = order == 0
    pins = np.where(small, np.maximum(left, 0) // BIAS, pins)
    return References(
        here=here,
        count=count,
        mappings=mappings,
        page_cache=page_cache,
        swap_cache=swap_cache,
        private=private,
        pins=pins,
        unexplained=np.where(small, left - pins * BIAS, left),
        lru=flag(KPF_LRU),
    )


def _pins(shot: Snapshot, here: Present, order: Ints) -> Ints:
    """Pins of large folios by their own count; -1: they have none, or it is not known."""
    pins = np.full(len(order), -1, dtype=np.int64)
    if shot.has("pincount"):
        far = shot.layout.fields["pincount"]
        some = np.flatnonzero((shot.layout.struct_page << order) > far)
        pins[some] = shot.word("pincount", "<i4", here.head[some], here.frame[some])
    return pins


def _mappings(part: Part, shot: Snapshot, here: Present) -> Ints:
    """Entries of page tables that map each folio, one reference each."""
    lives, life = part.lives, here.life
    order = lives.order[life]
    mapcount, is_count = shot.mapcounts()
    mapcount = np.where(is_count, mapcount, 0)
    found = mapcount[here.frame, here.head].astype(np.int64)
    whole = np.flatnonzero((order > 0) & lives.hugetlb[life])
    found[whole] = shot.entire(here.head[whole], here.frame[whole])
    large = np.flatnonzero((order > 0) & ~lives.hugetlb[life])
    head, frame = here.head[large], here.frame[large]
    if shot.has("large"):
        found[large] = shot.word("large", "<i4", head, frame) + 1
        return found
    sums = np.concatenate([np.zeros((len(mapcount), 1), np.int64), mapcount.cumsum(axis=1)], axis=1)
    pages = np.int64(1) << order[large]
    entire = shot.entire(head, frame)
    # What each page's count holds beside its own mappings, see analysis.counters.Replayed.
    beside = np.zeros_like(entire)
    if "double_map" in part.counters and len(large):
        doubled = shot.flag("double_map", head, frame)
        beside = np.where(shot.anon(head, frame), doubled, entire)
    by_pages = sums[frame, head + pages] - sums[frame, head] - beside * pages
    found[large] = by_pages + entire
    return found
