# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters of one folio that must agree with each other in a snapshot, at rest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.arrays import Bools, Ints, expand
from analysis.audit.actor import AFTER, UNTOUCHED, last_act
from analysis.audit.finding import Finding, plain
from analysis.audit.listed import Listed
from analysis.counters import ENTIRELY_MAPPED, FOLIO
from analysis.doubt import Doubt
from analysis.expected_at import Present, present
from analysis.part import Part
from analysis.replay import Replay
from analysis.truth import Snapshot
from analysis.truth_frame import folio_values, has_counter


def _folios(part: Part, shot: Snapshot, here: Present) -> Ints:
    """Which of the present lives the pages show as large folios, quiet meanwhile."""
    order = part.lives.order[here.life]
    plain = ~part.lives.hugetlb[here.life]
    shown = shot.orders(here.head, here.frame) == order
    return np.flatnonzero(shown & (order > 0) & plain & ~here.busy)


def _checks(
    part: Part, shot: Snapshot, life: Ints, head: Ints, frame: Ints
) -> Iterator[tuple[str, Ints, Ints, Bools]]:
    """(counter, what it must be, what it is, where it is wrong), by folio."""
    kept = {name for name in FOLIO if has_counter(shot, name, part.counters)}
    if "entire_mapcount" not in kept:
        return
    owner, page = expand(head, np.int64(1) << part.lives.order[life])
    value, is_count = shot.mapcounts()
    counts = np.where(is_count, value, 0)[frame[owner], page]
    pages = np.bincount(owner, minlength=len(life)).astype(np.int64)
    entire = folio_values(shot, "entire_mapcount", head, frame)

    def total(values: Ints) -> Ints:
        return np.bincount(owner, weights=values, minlength=len(life)).astype(np.int64)

    if "large_mapcount" in kept:
        large = folio_values(shot, "large_mapcount", head, frame)
        yield "large_mapcount", entire + total(counts), large, large != entire + total(counts)
    if "nr_pages_mapped" in kept:
        want = total((counts > 0).astype(np.int64)) + ENTIRELY_MAPPED * (entire > 0)
        have = folio_values(shot, "nr_pages_mapped", head, frame)
        yield "nr_pages_mapped", want, have, have != want
    if "double_map" in kept:
        anon = part.lives.anon[life]
        double_map = folio_values(shot, "double_map", head, frame)
        yield "double_map", entire, double_map, anon & (double_map > entire)
        # Every page's count holds the offset: DoubleMap's, or a file folio's PMD mappings.
        offset = np.where(anon, double_map, entire)
        with_it = total((counts >= offset[owner]).astype(np.int64))
        yield "pages with the offset", pages, with_it, with_it < pages


def at_rest(part: Part, run: Replay, doubt: Doubt, listed: Listed) -> Iterator[Finding]:
    """Folios whose own counters contradict each other in a snapshot."""
    if not part.plan.page_counts:
        # Nothing to hold the folio's counters against, since commit 749492229e3b ("mm: stop
        # maintaining the per-page mapcount of large folios (CONFIG_NO_PAGE_MAPCOUNT)") (in v6.15).
        return
    for number, shot in enumerate(part.snapshots):
        here = present(part.log, part.lives, shot)
        some = _folios(part, shot, here)
        if len(some) == 0:
            continue
        life, head, frame = here.life[some], here.head[some], here.frame[some]
        for counter, want, have, wrong in _checks(part, shot, life, head, frame):
            bad = np.flatnonzero(wrong)
            for at in bad[listed.first("counters-disagree", counter, life[bad])].tolist():
                last = last_act(part.log, run.rows_until(int(life[at]), here.row))
                words = (
                    f"{counter} is {have[at]} and its pages make it {want[at]} in the "
                    f"snapshot '{number} {plain(shot.name)}', "
                )
                yield Finding(
                    rule="counters-disagree",
                    life=int(life[at]),
                    pfn=int(part.lives.head[life[at]]),
                    rows=(last if last >= 0 else int(part.lives.first[life[at]]),),
                    actor=last,
                    words=words + (AFTER if last >= 0 else UNTOUCHED),
                    doubt=doubt.at_rest(shot.ts_begin, shot.ts_end),
                    counter=counter,
                    expected=int(want[at]),
                    observed=int(have[at]),
                    seen=shot.ts_begin,
                )
