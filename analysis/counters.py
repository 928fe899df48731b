# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of counters, second half: how each follows from the operations on a folio.

What the kernel keeps of a counter, and where, is in the same order in probes/counters.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.owners import owners
from analysis.pins import pincounts
from analysis.replay import Replay
from probes import counters as kept

#: What a PMD mapping adds to _nr_pages_mapped, so that it cannot be mistaken for pages.
ENTIRELY_MAPPED = 0x800000

Signal = tuple[Ints, Bools]


@dataclass(frozen=True)
class Replayed:
    """Replayed folios at some instants: one element of an array for each instant.

    They are those of the replay ``run`` after its element ``position``, of the life in its
    ``slot``; a position before the first of the life is its beginning.
    ``pte_sum``: PTE mappings of all pages, and where that is known.  Likewise ``pages_mapped()``:
    how many pages have PTE mappings, and ``pte``: those of the page that an instant is about;
    both only if the caller can compute them.
    """

    run: Replay
    slot: Ints
    position: Ints
    counters: frozenset[str]
    order: Ints
    anon: Bools
    hugetlb: Bools
    entire: Ints
    entire_known: Bools
    double_map: Ints
    pte_sum: Signal
    pages_mapped: Callable[[], Signal] | None = None
    pte: Signal | None = None

    @property
    def offset(self) -> Ints:
        """What every page's map count has in addition to its PTE mappings."""
        if "double_map" not in self.counters:
            return np.zeros_like(self.entire)
        return np.where(self.order > 0, np.where(self.anon, self.double_map, self.entire), 0)


def _everywhere(folios: Replayed) -> Bools:
    return np.ones(len(folios.order), dtype=bool)


def _no_hugetlb(folios: Replayed) -> Bools:
    return ~folios.hugetlb


def _entire(folios: Replayed) -> Signal:
    return folios.entire, folios.entire_known


def _double_map(folios: Replayed) -> Signal:
    return folios.double_map, _everywhere(folios)


def _mapcount(folios: Replayed) -> Signal:
    assert folios.pte is not None
    pte, known = folios.pte
    return pte + folios.offset, known & folios.entire_known


def _large(folios: Replayed) -> Signal:
    pte_sum, known = folios.pte_sum
    return folios.entire + pte_sum, known & folios.entire_known


def _total(folios: Replayed) -> Signal:
    pte_sum, known = folios.pte_sum
    return (folios.entire << folios.order) + pte_sum, known & folios.entire_known


def _nr_pages(folios: Replayed) -> Signal:
    assert folios.pages_mapped is not None
    pages, known = folios.pages_mapped()
    value = np.where(folios.hugetlb, 0, pages + ENTIRELY_MAPPED * (folios.entire > 0))
    return value, known & folios.entire_known


def _pincount(folios: Replayed) -> Signal:
    return pincounts(folios.run).at(folios.run, folios.position, folios.slot)


def _slot(number: int) -> Callable[[Replayed], Signal]:
    """The formula of one of the slots' counters."""

    def formula(folios: Replayed) -> Signal:
        values, known = owners(folios.run).at(folios.run, folios.position, folios.slot)
        return values[:, number], known

    return formula


@dataclass(frozen=True)
class Counter:
    """How a counter follows from the operations, and what it is compared with.

    ``formula``: its logical value, and where it is known.  ``applies``: which folios have it.
    ``by_record``: it is compared with each record, not only with snapshots; its formula needs
    no counts of single pages.  ``floor``: it is never below 0.  ``late``: fork changes it after
    all pages of a batch, not with each.
    """

    kept: kept.Counter
    formula: Callable[[Replayed], Signal]
    applies: Callable[[Replayed], Bools] = _everywhere
    by_record: bool = True
    floor: bool = True
    late: bool = False

    @property
    def name(self) -> str:
        """As traces, data frames and findings call it."""
        return self.kept.name

    def of(self, folios: Replayed) -> Signal:
        """Its value, and where it applies and is known."""
        value, known = self.formula(folios)
        return value, known & self.applies(folios)


def _table(*rows: Counter) -> dict[str, Counter]:
    table = {row.name: row for row in rows}
    assert list(table) == [row.name for row in kept.COUNTERS]
    return table


COUNTERS = _table(
    Counter(kept.MAPCOUNT, _mapcount, _no_hugetlb),
    Counter(kept.ENTIRE, _entire),
    # A file folio's DoubleMap is sticky and means nothing.
    Counter(
        kept.DOUBLE_MAP, _double_map, lambda folios: folios.anon & ~folios.hugetlb, floor=False
    ),
    Counter(kept.NR_PAGES_MAPPED, _nr_pages, by_record=False, floor=False),
    # Fork raises the pages one by one and then, at once, the sum: commit 05c5323b2a34 ("mm: track
    # mapcount of large folios in single value") (in v6.10).
    Counter(kept.LARGE, _large, late=True),
    Counter(kept.TOTAL, _total, _no_hugetlb, late=True),
    *(
        Counter(slot, _slot(number), _no_hugetlb, late=True)
        for number, slot in enumerate(kept.SLOTS)
    ),
    # Pins come and go beside each other: records of two CPUs say nothing of their order.  Folios of
    # two pages have this count since commit 5232c63f46fd ("mm: Make compound_pincount always
    # available") (in v5.18).
    Counter(
        kept.PINCOUNT, _pincount, lambda folios: folios.order > 1, by_record=False, floor=False
    ),
)
#: Those of a folio of more than one page.
FOLIO = {name: row for name, row in COUNTERS.items() if row.kept is not kept.MAPCOUNT}
