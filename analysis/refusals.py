# SPDX-License-Identifier: GPL-2.0-or-later
"""Splits and migrations that gave up because a folio had other references, and their holders.

This is no kernel bug, and so no finding of an audit, which checks whether counters are right.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import EAGAIN, EBUSY

import numpy as np

from analysis.arrays import Ints, changes
from analysis.part import Part
from analysis.pins import Ledger, pincounts
from analysis.plan import ENTER, OP, RETURN, among
from analysis.replay import Replay
from probes.events import PIN_OPS

#: What gives up, and what it answers where a folio is held.  The first one answers nothing: it has
#: given up where the folio is still mapped.
REFUSED = ("unmap_to_move", "split_folio", "move")
HELD = (-EAGAIN, -EBUSY)
#: How many holders are told of one.
TOLD = 8


@dataclass(frozen=True)
class Refusal:
    """Successive attempts of a task on a folio, with the same result.

    ``rows``: their records; ``result``: None if there is none.  At the last attempt:
    ``references`` to the folio, ``mappings`` by the records (-1: not known), ``cache``: one for
    each page of a file's folio, ``pins`` by the records (-1: not known), and ``holders``: records
    that had taken references before, whether these are pins, and how many were left.
    """

    life: int
    rows: tuple[int, ...]
    result: int | None
    references: int
    mappings: int
    cache: int
    pins: int
    holders: tuple[tuple[int, bool, int], ...]

    @property
    def beyond(self) -> int:
        """References other than mappings, the page cache's and the task's own; -1: not known."""
        return -1 if self.mappings < 0 else self.references - self.mappings - self.cache - 1


def refusals(part: Part) -> list[Refusal]:
    """The refusals of a part, in the order of lives."""
    log, lives = part.log, part.lives
    done = among(log.op, REFUSED) & (log.phase == RETURN) & (log.enter_of >= 0) & (lives.of >= 0)
    rows = np.flatnonzero(done)
    rows = rows[log.read[rows] & log.read[log.enter_of[rows]]]
    unmaps = log.op[rows] == OP["unmap_to_move"]
    rows = rows[unmaps | np.isin(log.aux[rows], HELD)]
    if not len(rows):
        return []
    run = part.replay(lives.of[rows])
    inside = _own_splits(part)
    # What looked at the folio: who found it mapped did so at the end, others at their beginning.
    looked = [
        row if log.op[row] == OP["unmap_to_move"] else int(log.enter_of[row])
        for row in rows.tolist()
        if log.op[row] != OP["unmap_to_move"] or (_mapped(part, run, row) > 0 and not inside(row))
    ]
    rows = np.array(looked, dtype=np.int64)
    rows = rows[np.argsort(lives.of[rows], kind="stable")]
    pins = np.flatnonzero(among(log.op, PIN_OPS) & (lives.of >= 0))
    pins = pins[np.argsort(lives.of[pins], kind="stable")]
    found: list[Refusal] = []
    ledger = Ledger(log, pins[:0])
    for tries in _runs(part, rows) if len(rows) else ():
        life = int(lives.of[tries[0]])
        if not found or found[-1].life != life:
            begin, end = np.searchsorted(lives.of[pins], [life, life + 1])
            ledger = Ledger(log, pins[begin:end])
        found.append(_refusal(part, run, tries, ledger))
    return found


def _own_splits(part: Part) -> Callable[[int], bool]:
    """Whether a record is of a task that is splitting the folio: a split unmaps it, too."""
    log, lives = part.log, part.lives
    begun: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero((log.op == OP["split_folio"]) & (log.phase == ENTER)).tolist():
        begun.setdefault((int(lives.of[row]), int(log.tid[row])), []).append(row)

    def inside(row: int) -> bool:
        rows = begun.get((int(lives.of[row]), int(log.tid[row])), [])
        place = bisect_right(rows, row) - 1
        return place >= 0 and not 0 <= log.return_of[rows[place]] < row

    return inside


def _mapped(part: Part, run: Replay, row: int) -> int:
    """Mappings of a folio before a record; -1: not known."""
    life = int(part.lives.of[row])
    slot = int(np.searchsorted(run.lives, life))
    if not (run.entire_known[slot] and run.pte_start_known[slot]):
        return -1
    at = _position(part, run, row)
    some = at >= run.bounds[slot]
    return int(run.pte_start[slot]) + int(some and run.entire[at] + run.pte_sum[at])


def _position(part: Part, run: Replay, row: int) -> int:
    """The last element of the replay of a folio before a record."""
    life = int(part.lives.of[row])
    slot = int(np.searchsorted(run.lives, life))
    return int(run.bounds[slot]) + len(run.rows_until(life, row)) - 1


def _runs(part: Part, rows: Ints) -> Iterator[Ints]:
    """Tries that follow each other."""
    log, lives = part.log, part.lives
    answer = np.where(log.phase[rows] == ENTER, log.aux[log.return_of[rows]], 0)
    edge = changes(lives.of[rows], log.tid[rows], log.function[rows], answer)
    yield from np.split(rows, np.flatnonzero(edge)[1:])


def _refusal(part: Part, run: Replay, tries: Ints, ledger: Ledger) -> Refusal:
    log, lives = part.log, part.lives
    row = int(tries[-1])
    life = int(lives.of[row])
    slot = np.searchsorted(run.lives, [life])
    of_file = not lives.anon[life] and not lives.hugetlb[life]
    pins, told = pincounts(run).at(run, np.array([_position(part, run, row)]), slot)
    ledger.until(row)
    began = log.phase[row] == ENTER
    return Refusal(
        life=life,
        rows=tuple(tries.tolist()),
        result=int(log.aux[log.return_of[row]]) if began else None,
        references=int(log.raw["refcount"][row]),
        mappings=_mapped(part, run, row),
        cache=(1 << int(lives.order[life])) * of_file,
        pins=int(pins[0]) if told[0] else -1,
        holders=tuple((one.first, one.pinned, one.left) for one in ledger.pinners(TOLD)),
    )
