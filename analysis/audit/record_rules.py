# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules that each record must obey by itself, whatever happened before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.arrays import Bools, Ints, first_of
from analysis.audit.actor import AFTER, UNTOUCHED, last_act
from analysis.audit.finding import Finding
from analysis.audit.inside import Collapses
from analysis.audit.listed import Listed
from analysis.audit.remains import Remains
from analysis.counters import COUNTERS
from analysis.doubt import Doubt
from analysis.in_flight import in_flight
from analysis.lives import CUTTING
from analysis.part import Part
from analysis.plan import OP, RETURN, among
from analysis.replay import Replay


class Limits:
    """The records of a trace whose function held the folio, so that its values are stable."""

    def __init__(self, part: Part, run: Replay, doubt: Doubt, listed: Listed) -> None:
        self.part = part
        self.run = run
        self.doubt = doubt
        self.listed = listed
        log = part.log
        held = log.read & among(log.op, CUTTING)
        held &= (log.phase != RETURN) | log.after
        self.held: Bools = held & (part.lives.of >= 0)

    def _first_per_life(self, rule: str, counter: str, rows: Bools) -> list[int]:
        at = np.flatnonzero(rows)
        _, place = first_of(self.part.lives.of[at])
        first: Ints = at[place]
        return [int(first[at]) for at in self.listed.first(rule, counter, first)]

    def _finding(
        self, rule: str, row: int, words: str, counter: str, expected: int, observed: int,
        last: str = "", doubt: str = "", inside: str = "",
    ) -> Finding:  # fmt: skip
        """``last``: how the words end where an operation before this record can be named;
        ``inside``: the function that the task of this record was in, which did it."""
        log, lives = self.part.log, self.part.lives
        life = int(lives.of[row])
        before = last_act(log, self.run.rows_until(life, row))
        # Where none was seen it was this very record's, if it changes a count at all.
        actor = before if before >= 0 else last_act(log, np.array([row]))
        return Finding(
            rule=rule,
            life=life,
            pfn=int(log.pfn[row]),
            rows=(before, row) if before >= 0 else (row,),
            actor=row if inside else actor,
            other=row,
            words=words + (last if actor >= 0 or not last else UNTOUCHED),
            doubt=doubt,
            counter=counter,
            expected=expected,
            observed=observed,
            inside=inside,
        )

    def underflow(self) -> Iterator[Finding]:
        """A map count below zero."""
        for counter, about in COUNTERS.items():
            if counter not in self.part.counters or not about.floor:
                continue
            value, there = self.part.log.counter(counter)
            wrong = self.held & there & (value < 0)
            for row in self._first_per_life("underflow", counter, wrong):
                yield self._finding(
                    "underflow", row,
                    f"{counter} is {value[row]} at event {{event[{row}]}}, ",
                    counter, 0, int(value[row]), AFTER,
                )  # fmt: skip

    def mapped_at_free(self) -> Iterator[Finding]:
        """Counters that are left when the page allocator takes a folio back."""
        log, collapses = self.part.log, Collapses(self.part.recording)
        remains = Remains(self.part, self.run)
        left = {int(self.run.lives[at]): at for at in remains.places("free").tolist()}
        free = self.held & (log.op == OP["free"]) & ~log.freed
        for counter in COUNTERS:
            if counter not in self.part.counters:
                continue
            value, there = log.counter(counter)
            wrong = free & there & (value > 0)
            if counter == "double_map":
                # A file folio's is sticky and means nothing.
                at = np.flatnonzero(wrong)
                wrong[at] = self.part.lives.anon[self.part.lives.of[at]]
            for row in self._first_per_life("mapped-at-free", counter, wrong):
                inside = collapses.around(int(log.tid[row]), int(log.ts[row]))
                by = f"freed by {{other}}{f' inside {inside}()' * bool(inside)}"
                last = "the last to touch it was {function} by {actor}"
                place = left.get(int(self.part.lives.of[row]))
                pages = "" if place is None else remains.of(place).where
                pages = f" ({pages} by the operations)" if pages else ""
                # What was a file's before may have been freed and allocated unseen.
                sticky = counter == "double_map"
                since = int(self.part.since[self.part.lives.of[row]])
                yield self._finding(
                    "mapped-at-free", row,
                    f"{by} with {counter} {value[row]}{pages}" + ("" if inside else ": "),
                    counter, 0, int(value[row]), "" if inside else last,
                    self.doubt.reason_lost(since, int(log.ts[row])) * sticky, inside,
                )  # fmt: skip

    def without_reference(self) -> Iterator[Finding]:
        """Pages that are mapped though their reference count is 0."""
        log = self.part.log
        refcount = log.raw["refcount"].astype(np.int64)
        maps = self.held & among(log.op, ("map", "dup"))
        wrong = maps & (refcount <= 0)
        for row in self._first_per_life("map-without-reference", "refcount", wrong):
            after = " after it was freed" if log.freed[row] else ""
            yield self._finding(
                "map-without-reference", row,
                f"{{other}} maps it with a refcount of {refcount[row]}{after}",
                "refcount", 1, int(refcount[row]),
            )  # fmt: skip

    def refcount_below(self) -> Iterator[Finding]:
        """Folios with more mappings than references."""
        log, lives, run = self.part.log, self.part.lives, self.run
        slot = np.searchsorted(run.lives, lives.of[run.rows])
        known = run.pte_start_known[slot] & run.entire_known[slot]
        mapped = run.entire + run.pte_sum + run.pte_start[slot]
        # Replayed counts are those after a record, the refcount is that before it: a
        # mapping that comes has its reference already, one that goes has it still.
        refcount = log.raw["refcount"][run.rows].astype(np.int64)
        held = self.held[run.rows] & among(log.op[run.rows], ("map", "unmap"))
        # A PMD split maps all pages with one reference less than it needs: that of the PMD
        # mapping, which it takes away only then.
        whole = log.nr[run.rows] >= np.int64(1) << lives.order[run.lives][slot]
        spare = (whole & (log.op[run.rows] == OP["map"])).astype(np.int64)
        rows = np.zeros(len(log), dtype=bool)
        rows[run.rows[held & known & (refcount < mapped - spare)]] = True
        most = np.zeros(len(log), dtype=np.int64)
        most[run.rows] = mapped
        at = np.flatnonzero(rows)
        rows[at[in_flight(log, lives, at)]] = False
        for row in self._first_per_life("refcount-below-mapcount", "refcount", rows):
            since = int(self.part.since[lives.of[row]])
            yield self._finding(
                "refcount-below-mapcount", row,
                f"{int(log.raw['refcount'][row])} references for {most[row]} mappings at "
                f"event {{event[{row}]}}, ",
                "refcount", int(most[row]), int(log.raw["refcount"][row]), AFTER,
                self.doubt.reason_counter(since, int(log.ts[row])),
            )  # fmt: skip

    def asked_unmapped(self) -> Iterator[Finding]:
        """Pages whose map count a walk of page tables asked for, though nothing mapped them."""
        log, lives = self.part.log, self.part.lives
        asked = (log.op == OP["ask"]) & log.read & (lives.of >= 0)
        for row in self._first_per_life("asked-unmapped", "mapcount", asked):
            life = int(lives.of[row])
            last = last_act(log, self.run.rows_until(life, row))
            since = " since {other} unmapped it" if last >= 0 else ""
            page = int(log.pfn[row]) - int(lives.head[life])
            reader = log.plan.within(int(log.raw["probe"][row]))
            yield Finding(
                rule="asked-unmapped",
                life=life,
                pfn=int(log.pfn[row]),
                rows=(last, row) if last >= 0 else (row,),
                actor=row,
                other=last,
                words=f"{{actor}} asked for the map count of page {page} by "
                f"{reader}(), though nothing maps it{since}",
                doubt=self.doubt.reason_lost(0, int(log.ts[row])),
                counter="mapcount",
                expected=1,
                observed=0,
                inside=reader,
            )

    def findings(self) -> Iterator[Finding]:
        """All of them."""
        yield from self.underflow()
        yield from self.mapped_at_free()
        yield from self.without_reference()
        yield from self.refcount_below()
        yield from self.asked_unmapped()
