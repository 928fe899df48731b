# SPDX-License-Identifier: GPL-2.0-or-later
"""Mappings that are left, by the operations, when a folio is freed or split: there must be none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Ints, changes
from analysis.audit.actor import last_act
from analysis.audit.finding import Finding, pages_text
from analysis.audit.inside import Collapses
from analysis.audit.listed import Listed
from analysis.doubt import Doubt
from analysis.lives import DEATHS
from analysis.part import Part
from analysis.plan import OP
from analysis.replay import NEVER, Replay


@dataclass(frozen=True)
class Rest:
    """Mappings left of an ended life: by PMDs, by PTEs of all pages, and the pages with PTEs."""

    entire: int
    ptes: int
    pages: Ints
    counts: Ints

    @property
    def mappings(self) -> int:
        """Number of all mappings that are left."""
        return self.entire + self.ptes

    @property
    def words(self) -> str:
        """What is left, in words."""
        told = f"{self.entire} PMD and {self.ptes} PTE mappings left"
        return f"{told} ({self.where})" if self.where else told

    @property
    def where(self) -> str:
        """How many mappings of which pages."""
        return ", ".join(
            f"{count} of {pages_text(tuple(self.pages[self.counts == count].tolist()))}"
            for count in np.unique(self.counts).tolist()
        )


class Remains:
    """The mappings left of the lives whose counters are known from their beginning on."""

    def __init__(self, part: Part, run: Replay) -> None:
        self.part, self.run = part, run

    def places(self, death: str) -> Ints:
        """Slots in the replay of the lives with mappings left."""
        run = self.run
        size = np.diff(run.bounds)
        ended = (self.part.lives.death[run.lives] == DEATHS.index(death)) & (size > 0)
        # Of hugetlb some changes are inlined where no probe can be on every kernel.
        ended &= run.entire_known & run.pte_start_known & ~self.part.lives.hugetlb[run.lives]
        last = np.maximum(run.bounds[1:] - 1, 0)
        left = np.zeros(len(size), dtype=bool)
        some = np.flatnonzero(size > 0)
        left[some] = run.entire[last[some]] != 0
        left[some] |= run.pte_sum[last[some]] + run.pte_start[some] != 0
        # What is too many of one page may be too few of another.
        ends = np.flatnonzero(changes(run.point_key)[1:]) if len(run.point_key) else some[:0]
        ends = np.append(ends, len(run.point_key) - 1)[: len(run.point_key)]
        key = run.point_key[ends]
        place = np.searchsorted(run.base, key, "right") - 1
        start, since = run.initial(key, place)
        wrong = start + run.every[last[place]] + run.point_sum[ends] != 0
        left[place[wrong & (since < NEVER)]] = True
        return np.flatnonzero(ended & left)

    def of(self, place: int) -> Rest:
        """What is left of one life of the replay."""
        run, last = self.run, int(self.run.bounds[place + 1]) - 1
        size = 1 << int(self.part.lives.order[run.lives[place]])
        key = run.base[place] + np.arange(size, dtype=np.int64)
        start, since = run.initial(key, np.full(size, place))
        counts = start + run.every[last] + run.points_until(key, np.full(size, last))
        pages = np.flatnonzero((counts != 0) & (since < NEVER))
        ptes = int(run.pte_sum[last] + run.pte_start[place])
        return Rest(int(run.entire[last]), ptes, pages, counts[pages])


def mapped_at_split(part: Part, run: Replay, doubt: Doubt, listed: Listed) -> Iterator[Finding]:
    """Folios that were split while the replay still had mappings of them."""
    remains = Remains(part, run)
    for place in _first(part, run, remains.places("split"), "mapped-at-split", listed):
        rest = remains.of(place)
        yield _finding(
            part, run, doubt, place, rest, "mapped-at-split",
            f"split by {{other}} with {rest.words}",
        )  # fmt: skip


def mapped_at_free(
    part: Part, run: Replay, doubt: Doubt, told: set[int], listed: Listed
) -> Iterator[Finding]:
    """The same for folios that were freed, except the lives ``told``, whose counters show it."""
    remains, collapses = Remains(part, run), Collapses(part.recording)
    places = remains.places("free")
    lives = run.lives[places]
    fresh = ~part.log.freed[part.lives.death_row[lives]] & ~np.isin(lives, list(told))
    for place in _first(part, run, places[fresh], "mapped-at-free", listed):
        row = int(part.lives.death_row[run.lives[place]])
        rest = remains.of(place)
        inside = collapses.around(int(part.log.tid[row]), int(part.log.ts[row]))
        yield _finding(
            part, run, doubt, place, rest, "mapped-at-free",
            f"freed by {{other}}{f' inside {inside}()' * bool(inside)} with {rest.words} by the "
            f"operations{moved(part, run, place)}", inside,
        )  # fmt: skip


def _first(part: Part, run: Replay, places: Ints, rule: str, listed: Listed) -> list[int]:
    """The places in the replay that there is room for, by the ends of their lives."""
    first = listed.first(rule, "mappings", part.lives.death_row[run.lives[places]])
    return [int(place) for place in places[first]]


def moved(part: Part, run: Replay, place: int) -> str:
    """Words to add for a folio whose contents had been migrated; "" for others."""
    rows = run.rows[run.bounds[place] : run.bounds[place + 1]]
    return ", after its contents had moved to another folio" * bool(
        (part.log.op[rows] == OP["migrate"]).any()
    )


def _finding(
    part: Part, run: Replay, doubt: Doubt, place: int, rest: Rest, rule: str, words: str,
    inside: str = "",
) -> Finding:  # fmt: skip
    log, lives = part.log, part.lives
    life = int(run.lives[place])
    death = int(lives.death_row[life])
    rows = run.rows_until(life, death)
    before = max(last_act(log, rows), int(rows[0])) if len(rows) else death
    last = "" if inside else ": the last to touch it was {function} by {actor}"
    return Finding(
        rule=rule,
        life=life,
        pfn=int(lives.head[life]) + (int(rest.pages[0]) if len(rest.pages) else 0),
        rows=tuple(sorted({before, death})),
        actor=death if inside else before,
        other=death,
        words=words + last,
        doubt=doubt.reason_counter(int(part.since[life]), int(log.ts[death])),
        counter="mappings",
        expected=0,
        observed=rest.mappings,
        inside=inside,
    )
