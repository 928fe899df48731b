# SPDX-License-Identifier: GPL-2.0-or-later
"""The right to write in page tables, of anonymous pages that several address spaces map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints, changes, expand
from analysis.truth import PFN_MASK, Snapshot

#: Bit of an entry of ``Snapshot.rights``.  That the entry is known is the number's sign.
WRITABLE = 62


@dataclass(frozen=True)
class Entries:
    """Page-table entries that were found, by page and process: in the page tables of ``pid``, and
    whether it may write there (``writable``)."""

    pfn: Ints
    pid: Ints
    writable: Bools

    def only(self, some: Bools | Ints) -> Entries:
        """Some of them."""
        return Entries(self.pfn[some], self.pid[some], self.writable[some])


class Rights:
    """What one snapshot has of tasks that stood still.

    All at once, it may be too much: a run is taken apart only where something is wrong.
    """

    def __init__(self, shot: Snapshot) -> None:
        runs = shot.rights[~np.isin(shot.rights["pid"], list(shot.torn))]
        bits = runs["entry"].astype(np.int64)
        self._pid, self._pages = (runs[name].astype(np.int64) for name in ("pid", "pages"))
        self._pfn, self._known = bits & PFN_MASK, bits < 0
        self._writable = self._known & (bits >> WRITABLE & 1 == 1)
        frame, page, _ = shot.locate(self._pfn)
        self._first = frame * shot.frame_pages + page
        self._size = len(shot.frames) * shot.frame_pages

    def _covering(self, some: Bools) -> Ints:
        """How many of some runs cover each page of the frames."""
        first, pages = self._first[some], self._pages[some]
        edges = np.bincount(first, minlength=self._size + 1)
        edges = edges - np.bincount(first + pages, minlength=self._size + 1)
        covering: Ints = np.cumsum(edges)[: self._size]
        return covering

    def totals(self) -> tuple[int, int]:
        """How many pages there are, and of how many of these not all entries are known."""
        if len(self._pid) == 0:
            return 0, 0
        unknown = self._covering(~self._known) > 0
        return int((unknown | (self._covering(self._known) > 0)).sum()), int(unknown.sum())

    def suspect(self, most: int) -> Entries:
        """The entries of pages that are writable in one page table and mapped by another, at
        ``most`` so many; it may still be the same one twice."""
        nothing = np.zeros(0, dtype=np.int64)
        none = Entries(nothing, nothing, nothing.astype(bool))
        if not self._writable.any():
            return none
        pages = (self._covering(self._writable) > 0) & (self._covering(self._known) > 1)
        before = np.append(0, np.cumsum(pages))
        hit = before[self._first + self._pages] > before[self._first]
        some = np.flatnonzero(hit & self._known)
        some = some[np.cumsum(self._pages[some]) <= most]
        owner, place = expand(self._first[some], self._pages[some])
        wrong = np.flatnonzero(pages[place])
        owner, place = some[owner[wrong]], place[wrong]
        pfn = self._pfn[owner] + place - self._first[owner]
        by_page = np.lexsort((self._pid[owner], pfn))
        found = Entries(pfn, self._pid[owner], self._writable[owner])
        return found.only(by_page)


def shared_writable(found: Entries) -> tuple[Entries, Ints]:
    """One writable entry of each page that another process maps as well, and that process.

    ``found``: sorted by page, then process.
    """
    begins = changes(found.pfn)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(found.pfn))[: len(first)] - 1
    page = np.cumsum(begins) - 1
    # The entries of a page are sorted by process: where there are two, these are two.
    low, high = found.pid[first][page], found.pid[last][page]
    bad = np.flatnonzero(found.writable & (low != high))
    bad = bad[changes(found.pfn[bad])]
    return found.only(bad), np.where(found.pid[bad] == low[bad], high[bad], low[bad])
