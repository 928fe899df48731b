# SPDX-License-Identifier: GPL-2.0-or-later
"""Bugs that kernels really had: which of them are planted again, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Historic:
    """A bug by the commit that fixed it.

    `planted`: the name of its row in vm/mutants.py; else `needed`: why it has none, and what would
    have to be recorded or asked to see it.
    """

    fix: str
    version: str  # of the kernel that has the fix first
    was: str
    planted: str = ""
    needed: str = ""


HISTORIC = (
    Historic(
        "ab74ef708dc5", "5.19",
        "UFFDIO_CONTINUE into a private mapping overwrites the map count of a hugetlb file's page",
        planted="hugetlb-continue-anonymous",
    ),
    Historic(
        "f58df566524e", "7.0", "fault-around beside a truncation maps pages beyond the folio",
        planted="fault-around-beyond",
    ),
    Historic(
        "3f8968e9cbf9", "7.1",
        "reclaim counts a device-exclusive page as often as the pages of the batch before it",
        planted="unmap-batch-twice",
    ),
    Historic(
        "29f40594a281", "7.0",
        "reclaim gives up on a batch of pages and restores all of them writable, those that are "
        "shared with another process, too",
        planted="restored-writable",
    ),
    Historic(
        "24d7275ce279", "5.17",
        "smaps asks for the map count of a page under migration, and PageDoubleMap()'s check fails",
        planted="smaps-reads-migration",
    ),
    Historic(
        "d99e3140a4d3", "6.9",
        "folio_test_hugetlb() takes a folio for a hugetlb one that is being split",
        needed="The fix moved the mark of hugetlb from a flag to the page's type, so that it is "
        "not undone by one edit. A reader of such a folio is told as a race already; that its "
        "answer was wrong would need the answer in the record.",
    ),
    Historic(
        "829ae0f81ce0", "6.2",
        "a forked huge page looks pinned to compaction and alloc_contig_range(): memory cannot be "
        "taken offline",
        needed="All counts are right, and nothing is refused that is recorded: "
        "isolate_migratepages_block() passes the folio by, without a call that could be probed. "
        "`holders` shows at a mark that the folio has no reference beside its mappings; that it "
        "was passed by would need a record of the page at which alloc_contig_range() gave up.",
    ),
    Historic(
        "6287b7dae809", "6.2",
        "PMD mappings that come and go beside PTE mappings leave NR_ANON_MAPPED or NR_FILE_MAPPED "
        "wrong",
        needed="The counts of folios are right, the statistics are not. /proc/vmstat would have to "
        "be part of a snapshot, and all mapped memory be watched to hold it against.",
    ),
    Historic(
        "732ed55823fc", "5.13",
        "the split of a folio does not wait for a zap that cleared an entry and has to count it",
        needed="Where the split does not find all mappings gone it cannot freeze the references, "
        "gives up and maps the pages again: no count is wrong, only a check of debug kernels "
        "failed. `holders` tells that a split gave up, as it does of any.",
    ),
)  # fmt: skip
