# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules that an audit holds a trace against, and what each of them rests on."""

from __future__ import annotations

from dataclasses import dataclass

#: error: a counter is wrong, or what /proc makes of it.  race: somebody looked without a right to
#: what he saw.
SEVERITIES = ("error", "race")
CERTAINTIES = ("certain", "possible")


@dataclass(frozen=True)
class Rule:
    """One rule: how bad a breach is, and the kernel's own words for it."""

    severity: str
    rests_on: str


RULES: dict[str, Rule] = {
    "double-entry": Rule(
        "error",
        "a counter is what it began with plus the changes of mm/rmap.c and of fork's copies",
    ),
    # From commit 53f9263baba6 ("mm: rework mapcount accounting to enable 4k mapping of THPs")
    # (in v4.5) to commit cb67f4282bf9 ("mm,thp,rmap: simplify compound page mapcount handling")
    # (in v6.2).
    "double-map": Rule(
        "error",
        "__split_huge_pmd_locked() sets PG_double_map and adds one to every page's _mapcount "
        "while another PMD mapping is left; both go when the last PMD mapping goes",
    ),
    "page-tables": Rule(
        "error",
        "each page-table entry that maps a page is one in its map count (mm/rmap.c)",
    ),
    # _nr_pages_mapped: commit be5ef2d9b006 ("mm,thp,rmap: subpages_mapcount of PTE-mapped
    # subpages") (in v6.2); _large_mapcount: commit 05c5323b2a34 ("mm: track mapcount of large
    # folios in single value") (in v6.10).
    "counters-disagree": Rule(
        "error",
        "at rest the folio's counters say the same as its pages': _large_mapcount is all "
        "mappings, _nr_pages_mapped the pages that have one, and a _mapcount holds the offset",
    ),
    "published": Rule(
        "error",
        "what /proc tells of a page follows from its map count, as the documentation says",
    ),
    # Checked in kernels with CONFIG_DEBUG_VM since v6.8; true of the older functions as well.
    "wrong-call": Rule(
        "error",
        "a call maps or unmaps pages of one folio, by PMD a folio of that size, and as a file's "
        "or as anonymous what is so (__folio_rmap_sanity_checks() and its callers in mm/rmap.c)",
    ),
    "underflow": Rule("error", "a map count is raised before it is lowered: never below zero"),
    "mapped-at-free": Rule(
        "error",
        "free_pages_prepare() takes a folio whose map counts are all zero "
        '("nonzero mapcount" in page_bad_reason())',
    ),
    "mapped-at-split": Rule(
        "error",
        "a folio is split when unmap_folio() has taken every mapping away",
    ),
    "map-without-reference": Rule(
        "error",
        "who maps a page holds a reference to it: its refcount is above zero",
    ),
    "refcount-below-mapcount": Rule("error", "every mapping holds a reference to the folio"),
    "reader-race": Rule(
        "race",
        "what is looked at without a reference may be freed, split or reused meanwhile "
        "(stable_page_flags() and its friends in fs/proc/page.c)",
    ),
    "leak": Rule("error", "exit_mmap() takes every mapping of a task away"),
}
