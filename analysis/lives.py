# SPDX-License-Identifier: GPL-2.0-or-later
"""Divides the log into the lives of folios: a pfn is reused, a life is not.

A life begins with its first record: an allocation, the split of a larger folio or, if it is
older than the recording, its first sight.  It ends with a free, with its own split, or unseen
when another folio appears in its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints, changes, distinct, first_of
from analysis.life_index import LifeIndex
from analysis.log import Log
from analysis.plan import ENTER, OP, RETURN, among
from probes.events import PIN_OPS

BIRTHS = ("alloc", "split", "first sight")
DEATHS = ("free", "split", "unseen", "alive")

#: What somebody asks about a folio, and changes nothing.
READS = ("read", "ask")
#: What a migration tries: told of the folio that it moves, or not.
MOVES = ("unmap_to_move", "move")

#: Operations on a folio that somebody holds, so that its order is certain.  A reader
#: holds nothing: what it sees may be stale and must not cut a life.
CUTTING = ("map", "unmap", "dup", "split_pmd", "split_folio", "deferred_split", "migrate",
           "alloc", "free", *PIN_OPS)  # fmt: skip


@dataclass(frozen=True)
class Lives:
    """All lives in order of their first record, and the life of each record.

    ``of``: per record of the log, the life's number or -1.  The other arrays have one
    element per life; ``birth`` and ``death`` index BIRTHS and DEATHS; rows are rows of
    the log; ``death_row`` is -1 while the folio lives; ``parent`` is a life or -1.
    """

    of: Ints
    head: Ints
    order: Ints
    first: Ints
    birth: Ints
    death: Ints
    death_row: Ints
    parent: Ints
    anon: Bools
    hugetlb: Bools
    index: LifeIndex

    def __len__(self) -> int:
        return len(self.head)

    def born_seen(self) -> Bools:
        """A mask of the lives whose counters were all zero when they began."""
        seen: Bools = self.birth != BIRTHS.index("first sight")
        return seen


def _order_epochs(log: Log, rows: Ints) -> Ints:
    """A number per row that grows when a folio of another order was seen in between."""
    epoch = np.zeros(len(rows), dtype=np.int64)
    order, pfn = log.order[rows], log.pfn[rows]
    for high in distinct(order)[1:]:
        block = pfn >> high
        is_high = order == high
        # Only blocks that were seen with both orders have anything to tell apart.
        both = np.intersect1d(
            distinct(block[is_high]), distinct(block[order < high]), assume_unique=True
        )
        if len(both) == 0:
            continue
        some = np.flatnonzero((order <= high) & np.isin(block, both))
        some = some[np.argsort(block[some], kind="stable")]
        high_there = is_high[some]
        epoch[some] += np.where(high_there, np.cumsum(~high_there), np.cumsum(high_there))
    return epoch


def _successful_splits(log: Log) -> tuple[Ints, Ints]:
    """Rows of the enter and the return of each folio split that was done."""
    done = np.flatnonzero((log.op == OP["split_folio"]) & (log.phase == RETURN) & ~log.failed)
    enter = log.enter_of[done]
    done, enter = done[enter >= 0], enter[enter >= 0]
    return enter, done


def _begins(log: Log, rows: Ints, epoch: Ints, enters: Ints, dones: Ints) -> Bools:
    """Where in ``rows`` (sorted by folio, then time) another life begins."""
    head, order = log.head[rows], log.order[rows]
    new_folio = changes(head, order)
    begins = new_folio | changes(epoch)
    begins |= log.op[rows] == OP["alloc"]
    free = log.op[rows] == OP["free"]
    again = free & log.freed[rows]
    begins[1:] |= free[:-1] & ~again[1:]
    # After a split that was done the same head is a new folio, whatever its order.
    group = np.cumsum(new_folio) - 1
    size = len(log) + 1
    keys = group * size + rows
    place = np.full(len(log), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    held = place[enters] >= 0
    after = np.searchsorted(keys, group[place[enters[held]]] * size + dones[held], "right")
    after = after[after < len(rows)]
    begins[after] = True
    return begins


def _attach(log: Log, lives: LifeIndex, death_row: Ints, of: Ints) -> None:
    """Give the records that cut nothing (readers, failed reads) the life of their page."""
    rows = np.flatnonzero(log.about_folio & (of < 0))
    life = lives.before(log.pfn[rows], rows)
    rows, life = rows[life >= 0], life[life >= 0]
    dead = (death_row[life] >= 0) & (rows > death_row[life])
    of[rows[~dead]] = life[~dead]
    # What a function that began on a folio returns belongs to that folio.
    returns = np.flatnonzero((log.enter_of >= 0) & among(log.op, ("split_folio", "read", *MOVES)))
    of[returns] = of[log.enter_of[returns]]


def cut(log: Log) -> Lives:
    """Find the lives in the whole log."""
    certain = log.read & among(log.op, CUTTING)
    certain &= (log.phase != RETURN) | log.after
    rows = np.flatnonzero(certain)
    epoch = _order_epochs(log, rows)
    by_folio = np.lexsort((log.order[rows], log.head[rows]))
    rows, epoch = rows[by_folio], epoch[by_folio]
    enters, dones = _successful_splits(log)
    number = np.cumsum(_begins(log, rows, epoch, enters, dones)) - 1 if len(rows) else rows

    first = rows[changes(number)]
    by_birth = np.argsort(first)
    rank = np.empty_like(by_birth)
    rank[by_birth] = np.arange(len(by_birth))
    first = first[by_birth]
    of = np.full(len(log), -1, dtype=np.int64)
    of[rows] = rank[number]

    head, order = log.head[first], log.order[first]
    index = LifeIndex(head, order, first, len(log))
    death, death_row, split = _deaths(log, of, index, enters, dones)
    parent = index.before(head, first)
    from_split = (parent >= 0) & split[parent] & (order[parent] > order)
    allocated = log.op[first] == OP["alloc"]
    birth = np.where(allocated, 0, np.where(from_split, 1, 2))
    _attach(log, index, death_row, of)
    return Lives(
        of=of,
        head=head,
        order=order,
        first=first,
        birth=birth,
        death=death,
        death_row=death_row,
        parent=np.where(from_split & ~allocated, parent, -1),
        anon=_any(of, (log.anon | log.plan.maps_anon[log.raw["probe"]]) & certain, len(first)),
        hugetlb=_any(of, log.hugetlb & certain, len(first)),
        index=index,
    )


def _any(of: Ints, flag: Bools, count: int) -> Bools:
    result = np.zeros(count, dtype=bool)
    result[of[flag & (of >= 0)]] = True
    return result


def _deaths(
    log: Log, of: Ints, index: LifeIndex, enters: Ints, dones: Ints
) -> tuple[Ints, Ints, Bools]:
    """How and where each life ended, and which ones ended by a split."""
    count = len(index.head)
    death = np.full(count, DEATHS.index("alive"), dtype=np.int64)
    overlap = index.next_overlap()
    row = overlap.copy()
    death[overlap >= 0] = DEATHS.index("unseen")

    split = np.zeros(count, dtype=bool)
    asked = np.flatnonzero((log.op == OP["split_folio"]) & (log.phase == ENTER) & (of >= 0))
    open_ended = asked[log.return_of[asked] < 0]
    # A split whose return is missing was done if smaller folios turned up in its place.
    split[of[open_ended]] = overlap[of[open_ended]] >= 0
    held = of[enters] >= 0
    life, done = of[enters[held]], dones[held]
    split[life] = True
    row[life] = np.where(row[life] < 0, done, np.minimum(row[life], done))
    death[split] = DEATHS.index("split")

    frees = np.flatnonzero((log.op == OP["free"]) & (of >= 0))
    freed, place = first_of(of[frees])
    row[freed] = frees[place]
    death[freed] = DEATHS.index("free")
    split[freed] = False
    return death, row, split
