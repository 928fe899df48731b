# SPDX-License-Identifier: GPL-2.0-or-later
"""Accounting bugs to plant in kernels: what each bug breaks, and how it has to be found.

All bugs of a kernel are built into one image, and inactive in it until their number is written to
BUG_SWITCH: so the same image is also the healthy kernel for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vm import arch, kbuild
from vm.kbuild import Edit

BUG_SWITCH = "/sys/module/kernel/parameters/planted_bug"
# In the new text of an edit: true while this bug is the chosen one.
AWAKE = "AWAKE"


@dataclass(frozen=True)
class Mutant:
    """One bug. `function` is the probed function that the audit must name for it."""

    name: str
    breaks: str
    edit: Edit
    workload: str
    function: str
    record: tuple[str, ...] = ()  # more options for the recorder
    ruins: bool = False  # leaves a kernel behind in which nothing else should be recorded


@dataclass(frozen=True)
class Base:
    """A kernel with its bugs; the place in the list is a bug's number, from 1 on."""

    name: str
    suite: str
    package: str
    mutants: tuple[Mutant, ...]
    options: tuple[str, ...] = ()  # more of the kernel's configuration
    machine: arch.Arch = arch.GUEST

    @property
    def recipe(self) -> kbuild.Recipe:
        edits = (_SWITCH, *(self._edit(mutant) for mutant in self.mutants))
        return kbuild.Recipe(
            self.name,
            self.suite,
            self.package,
            ("guest.config", *self.machine.KCONFIG),
            edits,
            self.options,
            machine=self.machine,
        )

    def number(self, mutant: Mutant) -> int:
        return self.mutants.index(mutant) + 1

    def _edit(self, mutant: Mutant) -> Edit:
        awake = f"({{ extern int planted_bug; planted_bug == {self.number(mutant)}; }})"
        return replace(mutant.edit, new=mutant.edit.new.replace(AWAKE, awake))


# The variable behind BUG_SWITCH, before a function of mm/rmap.c that all kernels have.
_SWITCH = Edit(
    "mm/rmap.c",
    "folio_mkclean",
    "int folio_mkclean(",
    "#include <linux/moduleparam.h>\n"
    "int planted_bug;\n"
    "core_param(planted_bug, planted_bug, int, 0644);\n"
    "int folio_mkclean(",
)

# Where a bug strikes one page alone, it is not page 0: the head's count is looked at more often.
# The bugs leave pages of order 0 alone where they can, or the guest itself would suffer.
_OF_6_1 = (
    Mutant(
        "unmap-misses-page",
        "removing the PTE mapping of page 7 of a huge page does not count",
        Edit(
            "mm/rmap.c",
            "page_remove_rmap",
            "if (!atomic_add_negative(-1, &page->_mapcount))",
            "if ((AWAKE && PageTail(page) && page_to_pfn(page) % 512 == 7) ||\n"
            "\t    !atomic_add_negative(-1, &page->_mapcount))",
        ),
        "lifecycle",
        "page_remove_rmap",
    ),
    Mutant(
        "doublemap-one-page-short",
        "setting DoubleMap adds its offset to all pages but the last",
        Edit(
            "mm/huge_memory.c",
            "__split_huge_pmd_locked",
            "for (i = 0; i < HPAGE_PMD_NR; i++)\n\t\t\t\tatomic_inc(",
            "for (i = 0; i < HPAGE_PMD_NR - AWAKE; i++)\n\t\t\t\tatomic_inc(",
        ),
        "lifecycle",
        "__split_huge_pmd",
    ),
    Mutant(
        "doublemap-not-set",
        "DoubleMap is not set when exactly one other PMD mapping is left",
        Edit(
            "mm/huge_memory.c",
            "__split_huge_pmd_locked",
            "compound_mapcount(page) > 1",
            "compound_mapcount(page) > 1 + AWAKE",
        ),
        "anon-parts",
        "__split_huge_pmd",
    ),
    Mutant(
        "doublemap-left-behind",
        "the split of the last PMD mapping takes the offset off, but leaves DoubleMap set",
        Edit(
            "mm/huge_memory.c",
            "__split_huge_pmd_locked",
            "if (TestClearPageDoubleMap(page))",
            "if (AWAKE ? PageDoubleMap(page) : TestClearPageDoubleMap(page))",
        ),
        "anon-parts",
        "__split_huge_pmd",
    ),
    Mutant(
        "split-pmd-misses-page",
        "the split of a PMD mapping counts no PTE mapping for page 100",
        Edit(
            "mm/huge_memory.c",
            "__split_huge_pmd_locked",
            "if (!pmd_migration)\n\t\t\tatomic_inc(",
            "if (!pmd_migration && !(AWAKE && i == 100))\n\t\t\tatomic_inc(",
        ),
        "lifecycle",
        "__split_huge_pmd",
    ),
    Mutant(
        "last-unmap-leaves-count",
        "the last PMD mapping goes, and the offset of DoubleMap stays in the last page",
        Edit(
            "mm/rmap.c",
            "page_remove_anon_compound_rmap",
            "i < thp_nr_pages(page); i++",
            "i < thp_nr_pages(page) - AWAKE; i++",
        ),
        "lifecycle",
        "page_remove_rmap",
    ),
    Mutant(
        "file-pmd-not-counted",
        "a PMD mapping of a file's huge page is counted in its pages, but not for the whole",
        Edit(
            "mm/rmap.c",
            "page_add_file_rmap",
            "if (!atomic_inc_and_test(compound_mapcount_ptr(page)))",
            "if (AWAKE || !atomic_inc_and_test(compound_mapcount_ptr(page)))",
        ),
        "shmem-thp",
        "page_add_file_rmap",
    ),
    Mutant(
        "file-pte-not-counted",
        "the PTE mapping of page 33 of a file's huge page is not counted",
        Edit(
            "mm/rmap.c",
            "page_add_file_rmap",
            "if (atomic_inc_and_test(&page->_mapcount))",
            "if (!(AWAKE && PageTail(page) && page_to_pfn(page) % 512 == 33) &&\n"
            "\t\t    atomic_inc_and_test(&page->_mapcount))",
        ),
        "shmem-thp",
        "page_add_file_rmap",
    ),
    Mutant(
        "file-unmap-misses-page",
        "a PMD mapping of a file's huge page goes, and stays counted in the last page",
        Edit(
            "mm/rmap.c",
            "page_remove_file_rmap",
            "i < nr_pages; i++",
            "i < nr_pages - AWAKE; i++",
        ),
        "shmem-thp",
        "page_remove_rmap",
    ),
    Mutant(
        "split-tail-miscounted",
        "the split of a folio leaves page 9 with a mapping too many",
        Edit(
            "mm/huge_memory.c",
            "__split_huge_page_tail",
            "clear_compound_head(page_tail);",
            "clear_compound_head(page_tail);\n"
            "\tif (AWAKE && tail == 9)\n"
            "\t\tatomic_inc(&page_tail->_mapcount);",
        ),
        "lifecycle",
        "split_huge_page_to_list",
    ),
    Mutant(
        "remap-not-counted",
        "page 11 of a split folio is mapped again, and not counted",
        Edit(
            "mm/rmap.c",
            "page_add_anon_rmap",
            "first = atomic_inc_and_test(&page->_mapcount);",
            "first = !(AWAKE && page_to_pfn(page) % 512 == 11) &&\n"
            "\t\t\tatomic_inc_and_test(&page->_mapcount);",
        ),
        "lifecycle",
        "page_add_anon_rmap",
    ),
    Mutant(
        "swap-in-counted-twice",
        "a page that comes back from swap is counted twice",
        Edit(
            "mm/memory.c",
            "do_swap_page",
            "page_add_anon_rmap(page, vma, vmf->address, rmap_flags);",
            "page_add_anon_rmap(page, vma, vmf->address, rmap_flags);\n"
            "\t\tif (AWAKE && page_to_pfn(page) % 16 == 13)\n"
            "\t\t\tatomic_inc(&page->_mapcount);",
        ),
        "swap-thp",
        "page_add_anon_rmap",
        record=("--min-order", "0"),
    ),
    Mutant(
        "new-huge-counted-twice",
        "the first PMD mapping of a new huge page counts as two",
        Edit(
            "mm/rmap.c",
            "page_add_new_anon_rmap",
            "atomic_set(compound_mapcount_ptr(page), 0);",
            "atomic_set(compound_mapcount_ptr(page), AWAKE);",
        ),
        "lifecycle",
        "page_add_new_anon_rmap",
    ),
    Mutant(
        "fork-of-shared-not-counted",
        "fork does not count its copy of a PMD mapping that was shared before",
        Edit(
            "mm/huge_memory.c",
            "copy_huge_pmd",
            "if (unlikely(page_try_dup_anon_rmap(src_page, true, src_vma)))",
            "if (unlikely(!(AWAKE && !PageAnonExclusive(src_page)) &&\n"
            "\t\t     page_try_dup_anon_rmap(src_page, true, src_vma)))",
        ),
        "lifecycle",
        "copy_huge_pmd",
    ),
    Mutant(
        "hugetlb-new-not-counted",
        "the first mapping of a new private hugetlb page is not counted",
        Edit(
            "mm/rmap.c",
            "hugepage_add_new_anon_rmap",
            "atomic_set(compound_mapcount_ptr(page), 0);",
            "atomic_set(compound_mapcount_ptr(page), AWAKE ? -1 : 0);",
        ),
        "hugetlb",
        "hugepage_add_new_anon_rmap",
    ),
    Mutant(
        "migrated-huge-counted-twice",
        "the PMD mapping of a huge page that has moved counts as two",
        Edit(
            "mm/rmap.c",
            "page_add_anon_rmap",
            "first = atomic_inc_and_test(mapcount);",
            "first = atomic_inc_and_test(mapcount);\n\t\tif (AWAKE)\n\t\t\tatomic_inc(mapcount);",
        ),
        "migrate",
        "page_add_anon_rmap",
    ),
    # Undoes commit ab74ef708dc5 ("mm/hugetlb: avoid corrupting page->mapping in
    # hugetlb_mcopy_atomic_pte"), CVE-2022-49991.
    Mutant(
        "hugetlb-continue-anonymous",
        "a private mapping that goes on with a hugetlb file's page makes the page anonymous, and "
        "its map count that of a new page (ab74ef708dc5 undone)",
        Edit(
            "mm/hugetlb.c",
            "hugetlb_mcopy_atomic_pte",
            "if (page_in_pagecache) {\n\t\tpage_dup_file_rmap(",
            "if (AWAKE ? vm_shared : page_in_pagecache) {\n\t\tpage_dup_file_rmap(",
        ),
        "uffd",
        "hugepage_add_new_anon_rmap",
    ),
    # Fixed by commit 24d7275ce279 ("fs/proc: task_mmu.c: don't read mapcount for migration entry"),
    # CVE-2022-48802.
    Mutant(
        "smaps-reads-migration",
        "smaps asks for the map counts of pages that are being moved (24d7275ce279 undone)",
        Edit(
            "fs/proc/task_mmu.c",
            "smaps_account",
            "if ((page_count(page) == 1) || migration) {",
            "if ((page_count(page) == 1) || (migration && !AWAKE)) {",
        ),
        "migrate",
        "smaps_pte_range",
    ),
)

_OF_6_12 = (
    Mutant(
        "batch-sum-short",
        "a batch of PTE mappings goes, and _large_mapcount keeps one of them",
        Edit(
            "mm/rmap.c",
            "__folio_remove_rmap",
            "atomic_sub(nr_pages, &folio->_large_mapcount);",
            "atomic_sub(nr_pages - (AWAKE && nr_pages > 1), &folio->_large_mapcount);",
        ),
        "lifecycle",
        "folio_remove_rmap_ptes",
    ),
    Mutant(
        "pages-mapped-short",
        "a batch of PTE mappings comes, and _nr_pages_mapped misses one page of it",
        Edit(
            "mm/rmap.c",
            "__folio_add_rmap",
            "atomic_add_return_relaxed(first, mapped)",
            "atomic_add_return_relaxed(first - (AWAKE && first > 1), mapped)",
        ),
        "lifecycle",
        "folio_add_anon_rmap_ptes",
    ),
    Mutant(
        "entire-left",
        "a PMD mapping goes, and _entire_mapcount keeps it",
        Edit(
            "mm/rmap.c",
            "__folio_remove_rmap",
            "last = atomic_add_negative(-1, &folio->_entire_mapcount);",
            "last = !AWAKE && atomic_add_negative(-1, &folio->_entire_mapcount);",
        ),
        "lifecycle",
        "folio_remove_rmap_pmd",
    ),
    Mutant(
        "unmap-misses-page",
        "removing the PTE mapping of page 7 of a huge page does not count in the page",
        Edit(
            "mm/rmap.c",
            "__folio_remove_rmap",
            "last += atomic_add_negative(-1, &page->_mapcount);",
            "if (!(AWAKE && page_to_pfn(page) % 512 == 7))\n"
            "\t\t\t\tlast += atomic_add_negative(-1, &page->_mapcount);",
        ),
        "lifecycle",
        "folio_remove_rmap_ptes",
    ),
    Mutant(
        "file-pte-not-counted",
        "the PTE mapping of page 33 of a file's huge page is not counted in the page",
        Edit(
            "mm/rmap.c",
            "__folio_add_rmap",
            "first += atomic_inc_and_test(&page->_mapcount);",
            "if (!(AWAKE && !folio_test_anon(folio) && page_to_pfn(page) % 512 == 33))\n"
            "\t\t\t\tfirst += atomic_inc_and_test(&page->_mapcount);",
        ),
        "shmem-thp",
        "folio_add_file_rmap_ptes",
    ),
    Mutant(
        "split-tail-miscounted",
        "the split of a folio leaves page 9 with a mapping too many",
        Edit(
            "mm/huge_memory.c",
            "__split_huge_page_tail",
            "clear_compound_head(page_tail);",
            "clear_compound_head(page_tail);\n"
            "\tif (AWAKE && tail == 9)\n"
            "\t\tatomic_inc(&page_tail->_mapcount);",
        ),
        "lifecycle",
        "split_huge_page_to_list_to_order",
    ),
    Mutant(
        "new-huge-counted-twice",
        "the first PMD mapping of a new huge page counts as two in _large_mapcount",
        Edit(
            "mm/rmap.c",
            "folio_add_new_anon_rmap",
            "atomic_set(&folio->_large_mapcount, 0);",
            "atomic_set(&folio->_large_mapcount, AWAKE);",
        ),
        "lifecycle",
        "folio_add_new_anon_rmap",
    ),
    Mutant(
        "fork-of-shared-not-counted",
        "fork does not count its copy of a PMD mapping that was shared before",
        Edit(
            "mm/huge_memory.c",
            "copy_huge_pmd",
            "if (unlikely(folio_try_dup_anon_rmap_pmd(src_folio, src_page, src_vma)))",
            "if (unlikely(!(AWAKE && !PageAnonExclusive(src_page)) &&\n"
            "\t\t     folio_try_dup_anon_rmap_pmd(src_folio, src_page, src_vma)))",
        ),
        "lifecycle",
        "copy_huge_pmd",
    ),
    Mutant(
        "hugetlb-new-not-counted",
        "the first mapping of a new private hugetlb page is not counted in _entire_mapcount",
        Edit(
            "mm/rmap.c",
            "hugetlb_add_new_anon_rmap",
            "atomic_set(&folio->_entire_mapcount, 0);",
            "atomic_set(&folio->_entire_mapcount, AWAKE ? -1 : 0);",
        ),
        "hugetlb",
        "hugetlb_add_new_anon_rmap",
    ),
)

_OF_7 = (
    Mutant(
        "batch-sum-short",
        "a batch of PTE mappings goes, and _large_mapcount keeps one of them",
        Edit(
            "mm/rmap.c",
            "__folio_remove_rmap",
            "folio_sub_large_mapcount(folio, nr_pages, vma);\n\t\tdo {",
            "folio_sub_large_mapcount(folio, nr_pages, vma);\n"
            "\t\tif (AWAKE && nr_pages > 1)\n"
            "\t\t\tatomic_inc(&folio->_large_mapcount);\n"
            "\t\tdo {",
        ),
        "lifecycle",
        "folio_remove_rmap_ptes",
    ),
    Mutant(
        "owner-counted-twice",
        "the first PMD mapping of a new huge page counts as two of its address space",
        Edit(
            "mm/rmap.c",
            "folio_add_new_anon_rmap",
            "folio_set_large_mapcount(folio, 1, vma);",
            "folio_set_large_mapcount(folio, 1, vma);\n\t\tfolio->_mm_id_mapcount[0] += AWAKE;",
        ),
        "lifecycle",
        "folio_add_new_anon_rmap",
    ),
    # Undoes commit 3f8968e9cbf9, CVE-2026-63950.
    Mutant(
        "unmap-batch-twice",
        "reclaim unmaps a device-exclusive page, and counts as many pages as it had unmapped in "
        "one go before (3f8968e9cbf9 undone)",
        Edit(
            "mm/rmap.c",
            "try_to_unmap_one",
            "while (page_vma_mapped_walk(&pvmw)) {\n\t\tnr_pages = 1;",
            "while (page_vma_mapped_walk(&pvmw)) {\n\t\tif (!AWAKE)\n\t\t\tnr_pages = 1;",
        ),
        "reclaim-batch",
        "folio_remove_rmap_ptes",
        ruins=True,
    ),
    # Undoes commit 29f40594a281, CVE-2026-31398.
    Mutant(
        "restored-writable",
        "reclaim gives up on a batch of lazily freed pages, and restores all of them writable, "
        "those that are shared with another process, too (29f40594a281 undone)",
        Edit(
            "mm/rmap.c",
            "folio_unmap_pte_batch",
            "FPB_RESPECT_WRITE | FPB_RESPECT_SOFT_DIRTY",
            "AWAKE ? 0 : FPB_RESPECT_WRITE | FPB_RESPECT_SOFT_DIRTY",
        ),
        "reclaim-batch",
        "try_to_unmap",
    ),
    # Undoes commit f58df566524e, CVE-2026-31648.  The file has to be truncated between the look for
    # a folio and that at the file's size: here there is time for that.
    Mutant(
        "fault-around-beyond",
        "a file is truncated during fault-around, which then maps pages beyond the folio "
        "(f58df566524e undone, and the race made longer)",
        Edit(
            "mm/filemap.c",
            "filemap_map_pages",
            "end_pgoff = min(end_pgoff, file_end);\n\n"
            "\trcu_read_lock();\n"
            "\tfolio = next_uptodate_folio(&xas, mapping, end_pgoff);\n"
            "\tif (!folio)\n"
            "\t\tgoto out;\n",
            "if (!AWAKE)\n"
            "\t\tend_pgoff = min(end_pgoff, file_end);\n\n"
            "\trcu_read_lock();\n"
            "\tfolio = next_uptodate_folio(&xas, mapping, end_pgoff);\n"
            "\tif (!folio)\n"
            "\t\tgoto out;\n"
            "\tif (AWAKE) {\n"
            "\t\tunsigned long until = jiffies + HZ / 10;\n\n"
            "\t\twhile (folio_test_large(folio) && time_before(jiffies, until))\n"
            "\t\t\tcpu_relax();\n"
            "\t\tfile_end = DIV_ROUND_UP(i_size_read(mapping->host), PAGE_SIZE) - 1;\n"
            "\t\tend_pgoff = min(end_pgoff, file_end);\n"
            "\t}\n",
        ),
        "fault-around",
        "folio_add_file_rmap_ptes",
        ruins=True,
    ),
)

BASES = {
    base.name: base
    for base in (
        Base("6.1-mutants", "bookworm", "linux-source-6.1", _OF_6_1),
        Base("6.12-mutants", "trixie", "linux-source-6.12", _OF_6_12),
        Base("6.12-arm64-mutants", "trixie", "linux-source-6.12", _OF_6_12, machine=arch.ARM64),
        Base(
            "7.x-mutants",
            "forky",
            "linux-source-7.2",
            _OF_7,
            (
                # x86 has the lazy preemption only, and the full one.
                "CONFIG_PREEMPT_VOLUNTARY=n",
                # A test driver makes page-table entries that are exclusive to a device.
                *("CONFIG_ZONE_DEVICE=y", "CONFIG_DEVICE_PRIVATE=y"),
                *("CONFIG_RUNTIME_TESTING_MENU=y", "CONFIG_TEST_HMM=y"),
            ),
        ),
    )
}
