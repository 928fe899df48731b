# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of an audit, and what in the kernel each of them rests on."""

from __future__ import annotations

from dataclasses import dataclass

#: error: a counter is wrong, or what /proc makes of it.  race: a reader held no reference to what
#: it read.
SEVERITIES = ("error", "race")
CERTAINTIES = ("certain", "possible")


@dataclass(frozen=True)
class Rule:
    """One rule: the severity of a breach, and what in the kernel it rests on."""

    severity: str
    rests_on: str


RULES: dict[str, Rule] = {
    "double-entry": Rule(
        "error",
        "a counter equals its start value plus the changes that mm/rmap.c and fork's copies make",
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
        "each page-table entry that maps a page counts one in its map count (mm/rmap.c)",
    ),
    # _nr_pages_mapped: commit be5ef2d9b006 ("mm,thp,rmap: subpages_mapcount of PTE-mapped
    # subpages") (in v6.2); _large_mapcount: commit 05c5323b2a34 ("mm: track mapcount of large
    # folios in single value") (in v6.10).
    "counters-disagree": Rule(
        "error",
        "at rest a folio's counters agree with its pages': _large_mapcount counts all mappings, "
        "_nr_pages_mapped the pages that have one, and with PG_double_map each _mapcount is one "
        "higher",
    ),
    "published": Rule(
        "error",
        "what /proc shows of a page follows from its map count, as documented",
    ),
    # Checked in kernels with CONFIG_DEBUG_VM since v6.8; true of the older functions as well.
    "wrong-call": Rule(
        "error",
        "an rmap call stays within its folio, uses a PMD only for a folio of that size, and fits "
        "the folio's type, anonymous or file (__folio_rmap_sanity_checks() and its callers)",
    ),
    "underflow": Rule(
        "error", "a map count is raised before it is lowered: it is never below zero"
    ),
    "mapped-at-free": Rule(
        "error",
        "free_pages_prepare() expects all map counts of a folio to be zero "
        '("nonzero mapcount" in page_bad_reason())',
    ),
    "mapped-at-split": Rule(
        "error",
        "a folio is split only after unmap_folio() has removed every mapping",
    ),
    "map-without-reference": Rule(
        "error",
        "a mapping holds a reference: the refcount of a mapped page is above zero",
    ),
    "refcount-below-mapcount": Rule("error", "every mapping holds a reference to the folio"),
    # Commit 6c287605fd56 ("mm: remember exclusively mapped anonymous pages with PG_anon_exclusive")
    # (in v5.19).
    "exclusive-while-shared": Rule(
        "error",
        "a page that is marked exclusive is mapped by one process alone: a write would reuse it "
        "without a copy (PG_anon_exclusive in include/linux/page-flags.h)",
    ),
    # Before v6.9 copy_present_ptes() was copy_present_pte(), which did the same for one entry.
    "writable-while-shared": Rule(
        "error",
        "fork takes the right to write from both copies of an anonymous page (copy_present_ptes() "
        "and copy_huge_pmd()), and nothing gives it back while another address space maps the page "
        "(PG_anon_exclusive in include/linux/page-flags.h)",
    ),
    "mapping-gone": Rule(
        "error",
        "a folio that is mapped belongs to an anon_vma or a file: folio->mapping is cleared when "
        "all its mappings are gone",
    ),
    # Commit 24d7275ce279 ("fs/proc: task_mmu.c: don't read mapcount for migration entry")
    # (in v5.17).
    "asked-unmapped": Rule(
        "error",
        "a reader that walks page tables asks for the map count of a page only where an entry maps "
        "it: behind a migration entry it may be split or freed meanwhile (smaps_account())",
    ),
    "reader-race": Rule(
        "race",
        "a page that is read without a reference may be freed, split or reused meanwhile "
        "(stable_page_flags() and similar functions in fs/proc/page.c)",
    ),
    "leak": Rule("error", "exit_mmap() removes every mapping of an address space"),
}
