# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a record's observation disagrees with the replay up to it (double entry)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Ints
from analysis.counters import COUNTERS, Replayed
from analysis.lives import Lives
from analysis.log import Log
from analysis.replay import Replay


@dataclass(frozen=True)
class Divergences:
    """Disagreements of one counter, in the order of life and time."""

    counter: str
    life: Ints
    row: Ints
    observed: Ints
    replayed: Ints


def divergences(log: Log, lives: Lives, run: Replay, counters: frozenset[str]) -> list[Divergences]:
    """Compare every observation of the replayed lives with the replay."""
    rows, acts = run.rows, run.acts
    life = lives.of[rows]
    slot = np.searchsorted(run.lives, life)
    position = np.arange(len(rows))
    before = np.where(log.after[rows], position, position - 1)
    inside = before >= run.bounds[slot]

    entire = run.entire - np.where(log.after[rows], 0, acts.entire)
    every = run.every - np.where(log.after[rows], 0, acts.every)
    double_map = np.where(inside, run.double_map[before], run.double_map_start[slot])

    page = log.pfn[rows] - lives.head[life]
    has_pages = ~lives.hugetlb[life]
    key = run.base[slot] + np.where(has_pages, page, 0)
    init, since = run.initial(key, slot)
    pte = init + every + run.points_until(key, before)

    partial = np.zeros(len(rows), dtype=np.int64)
    partial[acts.some_at] = acts.some_delta * acts.some_nr
    moved = acts.every * (np.int64(1) << lives.order[life]) + partial
    pte_sum = run.pte_sum + run.pte_start[slot] - np.where(log.after[rows], 0, moved)

    folios = Replayed(
        run=run,
        slot=slot,
        position=before,
        counters=counters,
        order=lives.order[life],
        anon=lives.anon[life],
        hugetlb=lives.hugetlb[life],
        entire=entire,
        entire_known=run.entire_known[slot],
        double_map=double_map,
        pte_sum=(pte_sum, run.pte_start_known[slot]),
        pte=(pte, position >= since),
    )
    found = []
    for counter, row in COUNTERS.items():
        if counter not in counters or not row.by_record:
            continue
        replayed, known = row.of(folios)
        value, there = log.counter(counter)
        wrong = np.flatnonzero(there[rows] & known & (value[rows] != replayed))
        found.append(
            Divergences(counter, life[wrong], rows[wrong], value[rows[wrong]], replayed[wrong])
        )
    return found
