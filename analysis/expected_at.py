# SPDX-License-Identifier: GPL-2.0-or-later
"""The replayed values at the instant of a snapshot, for all lives in it at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints, expand
from analysis.counters import Replayed, Signal
from analysis.effects import RMAP
from analysis.in_flight import IN_FLIGHT_NS
from analysis.lives import READS, Lives
from analysis.log import Log
from analysis.plan import among
from analysis.replay import Replay
from analysis.truth import Snapshot
from probes.events import PIN_OPS


@dataclass(frozen=True)
class Present:
    """The lives that a snapshot shows: ``life`` and its ``frame`` and ``head`` in it.

    ``busy``: records of the life lie within the snapshot's span, so that the pages may
    have been read before or after that change; or a task that was not stopped, as ksmd and
    kswapd, may not have finished its last operation.  ``row``: the first row of the log that
    is later than the snapshot's beginning.
    """

    life: Ints
    frame: Ints
    head: Ints
    busy: Bools
    row: int

    def at_rest(self, lives: Lives, shot: Snapshot) -> Ints:
        """Places of those that did not change meanwhile, and of which every page is told: of
        hugetlb only the first two are there."""
        quiet = ~self.busy & ~lives.hugetlb[self.life]
        same = shot.orders(self.head, self.frame) == lives.order[self.life]
        return np.flatnonzero(quiet & same)


@dataclass(frozen=True)
class Expected:
    """Replayed values: folio counters by life; page values by (``owner``, ``page``)."""

    folio: Replayed
    owner: Ints
    page: Ints
    mapcount: Ints
    mappings: Ints
    known: Bools


def present(log: Log, lives: Lives, shot: Snapshot) -> Present:
    """Find the lives whose counters are all in a snapshot's frames.

    Those of a hugetlb folio of any size are in its first two pages.
    """
    begin, end = (int(n) for n in np.searchsorted(log.ts, [shot.ts_begin, shot.ts_end], "right"))
    frame, head, inside = shot.locate(lives.head)
    pages = np.where(lives.hugetlb, 2, np.int64(1) << lives.order)
    inside &= head + pages <= shot.pages.shape[1]
    alive = (lives.first < begin) & ((lives.death_row < 0) | (lives.death_row >= begin))
    life = np.flatnonzero(inside & alive)
    span = lives.of[begin:end][~among(log.op[begin:end], READS)]
    moving = np.concatenate([span, _unfinished(log, lives, shot, begin)])
    return Present(life, frame[life], head[life], np.isin(life, moving), begin)


def _unfinished(log: Log, lives: Lives, shot: Snapshot, begin: int) -> Ints:
    """The lives on which the last operation of a CPU before row ``begin`` may be under way, as its
    task has recorded nothing since, or one that was entered before it returns after it."""
    if len(shot.tasks) == 0 or begin == 0:
        return np.zeros(0, dtype=np.int64)
    since = int(np.searchsorted(log.ts, shot.ts_begin - IN_FLIGHT_NS, "right"))
    _, place = np.unique(log.raw["cpu"][since:begin][::-1], return_index=True)
    last = begin - 1 - place
    free = among(log.op[last], (*RMAP, *PIN_OPS)) & np.isin(log.pid[last], shot.tasks, invert=True)
    # Other parts of the trace may have a later one.
    next_rank = int(log.rank[begin] if begin < len(log) else log.rank[-1] + 1)
    last = last[free & (log.following[last] >= next_rank)]
    inside = np.flatnonzero((log.return_of[:begin] >= begin) & among(log.op[:begin], RMAP))
    life = lives.of[np.concatenate([last, inside])]
    return np.asarray(life[life >= 0])


def expected(lives: Lives, run: Replay, here: Present, counters: frozenset[str]) -> Expected:
    """The replayed state of the present lives just before row ``here.row``."""
    slot = np.searchsorted(run.lives, here.life)
    size = int(run.rows.max(initial=0)) + 2
    owner_of_row = np.repeat(np.arange(len(run.lives)), np.diff(run.bounds))
    row = min(here.row, size - 1)
    at = np.searchsorted(owner_of_row * size + run.rows, slot * size + row) - 1

    order = lives.order[here.life]
    pages = np.where(lives.hugetlb[here.life], 0, np.int64(1) << order)
    owner, key = expand(run.base[slot], pages)
    page = key - run.base[slot[owner]]
    start, since = run.initial(key, slot[owner])
    pte = start + run.every[at[owner]] + run.points_until(key, at[owner])
    entire, entire_known = run.entire[at], run.entire_known[slot]
    known = (at[owner] >= since) & entire_known[owner]

    def pages_mapped() -> Signal:
        mapped = np.bincount(owner[pte > 0], minlength=len(at)).astype(np.int64)
        return mapped, np.bincount(owner[~known], minlength=len(at)) == 0

    folio = Replayed(
        run=run,
        slot=slot,
        position=at,
        counters=counters,
        order=order,
        anon=lives.anon[here.life],
        hugetlb=lives.hugetlb[here.life],
        entire=entire,
        entire_known=entire_known,
        double_map=run.double_map[at],
        pte_sum=(run.pte_sum[at] + run.pte_start[slot], run.pte_start_known[slot]),
        pages_mapped=pages_mapped,
    )
    return Expected(folio, owner, page, pte + folio.offset[owner], pte + entire[owner], known)
