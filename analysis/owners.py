# SPDX-License-Identifier: GPL-2.0-or-later
"""The owners of a large folio, as the kernel tracks them: replays its two slots for mm ids.

Since commit 6af8cb80d3a9 ("mm/rmap: basic MM owner tracking for large folios (!hugetlb)")
(in v6.15) a folio has two slots, each for the id of an mm and how often that maps the folio, and
a bit that says that more than one mm may.  Which slot an mm gets, and whether it gets any,
depends on the order of all operations: so they are done one after the other.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from analysis.in_flight import in_flight
from analysis.replay import AfterEach, Replay
from probes.counters import SLOTS


class Slots(NamedTuple):
    """The slots of a folio, in the order of SLOTS; an id of 0: it is free."""

    count_0: int = 0
    count_1: int = 0
    id_0: int = 0
    id_1: int = 0
    shared: int = 0

    def mapped(self, mm: int, more: int, total: int) -> Slots:
        """Apply ``more`` new mappings by ``mm``, after which the folio has ``total`` mappings."""
        if mm == self.id_0:
            return self._replace(count_0=self.count_0 + more)
        if mm == self.id_1:
            return self._replace(count_1=self.count_1 + more)
        if not self.id_0:
            # Others may map it that found no slot.
            return self._replace(id_0=mm, count_0=more, shared=self.shared or int(total != more))
        if not self.id_1:
            return self._replace(id_1=mm, count_1=more, shared=1)
        return self

    def unmapped(self, mm: int, less: int, total: int) -> Slots:
        """Apply the removal of ``less`` mappings of ``mm``, after which ``total`` are left."""
        left = self
        # A slot has too few where its mm found none for its first mappings.
        if mm == self.id_0:
            if self.count_0 > less:
                return self._replace(count_0=self.count_0 - less)
            left = self._replace(id_0=0, count_0=0)
        elif mm == self.id_1:
            if self.count_1 > less:
                return self._replace(count_1=self.count_1 - less)
            left = self._replace(id_1=0, count_1=0)
        return left._replace(shared=0) if total in (left.count_0, left.count_1) else left


FREE = Slots()


_FOUND: WeakKeyDictionary[Replay, AfterEach] = WeakKeyDictionary()


def owners(run: Replay) -> AfterEach:
    """Values of SLOTS, one column for each, of all lives of a replay; computed once."""
    if run not in _FOUND:
        _FOUND[run] = _replayed(run)
    return _FOUND[run]


def _replayed(run: Replay) -> AfterEach:
    """Do all operations one after the other.

    What a record saw of a folio older than the recording is what the folio began with; nothing is
    set right by it.  But where two tasks were at work on a folio at once nobody knows which of them
    found a slot free: from then on its slots are not known, until nothing maps the folio.  That the
    slots are as expected in the middle of it does not help: an mm that found none is not in them.
    """
    log, lives, acts, rows = run.log, run.of, run.acts, run.rows
    size, count = len(rows), len(run.lives)
    folio = np.repeat(np.arange(count), np.diff(run.bounds))
    order = lives.order[run.lives][folio]
    change = acts.entire + (acts.every << order)
    change[acts.some_at] += acts.some_delta * acts.some_nr
    total = run.entire + run.pte_sum + run.pte_start[folio]
    total_known = (run.entire_known & run.pte_start_known)[folio]
    mm = log.owner("mm_id")[0][rows]
    after = log.after[rows]
    observed = np.stack([log.counter(slot.name)[0][rows] for slot in SLOTS], axis=1)
    told = log.counter(SLOTS[0].name)[1][rows]

    values = np.zeros((size + count, len(SLOTS)), dtype=np.int64)
    known = np.concatenate([np.zeros(size, dtype=bool), run.born])
    steps = np.flatnonzero(((change != 0) | told) & (order > 0) & ~lives.hugetlb[run.lives][folio])
    raced = in_flight(log, lives, rows[steps])
    columns = (folio, change, total, total_known, mm, told, after)
    place, state, sure, begun = -1, FREE, False, False
    for at, here, step, sum_, summed, who, seen, later, race in zip(
        steps.tolist(), *(column[steps].tolist() for column in columns), raced.tolist(), strict=True
    ):
        if here != place:
            place, state = here, FREE
            sure = begun = bool(run.born[here])
        if seen and not later and not begun:
            state, sure, begun = Slots(*observed[at].tolist()), True, True
        if race:
            sure = sure and not step and (not seen or state == tuple(observed[at].tolist()))
        if step:
            sure = sure and summed and who != 0
            if sure:
                state = (
                    state.mapped(who, step, sum_) if step > 0 else state.unmapped(who, -step, sum_)
                )
            if summed and sum_ == 0 and not race:
                state, sure, begun = FREE, True, True
        if seen and later and not begun and not race:
            state, sure, begun = Slots(*observed[at].tolist()), True, True
        values[at], known[at] = state, sure
    # In between nothing changes.
    decided = np.full(size, -1, dtype=np.int64)
    decided[steps] = steps
    last = np.maximum.accumulate(decided) if size else decided
    last = np.where(last >= run.bounds[folio], last, size + folio)
    values[:size], known[:size] = values[last], known[last]
    return AfterEach(values, known)
