# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds which life a page belonged to at a place in the log.

Folios are naturally aligned, so two of them either do not overlap or one contains the other:
one sorted search per order that occurs is enough, whatever the number of lives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Ints, distinct


@dataclass(frozen=True)
class LifeIndex:
    """An index over lives: head pfn, order and first row in the log of each."""

    head: Ints
    order: Ints
    first: Ints
    rows: int

    def _ranked(self, block: Ints, at: Ints) -> tuple[Ints, Ints]:
        """Sort keys for (block, row) pairs; blocks are ranked to keep keys small."""
        ranks = distinct(block)
        return np.searchsorted(ranks, block) * (self.rows + 1) + at, ranks

    def before(self, pfn: Ints, row: Ints) -> Ints:
        """The youngest life that covers ``pfn`` and began before ``row``; -1: none."""
        found = np.full(len(pfn), -1, dtype=np.int64)
        born = np.full(len(pfn), -1, dtype=np.int64)
        for order in distinct(self.order):
            lives = np.flatnonzero(self.order == order)
            keys, blocks = self._ranked(self.head[lives] >> order, self.first[lives])
            by_key = np.argsort(keys, kind="stable")
            lives, keys = lives[by_key], keys[by_key]
            wanted = pfn >> order
            rank = np.searchsorted(blocks, wanted)
            known = rank < len(blocks)
            known[known] = blocks[rank[known]] == wanted[known]
            place = np.searchsorted(keys, rank * (self.rows + 1) + row) - 1
            known &= place >= 0
            known[known] = self.head[lives[place[known]]] >> order == wanted[known]
            known[known] = self.first[lives[place[known]]] > born[known]
            found[known] = lives[place[known]]
            born[known] = self.first[lives[place[known]]]
        return found

    def next_overlap(self) -> Ints:
        """For each life the row where a later life takes a page of it; -1: none."""
        never = np.iinfo(np.int64).max
        taken = np.full(len(self.head), never, dtype=np.int64)
        orders = distinct(self.order)
        for mine in orders:
            lives = np.flatnonzero(self.order == mine)
            for other in orders:
                others = np.flatnonzero(self.order == other)
                shift = max(mine, other)
                keys, blocks = self._ranked(self.head[others] >> shift, self.first[others])
                keys.sort()
                wanted = self.head[lives] >> shift
                rank = np.searchsorted(blocks, wanted)
                place = np.searchsorted(
                    keys, rank * (self.rows + 1) + self.first[lives], side="right"
                )
                hit = place < len(keys)
                hit[hit] = keys[place[hit]] // (self.rows + 1) == rank[hit]
                hit[hit] = blocks[rank[hit]] == wanted[hit]
                row = np.where(hit, keys[np.where(hit, place, 0)] % (self.rows + 1), never)
                taken[lives] = np.minimum(taken[lives], row)
        return np.where(taken == never, -1, taken)
