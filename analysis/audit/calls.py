# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that do not fit their folio, of which __folio_rmap_sanity_checks() warns in debug kernels.

The double entry trusts the arguments of a call: it cannot see that there are too many pages.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.arrays import Bools, Ints, first_of
from analysis.audit.finding import Finding
from analysis.audit.listed import Listed
from analysis.doubt import Doubt
from analysis.effects import RMAP
from analysis.part import Part
from analysis.plan import OP, RETURN, among
from probes.events import LEVELS

PMD = LEVELS.index("pmd")


def calls(part: Part, doubt: Doubt, listed: Listed) -> Iterator[Finding]:
    """For each life, the first call of each kind that does not fit."""
    log, lives = part.log, part.lives
    called = log.read & among(log.op, RMAP) & (log.phase != RETURN) & (lives.of >= 0)
    row = np.flatnonzero(called)
    for at in _firsts(part, row[_beyond(part, row)], listed):
        pages, first = 1 << int(log.order[at]), int(log.pfn[at] - log.head[at])
        last = first + int(log.nr[at]) - 1
        yield _finding(
            part, at, f"for pages {first} to {last} of a folio that has {pages}", pages, last + 1
        )
    for at in _firsts(part, row[_level(part, row)], listed):
        pages = 1 << int(log.order[at])
        yield _finding(
            part, at, f"for a PMD mapping of a folio of {pages} pages", _pmd_pages(part), pages
        )
    as_file = _as_file(part, row)
    for at in _firsts(part, as_file[log.anon[as_file]], listed):
        yield _finding(part, at, "for an anonymous folio")
    late, before = _anon_after_file(part, row, as_file)
    for at in _firsts(part, late, listed):
        # It may have been freed and allocated in between.
        span = (int(log.ts[before[late == at][0]]), int(log.ts[at]))
        words = "for a folio that was mapped as a file's before"
        yield _finding(part, at, words, doubt=doubt.reason_lost(*span))


def _beyond(part: Part, row: Ints) -> Bools:
    """Pages that leave the folio."""
    log = part.log
    first = log.pfn[row] - log.head[row]
    return np.asarray(first + log.nr[row] > np.int64(1) << log.order[row])


def _level(part: Part, row: Ints) -> Bools:
    """A PMD that maps a folio of another size; hugetlb has sizes of its own."""
    log = part.log
    by_pmd = (log.level[row] == PMD) & ~part.lives.hugetlb[part.lives.of[row]]
    return np.asarray(by_pmd & (np.int64(1) << log.order[row] != _pmd_pages(part)))


def _pmd_pages(part: Part) -> int:
    return 1 << int(part.recording.meta.get("pmd_order", 9))


def _as_file(part: Part, row: Ints) -> Ints:
    """Rows that map a file's pages by their function, or by hugetlb's inlined
    page_dup_file_rmap()."""
    log, plan = part.log, part.plan
    maps = row[log.op[row] == OP["map"]]
    named = np.array(["file_rmap" in name for name in (*plan.functions, "")], dtype=bool)
    inlined = log.hugetlb[maps] & (plan.site[log.raw["probe"][maps]] >= 0)
    return np.asarray(maps[named[log.function[maps]] | inlined])


def _anon_after_file(part: Part, row: Ints, as_file: Ints) -> tuple[Ints, Ints]:
    """Rows that map as anonymous what was mapped as a file's earlier in its life, and that row."""
    log, of = part.log, part.lives.of
    life, first = first_of(of[as_file])
    began = np.full(len(part.lives), len(log), dtype=np.int64)
    began[life] = as_file[first]
    as_anon = part.plan.maps_anon[log.raw["probe"][row]]
    late: Ints = row[as_anon & (row > began[of[row]])]
    # The life of a hugetlb folio goes on in the pool: what nothing maps may be another's by now.
    mapped = log.counter("entire_mapcount")[0][late] > 0
    late = late[mapped | ~log.hugetlb[late]]
    return late, began[of[late]]


def _firsts(part: Part, row: Ints, listed: Listed) -> list[int]:
    """The first of some rows of each life, as far as there is room for them."""
    _, place = first_of(part.lives.of[row])
    first = np.sort(row[place])
    return [int(first[at]) for at in listed.first("wrong-call", "pages", first)]


def _finding(
    part: Part, row: int, what: str, expected: int | None = None, observed: int | None = None,
    doubt: str = "",
) -> Finding:  # fmt: skip
    return Finding(
        rule="wrong-call",
        life=int(part.lives.of[row]),
        pfn=int(part.log.pfn[row]),
        rows=(row,),
        actor=row,
        words=f"{{actor}} called {{function}} {what}",
        doubt=doubt,
        counter="pages" if expected is not None else "",
        expected=expected,
        observed=observed,
    )
