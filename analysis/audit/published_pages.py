# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages of a snapshot whose map counts are known, and which processes map them where.

The counters may be right and the value that /proc derives from them wrong.  So only folios are
taken whose counters agree with the replay, and which did not change during the snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints, Records, expand
from analysis.expected_at import expected, present
from analysis.part import Part
from analysis.replay import Replay
from analysis.truth import PFN_MASK, Snapshot

#: page->mapping of a page that KSM merged (include/linux/page-flags.h).
MAPPING_KSM = 3
#: Flag of /proc/kpageflags: the page is the kernel's own, as those of the vDSO are, of which
#: readers leave out some (can_gather_numa_stats() in fs/proc/task_mmu.c).
RESERVED = 32


@dataclass(frozen=True)
class Pages:
    """Pages whose map ``count`` is known, by ascending ``pfn``; ``page``: its place in the folio
    of ``life``, which has ``size`` pages, and is anonymous (``anon``) or of KSM (``ksm``)."""

    pfn: Ints
    life: Ints
    page: Ints
    size: Ints
    count: Ints
    anon: Bools
    ksm: Bools

    def find(self, pfn: Ints) -> Ints:
        """The indices of some pages here; -1: not known."""
        if len(self.pfn) == 0:
            return np.full(len(pfn), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.pfn, pfn), len(self.pfn) - 1)
        return np.where(self.pfn[at] == pfn, at, -1)


def known_pages(part: Part, run: Replay, shot: Snapshot, wrong: Ints) -> Pages:
    """The pages of folios at rest in a snapshot, except those of lives whose counters are WRONG.

    Pages of a large folio that have no counts (CONFIG_NO_PAGE_MAPCOUNT) are not known.
    """
    here, lives = present(part.log, part.lives, shot), part.lives
    want = expected(lives, run, here, part.counters)
    order = lives.order[here.life]
    fit = ~here.busy & ~np.isin(here.life, wrong)
    fit &= shot.orders(here.head, here.frame) == order
    fit &= part.plan.page_counts | (order == 0)
    flags = shot.kpageflags[here.frame[want.owner], here.head[want.owner] + want.page]
    own = (flags >> np.uint64(RESERVED) & np.uint64(1)).astype(bool)
    some = np.flatnonzero(fit[want.owner] & want.known & ~own)
    pfn = lives.head[here.life[want.owner[some]]] + want.page[some]
    some = some[np.argsort(pfn)]
    who = want.owner[some]
    mapping = shot.word("mapping", "<i8", here.head, here.frame)
    ksm = mapping & MAPPING_KSM == MAPPING_KSM
    return Pages(
        np.sort(pfn), here.life[who], want.page[some], np.int64(1) << order[who],
        want.mappings[some], shot.anon(here.head, here.frame)[who], ksm[who],
    )  # fmt: skip


@dataclass(frozen=True)
class Entries:
    """Present entries of pagemaps that map known pages, by pid and address.

    ``at``: the index of the page in Pages.
    """

    pid: Ints
    address: Ints
    bits: Ints
    at: Ints

    def between(self, pid: int, start: int, end: int) -> slice:
        """The entries of a part of a process's memory."""
        first, last = np.searchsorted(self.pid, [pid, pid + 1]).tolist()
        low, high = np.searchsorted(self.address[first:last], [start, end]).tolist()
        return slice(first + low, first + high)


def entries_of(runs: Records, pages: Pages, page_size: int) -> Entries:
    """The entries of a snapshot, from its runs."""
    owner, place = expand(np.zeros(len(runs), dtype=np.int64), runs["pages"].astype(np.int64))
    bits = runs["entry"].astype(np.int64)[owner]
    at = pages.find((bits & PFN_MASK) + place)
    address = runs["address"].astype(np.int64)[owner] + place * page_size
    pid = runs["pid"].astype(np.int64)[owner]
    # The bit of a page that is present is the number's sign.
    keep = np.flatnonzero((at >= 0) & (bits < 0))
    keep = keep[np.lexsort((address[keep], pid[keep]))]
    return Entries(pid[keep], address[keep], bits[keep], at[keep])
