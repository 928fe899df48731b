# SPDX-License-Identifier: GPL-2.0-or-later
"""The initial values of replays, and the time from which on a loss may have made them wrong.

Initial counters of folios older than the recording are in the snapshot at its start.
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Ints
from analysis.lives import Lives
from analysis.log import Log
from analysis.replay import NO_START, StartValues
from analysis.truth import Snapshot


def start_values(
    log: Log, lives: Lives, snapshots: list[Snapshot], counters: frozenset[str]
) -> StartValues:
    """Read the snapshot named "start", if it shows the folio before its first record.

    If the first record's observation differs from the snapshot, something happened between the
    two, and the snapshot is not used for that life.
    """
    shot = next((s for s in snapshots if s.name == "start"), None)
    if shot is None or len(lives) == 0 or len(shot.frames) == 0:
        return NO_START
    frame, head, inside = shot.locate(lives.head)
    row = np.searchsorted(log.ts, shot.ts_end, side="right")
    after = (lives.first >= row) & ~lives.born_seen() & ~lives.hugetlb & inside
    after &= lives.index.before(lives.head, lives.first) < 0
    after &= head + (np.int64(1) << lives.order) <= shot.pages.shape[1]
    life = np.flatnonzero(after)
    life = life[shot.orders(head[life], frame[life]) == lives.order[life]]

    mapcount, is_count = shot.mapcounts()
    observed, valid = log.counter("entire_mapcount")
    start = StartValues({}, {}, {}, shot.ts_begin)
    for one in life.tolist():
        here = (np.array([head[one]]), np.array([frame[one]]))
        entire = double_map = 0
        if lives.order[one] > 0:
            entire = int(shot.entire(*here)[0])
            if "double_map" in counters:
                double_map = int(shot.flag("double_map", *here)[0])
        first = lives.first[one]
        if valid[first] and observed[first] != entire:
            continue
        pages = slice(int(head[one]), int(head[one]) + (1 << int(lives.order[one])))
        pte = mapcount[frame[one], pages].copy()
        if "double_map" in counters:
            pte -= double_map if lives.anon[one] else entire
        kept = is_count[frame[one], pages] & (shot.layout.page_counts or lives.order[one] == 0)
        known: Ints = np.where(kept, pte, -1)
        start.entire[one], start.double_map[one], start.pte[one] = entire, double_map, known
    return start


def rests_since(log: Log, lives: Lives, start: StartValues) -> Ints:
    """The time (ns) from which on a missing record may make the replay of each life wrong.

    A life read from the snapshot at the start may have changed before its first record; the
    initial values of a split's folio, and its owners, follow from its parent's records.
    """
    since: Ints = log.ts[lives.first].astype(np.int64)
    read = np.fromiter(start.pte, np.int64)
    since[read] = np.minimum(since[read], start.ts)
    children = np.flatnonzero(lives.parent >= 0)
    while len(children):
        inherited = since[lives.parent[children]]
        children, inherited = (each[inherited < since[children]] for each in (children, inherited))
        since[children] = inherited
    return since
