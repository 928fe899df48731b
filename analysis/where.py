# SPDX-License-Identifier: GPL-2.0-or-later
"""The mappings of a part's folios: in which address spaces, at which virtual addresses.

Each operation on mappings has an address space and a virtual address (``record --where``).  A
replay of them gives the mappings at any time, as page tables would.  mremap() changes page tables
without an operation on a folio; it has records of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from analysis.arrays import Ints
from analysis.effects import RMAP, effects
from analysis.part import Part
from analysis.plan import OP, among
from analysis.records import MOVES, words

#: The largest folio that is followed: what a PMD maps with pages of 64 KiB.  hugetlb is not.
LARGEST = 13

T = TypeVar("T", bound="Spaces")

#: A folio in an address space: its life, and the address that its first page has there, or would
#: have if it were mapped beside the others.
Place = tuple[int, int]


@dataclass
class Mapping:
    """The mapping of a folio of some ``pages`` at one place: by a PMD, or by PTEs of the pages
    whose bit in ``ptes`` is set."""

    pages: int
    ptes: int = 0
    pmd: bool = False

    def mapped(self) -> list[tuple[int, int]]:
        """(first page, number) of the runs of pages that are mapped."""
        if self.pmd:
            return [(0, self.pages)]
        found, bits, at = [], self.ptes, 0
        while bits:
            gap = (bits & -bits).bit_length() - 1
            bits >>= gap
            length = (~bits & (bits + 1)).bit_length() - 1
            found.append((at + gap, length))
            bits >>= length
            at += gap + length
        return found


def _bits(first: int, number: int) -> int:
    return ((1 << number) - 1) << first


@dataclass
class Spaces:
    """The mappings by address space, with pages of ``page_size`` bytes."""

    page_size: int
    of: dict[int, dict[Place, Mapping]] = field(default_factory=dict)
    #: The time (ns) of the change that is being made.
    now: int = 0

    def change(self, mm: int, place: Place, pages: int, on: int, off: int, pmd: int) -> None:
        """Map some pages (bits), unmap others, and add (1) or remove (-1) a PMD mapping."""
        here = self.of.setdefault(mm, {})
        mapping = here.get(place) or Mapping(pages)
        mapping.ptes = mapping.ptes & ~off | on
        if pmd:
            mapping.pmd = pmd > 0
        if mapping.ptes or mapping.pmd:
            here[place] = mapping
        else:
            here.pop(place, None)

    def move(self, mm: int, begin: int, to: int, size: int) -> None:
        """Apply a move of page-table entries."""
        moved = []
        for (life, base), mapping in self.of.get(mm, {}).items():
            first = max(-(-(begin - base) // self.page_size), 0)
            end = min(-(-(begin + size - base) // self.page_size), mapping.pages)
            if first < end:
                bits = mapping.ptes & _bits(first, end - first)
                whole = mapping.pmd and end - first == mapping.pages
                moved.append((life, base, mapping.pages, bits, int(whole)))
        for life, base, pages, bits, pmd in moved:
            self.change(mm, (life, base), pages, 0, bits, -pmd)
        for life, base, pages, bits, pmd in moved:
            self.change(mm, (life, base + to - begin), pages, bits, 0, pmd)


class Span(NamedTuple):
    """Pages of a life that were mapped at an address from one time (ns) until another, by a PMD or
    by PTEs."""

    mm: int
    life: int
    address: int
    pages: int
    pmd: bool
    begin: int
    end: int


class History(Spaces):
    """Collects the mappings over time."""

    def __init__(self, page_size: int) -> None:
        super().__init__(page_size)
        self._over: list[Span] = []
        self._since: dict[tuple[int, int, int, int, bool], int] = {}

    def change(self, mm: int, place: Place, pages: int, on: int, off: int, pmd: int) -> None:
        """Apply a change, see ``Spaces.change``."""
        before = self._runs(mm, place)
        super().change(mm, place, pages, on, off, pmd)
        after = self._runs(mm, place)
        for run in before - after:
            self._over.append(Span(*run, self._since.pop(run), self.now))
        for run in after - before:
            self._since[run] = self.now

    def _runs(self, mm: int, place: Place) -> set[tuple[int, int, int, int, bool]]:
        mapping = self.of.get(mm, {}).get(place)
        if mapping is None:
            return set()
        life, base = place
        return {
            (mm, life, base + first * self.page_size, length, mapping.pmd)
            for first, length in mapping.mapped()
        }

    def until(self, end: int) -> list[Span]:
        """The spans of all mappings; those that still exist end at this time."""
        return self._over + [Span(*run, since, end) for run, since in self._since.items()]


def spans_of(part: Part, end: int) -> list[Span]:
    """The spans of all mappings in the memory of a part."""
    (found,) = replayed(part, History(page_size_of(part)), [end])
    return found.until(end)


def mapped_at(part: Part, times: Iterable[int]) -> Iterator[Spaces]:
    """Yield the mappings in the memory of a part at some times (ns, ascending).

    By the records alone: a folio that is older than the recording may have further mappings.
    The same object is yielded each time, with its state at that time.
    """
    return replayed(part, Spaces(page_size_of(part)), times)


def page_size_of(part: Part) -> int:
    """The size of a page in bytes."""
    return int(part.recording.meta.get("page_size", 4096))


def replayed(part: Part, spaces: T, times: Iterable[int]) -> Iterator[T]:
    """Apply all changes to ``spaces``, and yield it at some times (ns, ascending)."""
    ts, steps = _steps(part, spaces.page_size)
    when = ts.tolist()
    moves = iter(_moves(part))
    move = next(moves, None)
    done = 0

    def until(moment: int) -> int:
        end = int(np.searchsorted(ts, moment, "right"))
        for spaces.now, step in zip(when[done:end], steps[done:end], strict=True):
            spaces.change(*step)
        return end

    for moment in times:
        while move and move[0] <= moment:
            done = until(move[0])
            spaces.now = move[0]
            spaces.move(*move[1:])
            move = next(moves, None)
        done = until(moment)
        yield spaces


def _moves(part: Part) -> list[tuple[int, int, int, int, int]]:
    """Of each move when it was, in which address space, from where, where to, how many bytes."""
    common = part.recording.common
    rows = np.flatnonzero(common.op == OP["moved"])
    told = words(common.raw, rows, MOVES)
    columns = (common.ts[rows], *(told[name] for name in ("mm", "begin", "to", "bytes")))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _steps(part: Part, page_size: int) -> tuple[Ints, list[tuple[int, Place, int, int, int, int]]]:
    """When each operation was, and what ``Spaces.change`` is to do."""
    log, lives = part.log, part.lives
    told = among(log.op, RMAP) & (log.delta != 0) & (lives.of >= 0) & log.address[1]
    rows = np.flatnonzero(told)
    rows = rows[lives.order[lives.of[rows]] <= LARGEST]
    acts = effects(log, lives, rows, "double_map" in part.counters)
    life = lives.of[rows]
    first, number, delta = (np.zeros(len(rows), dtype=np.int64) for _ in range(3))
    first[acts.some_at] = acts.some_start
    number[acts.some_at] = acts.some_nr
    delta[acts.some_at] = acts.some_delta
    pages = np.int64(1) << lives.order[life]
    every = acts.every != 0
    number[every], delta[every] = pages[every], acts.every[every]
    base = log.address[0][rows].astype(np.int64) - (log.pfn[rows] - lives.head[life]) * page_size
    columns = (log.mm[0][rows], life, base, pages, first, number, delta, acts.entire)
    steps = []
    for mm, one, at, size, begin, some, change, pmd in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        bits = _bits(begin, some) if change else 0
        on, off = (bits, 0) if change > 0 else (0, bits)
        steps.append((mm, (one, at), size, on, off, pmd))
    return log.ts[rows], steps
