# SPDX-License-Identifier: GPL-2.0-or-later
"""The map counts of one folio over its life, as sparse step signals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.arrays import Bools, Ints, changes
from analysis.counters import COUNTERS, Replayed, Signal
from analysis.errors import AnalysisError
from analysis.lives import Lives
from analysis.log import Log
from analysis.replay import NEVER, Replay

#: Cells of a page-by-time matrix that are made at one time.
CHUNK = 1 << 22


@dataclass(frozen=True)
class State:
    """A folio's counters at one instant; -1 in an array and None mean not known.

    ``pte``: PTE mappings of each page; ``mapcount``: the page's logical map count, which
    on older kernels includes the DoubleMap offset or the file folio's PMD mappings.
    """

    entire: int | None
    double_map: int | None
    pte: Ints
    mapcount: Ints
    nr_pages_mapped: int | None
    large_mapcount: int | None


@dataclass(frozen=True)
class Counts:
    """Replayed counters of one life AFTER each of its records.

    A position is an element of ``ts`` (ns) and ``event`` (row of the log).  The PTE mappings
    of a page at a position (``pte_at``) are its ``init`` value + ``every`` + the last of its
    points.  ``since``: the position from which a page is known; ``pte_sum_since``: that of the
    sum over all pages.  The life is in the slot ``place`` of ``run``.
    """

    life: int
    head: int
    order: int
    anon: bool
    hugetlb: bool
    counters: frozenset[str]
    ts: Ints
    event: Ints
    entire: Ints
    entire_known: bool
    double_map: Ints
    every: Ints
    pte_sum: Ints
    pte_sum_since: int
    point_page: Ints
    point_at: Ints
    point_sum: Ints
    init: Ints
    since: Ints
    run: Replay
    place: int

    @property
    def pages(self) -> int:
        """Pages with a map count of their own; hugetlb keeps none."""
        return 0 if self.hugetlb else 1 << self.order

    @cached_property
    def replayed(self) -> Replayed:
        """The folio at each position, for the formulas of the table of counters."""
        length = len(self.ts)
        return Replayed(
            run=self.run,
            slot=np.full(length, self.place),
            position=self.run.bounds[self.place] + np.arange(length),
            counters=self.counters,
            order=np.full(length, self.order),
            anon=np.full(length, self.anon),
            hugetlb=np.full(length, self.hugetlb),
            entire=self.entire,
            entire_known=np.full(length, self.entire_known),
            double_map=self.double_map,
            pte_sum=self.pte_total(),
            pages_mapped=self.pages_mapped,
        )

    def has(self, counter: str) -> bool:
        """The kernel keeps a counter of such a folio."""
        kept = counter in self.counters and self.order > 0
        return kept and bool(COUNTERS[counter].applies(self.replayed).all())

    def signal(self, counter: str) -> Signal:
        """A folio's counter at each position and where it is known."""
        return COUNTERS[counter].of(self.replayed)

    def offset(self) -> Ints:
        """What every page's map count has in addition to PTE mappings, at each position."""
        return self.replayed.offset

    def pte_at(self, page: Ints, at: Ints) -> tuple[Ints, Bools]:
        """PTE mappings of pages at positions (element by element) and where known."""
        size = len(self.ts) + 1
        place = np.searchsorted(self.point_page * size + self.point_at, page * size + at, "right")
        place -= 1
        hit = place >= 0
        hit[hit] = self.point_page[place[hit]] == page[hit]
        own = np.zeros(len(page), dtype=np.int64)
        own[hit] = self.point_sum[place[hit]]
        return self.init[page] + self.every[at] + own, at >= self.since[page]

    def matrix(self, at: Ints) -> tuple[Ints, Bools]:
        """PTE mappings of every page (rows) at some positions (columns)."""
        page = np.repeat(np.arange(self.pages, dtype=np.int64), len(at))
        value, known = self.pte_at(page, np.tile(at, self.pages))
        shape = (self.pages, len(at))
        return value.reshape(shape), known.reshape(shape)

    def pte_total(self) -> tuple[Ints, Bools]:
        """Number of PTE mappings of all pages at each position and where known."""
        return self.pte_sum, np.arange(len(self.ts)) >= self.pte_sum_since

    def pages_mapped(self) -> tuple[Ints, Bools]:
        """Pages with at least one PTE mapping at each position and where known."""
        length = len(self.ts)
        known = np.arange(length) >= self.since.max(initial=0)
        # A point changes one page: it counts where that page leaves or reaches zero.
        same = ~changes(self.point_page) if len(self.point_page) else np.zeros(0, bool)
        before = np.where(same, np.roll(self.point_sum, 1), 0)
        level = self.init[self.point_page] + self.every[self.point_at]
        crossing = (level + self.point_sum > 0).astype(int) - (level + before > 0)
        steps = np.zeros(length, dtype=np.int64)
        np.add.at(steps, self.point_at, crossing)
        # A change of all pages is counted out anew.
        anew = np.flatnonzero(changes(self.every))
        counted = np.empty(len(anew), dtype=np.int64)
        width = max(1, CHUNK // max(1, self.pages))
        for begin in range(0, len(anew), width):
            value, _ = self.matrix(anew[begin : begin + width])
            counted[begin : begin + width] = (value > 0).sum(axis=0)
        last = np.searchsorted(anew, np.arange(length), side="right") - 1
        run = np.cumsum(steps)
        return counted[last] + run - run[anew[last]], known

    def position(self, ts: int) -> int:
        """The last record at or before a time; AnalysisError before the first."""
        at = int(np.searchsorted(self.ts, ts, side="right")) - 1
        if at < 0:
            raise AnalysisError(
                f"life {self.life} begins {int(self.ts[0]) - ts} ns later: ask for a later time"
            )
        return at

    def at(self, ts: int) -> State:
        """The counters after everything that was recorded up to and including ``ts``."""
        at = self.position(ts)
        value, known = self.matrix(np.array([at]))
        pte = np.where(known, value, -1)[:, 0]
        entire = int(self.entire[at]) if self.entire_known and self.order > 0 else None
        offset = int(self.offset()[at])
        offset_known = self.entire_known or "double_map" not in self.counters
        mapcount = np.where((pte >= 0) & offset_known, pte + offset, -1)

        def single(name: str) -> int | None:
            if not self.has(name):
                return None
            value, known = self.signal(name)
            return int(value[at]) if known[at] else None

        return State(
            entire=entire,
            double_map=single("double_map"),
            pte=pte,
            mapcount=mapcount,
            nr_pages_mapped=single("nr_pages_mapped"),
            large_mapcount=single("large_mapcount"),
        )


def counts_of(log: Log, lives: Lives, run: Replay, life: int, counters: frozenset[str]) -> Counts:
    """Take one life out of a replay."""
    place = int(np.searchsorted(run.lives, life))
    begin, end = int(run.bounds[place]), int(run.bounds[place + 1])
    hugetlb = bool(lives.hugetlb[life])
    pages = 0 if hugetlb else 1 << int(lives.order[life])
    base = int(run.base[place])
    low, high = np.searchsorted(run.point_key, [base, base + pages])
    key = base + np.arange(pages, dtype=np.int64)
    init, since = run.initial(key, np.full(pages, place))
    since = np.where(since == NEVER, NEVER, since - begin)
    if run.pte_start_known[place]:
        pte_start, pte_sum_since = int(run.pte_start[place]), 0
    else:
        pte_start, pte_sum_since = int(init.sum()), int(since.max(initial=0))
    return Counts(
        life=life,
        head=int(lives.head[life]),
        order=int(lives.order[life]),
        anon=bool(lives.anon[life]),
        hugetlb=hugetlb,
        counters=counters,
        ts=log.ts[run.rows[begin:end]],
        event=run.rows[begin:end],
        entire=run.entire[begin:end],
        entire_known=bool(run.entire_known[place]),
        double_map=run.double_map[begin:end],
        every=run.every[begin:end],
        pte_sum=run.pte_sum[begin:end] + pte_start,
        pte_sum_since=pte_sum_since,
        point_page=run.point_key[low:high] - base,
        point_at=run.point_at[low:high] - begin,
        point_sum=run.point_sum[low:high],
        init=init,
        since=since,
        run=run,
        place=place,
    )
