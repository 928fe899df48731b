# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds ``Trace.df_where`` against the page tables that the recorder walked at each snapshot.

Both are written out as sets of (snapshot, address space, virtual address, pfn).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.trace import Trace
from analysis.truth import PFN_MASK, Snapshot
from analysis.where import LARGEST

Page = tuple[int, int, int, int]


@dataclass(frozen=True)
class Compared:
    """``same``: pages that both have.  ``only_told``: those that page tables do not have, and
    ``only_walked`` those of folios that were born in the recording, but were not told."""

    same: int
    only_told: set[Page]
    only_walked: set[Page]


def compared(trace: Trace) -> Compared:
    """Compare all address spaces that were walked while their tasks stood still."""
    told: set[Page] = set()
    walked: set[Page] = set()
    for number, shot in enumerate(trace.snapshots):
        mm_of = _walked_spaces(trace, shot)
        here = _walked(trace, number, shot, mm_of)
        walked |= here & _born(trace, shot, here)
        told |= _told(trace, number, set(mm_of.values()))
        # A folio older than the recording may be told of, and need not be.
        older = here - walked
        walked |= older & told
    return Compared(len(told & walked), told - walked, walked - told)


def _walked_spaces(trace: Trace, shot: Snapshot) -> dict[int, int]:
    """The address space of each task that was walked."""
    spaces = trace.recording.spaces.at(shot.ts_begin)
    mm_of = {pid: mm for mm, pids in spaces.items() for pid in pids}
    return {pid: mm_of[pid] for pid in shot.tasks if pid not in shot.torn and pid in mm_of}


def _walked(trace: Trace, number: int, shot: Snapshot, mm_of: dict[int, int]) -> set[Page]:
    size = trace.meta["page_size"]
    return {
        (number, mm_of[int(run["pid"])], int(run["address"]) + page * size,
         (int(run["entry"]) & PFN_MASK) + page)
        for run in shot.runs
        if int(run["pid"]) in mm_of
        for page in range(int(run["pages"]))
    }  # fmt: skip


def _told(trace: Trace, number: int, mms: set[int]) -> set[Page]:
    size = trace.meta["page_size"]
    frame = trace.df_where()
    frame = frame[frame["snapshot"] == number]
    columns = [frame["mm"], frame["address"], frame["head_pfn"] + frame["first_page"]]
    return {
        (number, mm, address + page * size, pfn + page)
        for mm, address, pfn, pages in zip(
            *(column.tolist() for column in columns), frame["pages"].tolist(), strict=True
        )
        if mm in mms
        for page in range(pages)
    }


def _born(trace: Trace, shot: Snapshot, pages: set[Page]) -> set[Page]:
    """The pages whose folio, as of then, was born in the recording."""
    lives = trace.df_lives()
    alive = lives[(lives["birth_ts"] <= shot.ts_begin) & ~lives["hugetlb"]]
    alive = alive[alive["death_ts"].fillna(np.iinfo(np.int64).max) > shot.ts_begin]
    known = set(lives.index[lives["birth"] == "alloc"])
    for life, parent in lives.loc[lives["birth"] == "split", "parent"].items():
        if parent in known:
            known.add(life)
    own = alive[alive.index.isin(known) & (alive["order"] <= LARGEST)]
    pfns = {
        pfn
        for head, order in zip(own["head_pfn"], own["order"], strict=True)
        for pfn in range(head, head + (1 << order))
    }
    return {page for page in pages if page[3] in pfns}
