# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a record's observation disagrees with the replay up to it (double entry)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.lives import Lives
from analysis.log import Log
from analysis.replay import Replay

#: The counters that are compared record by record.
COMPARED = ("entire_mapcount", "double_map", "mapcount", "large_mapcount", "total_mapped_pages")


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
    era = "double_map" in counters
    rows, acts = run.rows, run.acts
    life = lives.of[rows]
    batch = np.searchsorted(run.lives, life)
    position = np.arange(len(rows))
    before = np.where(log.after[rows], position, position - 1)
    inside = before >= run.bounds[batch]

    entire = run.entire - np.where(log.after[rows], 0, acts.entire)
    every = run.every - np.where(log.after[rows], 0, acts.every)
    double_map = np.where(inside, run.double_map[before], run.double_map_start[batch])

    page = log.pfn[rows] - lives.head[life]
    has_pages = ~lives.hugetlb[life]
    key = run.base[batch] + np.where(has_pages, page, 0)
    init, since = run.initial(key, batch)
    pte = init + every + run.points_until(key, before)
    pte_known = has_pages & (position >= since)

    partial = np.zeros(len(rows), dtype=np.int64)
    partial[acts.some_at] = acts.some_delta * acts.some_nr
    moved = acts.every * (np.int64(1) << lives.order[life]) + partial
    pte_sum = run.pte_sum + run.pte_start[batch] - np.where(log.after[rows], 0, moved)

    anon = lives.anon[life]
    offset = np.where(anon, double_map, entire) if era else np.zeros_like(entire)
    offset = np.where(lives.order[life] > 0, offset, 0)
    entire_known = run.entire_known[batch]
    sums_known = run.pte_start_known[batch] & entire_known
    expected: dict[str, tuple[Ints, Bools]] = {
        "entire_mapcount": (entire, entire_known),
        "double_map": (double_map, anon & has_pages),
        "mapcount": (pte + offset, pte_known & entire_known),
        "large_mapcount": (entire + pte_sum, sums_known),
        "total_mapped_pages": ((entire << lives.order[life]) + pte_sum, sums_known & has_pages),
    }
    found = []
    for counter in COMPARED:
        if counter not in counters:
            continue
        value, there = log.counter(counter)
        replayed, known = expected[counter]
        wrong = np.flatnonzero(there[rows] & known & (value[rows] != replayed))
        found.append(
            Divergences(counter, life[wrong], rows[wrong], value[rows[wrong]], replayed[wrong])
        )
    return found
