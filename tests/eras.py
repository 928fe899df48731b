# SPDX-License-Identifier: GPL-2.0-or-later
"""What the types and symbols of kernels tell, one row for each era of which none is at hand.

From docs/kernel-eras.md: fields with their offsets in bytes, enumerators, and the functions that
change map counts with the names of their parameters.  A row says what differs from an older one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

Fields = dict[str, int]
Functions = dict[str, list[str]]
SLOTS = ["mm_id_mapcount_0", "mm_id_mapcount_1", "mm_id_0", "mm_id_1", "maybe_mapped_shared"]

PAGE = {"flags": 0, "compound_head": 8, "mapping": 24, "_mapcount": 48, "_refcount": 52}
READERS: Functions = {
    "kpageflags_read": ["file", "buf", "count", "ppos"],
    "kpagecount_read": ["file", "buf", "count", "ppos"],
    "stable_page_flags": ["page"],
}
FORK: Functions = {
    "copy_huge_pmd": ["dst_mm", "src_mm", "dst_pmd", "src_pmd", "addr", "dst_vma", "src_vma"],
    "copy_page_range": ["dst_vma", "src_vma"],
}
BY_PAGE: Functions = {
    "page_add_anon_rmap": ["page", "vma", "address", "flags"],
    "page_add_new_anon_rmap": ["page", "vma", "address"],
    "page_add_file_rmap": ["page", "vma", "compound"],
    "page_remove_rmap": ["page", "vma", "compound"],
}
BY_FOLIO: Functions = {
    "folio_add_anon_rmap_ptes": ["folio", "page", "nr_pages", "vma", "address", "flags"],
    "folio_add_anon_rmap_pmd": ["folio", "page", "vma", "address", "flags"],
    "folio_add_new_anon_rmap": ["folio", "vma", "address"],
    "folio_add_file_rmap_ptes": ["folio", "page", "nr_pages", "vma"],
    "folio_add_file_rmap_pmd": ["folio", "page", "vma"],
    "folio_remove_rmap_ptes": ["folio", "page", "nr_pages", "vma"],
    "folio_remove_rmap_pmd": ["folio", "page", "vma"],
    "hugetlb_add_anon_rmap": ["folio", "vma", "address", "flags"],
    "hugetlb_add_new_anon_rmap": ["folio", "vma", "address"],
}


@dataclass(frozen=True)
class Era:
    """``fields``: where the layout has to find what, None: nowhere.  ``hugetlb``: the bits that
    tell such a folio.  ``splits``: the function that splits a folio."""

    release: str
    page: Fields
    folio: Fields
    enums: dict[str, Fields]
    functions: Functions
    fields: dict[str, int | None]
    counters: list[str]
    hugetlb: dict[str, int] = field(default_factory=dict)
    splits: str = "split_huge_page_to_list"

    @property
    def types(self) -> dict[str, Fields]:
        return {"page": self.page, "folio": self.folio}


SUBPAGES = Era(
    "6.2",
    page=PAGE
    | {"compound_dtor": 16, "compound_order": 17, "compound_mapcount": 20, "subpages_mapcount": 24},
    folio={"_flags_1": 64, "_folio_dtor": 80, "_folio_order": 81,
           "_compound_mapcount": 84, "_subpages_mapcount": 88},
    enums={"pageflags": {"PG_head": 16}, "compound_dtor_id": {"HUGETLB_PAGE_DTOR": 2}},
    functions={
        **BY_PAGE, **FORK, **READERS,
        "hugepage_add_anon_rmap": ["page", "vma", "address", "flags"],
        "hugepage_add_new_anon_rmap": ["page", "vma", "address"],
        "__split_huge_pmd": ["vma", "pmd", "address", "freeze", "folio"],
        "split_huge_page_to_list": ["page", "list"],
        "deferred_split_huge_page": ["page"],
    },
    fields={"entire": 84, "nr_mapped": 88, "large": None, "total": None, "order": 81, "dtor": 80},
    counters=["mapcount", "entire_mapcount", "nr_pages_mapped"],
    hugetlb={"hugetlb_dtor": 2},
)  # fmt: skip
IN_FOLIO = replace(
    SUBPAGES,
    release="6.3",
    page=PAGE,
    folio={"_flags_1": 64, "_folio_dtor": 80, "_folio_order": 81, "_entire_mapcount": 84,
           "_nr_pages_mapped": 88},
    functions=SUBPAGES.functions
    | {
        "folio_add_new_anon_rmap": ["folio", "vma", "address"],
        "hugepage_add_new_anon_rmap": ["folio", "vma", "address"],
        "deferred_split_folio": ["folio"],
    },
)  # fmt: skip
BATCHED = replace(
    IN_FOLIO,
    release="6.6",
    folio={"_flags_1": 64, "_folio_avail": 80, "_entire_mapcount": 88, "_nr_pages_mapped": 92},
    enums={"pageflags": {"PG_head": 6, "PG_hugetlb": 8}},
    functions=IN_FOLIO.functions
    | {
        "folio_add_file_rmap_range": ["folio", "page", "nr_pages", "vma", "compound"],
        "hugepage_add_anon_rmap": ["folio", "vma", "address", "flags"],
    },
    fields=SUBPAGES.fields | {"entire": 88, "nr_mapped": 92, "order": 64, "dtor": None},
    hugetlb={"hugetlb_flag": 8},
)
LEVELS = replace(
    BATCHED,
    release="6.8",
    functions={
        **BY_FOLIO, **FORK, **READERS,
        "__split_huge_pmd": ["vma", "pmd", "address", "freeze", "folio"],
        "split_huge_page_to_list": ["page", "list"],
        "deferred_split_folio": ["folio"],
    },
)  # fmt: skip
TYPED = replace(
    LEVELS,
    release="6.9",
    enums={"pageflags": {"PG_head": 6}},
    functions={name: LEVELS.functions[name] for name in LEVELS.functions
               if name != "split_huge_page_to_list"}
    | {"split_huge_page_to_list_to_order": ["page", "list", "new_order"]},
    hugetlb={"hugetlb_type": 0xF0000000, "hugetlb_type_mask": 0xF0000800},
    splits="split_huge_page_to_list_to_order",
)  # fmt: skip
LARGE = replace(
    TYPED,
    release="6.10",
    folio={"_flags_1": 64, "_large_mapcount": 80, "_entire_mapcount": 84, "_nr_pages_mapped": 88},
    enums={
        "pageflags": {"PG_head": 6},
        "pagetype": {"PG_hugetlb": 0x800, "PAGE_TYPE_BASE": 0xF0000000},
    },
    fields=TYPED.fields | {"large": 80, "entire": 84, "nr_mapped": 88},
    counters=["mapcount", "entire_mapcount", "nr_pages_mapped", "large_mapcount"],
)
RESERVED = replace(
    LARGE,
    release="6.11",
    enums={
        "pageflags": {"PG_head": 6},
        "pagetype": {"PG_hugetlb": 0x04000000, "PAGE_TYPE_BASE": 0x80000000},
    },
    hugetlb={"hugetlb_type": 0x80000000, "hugetlb_type_mask": 0x84000000},
)
ONE_TYPE = replace(
    RESERVED,
    release="6.13",
    enums={"pageflags": {"PG_head": 6}, "pagetype": {"PGTY_hugetlb": 0xF4}},
    functions=RESERVED.functions
    | {"folio_add_new_anon_rmap": ["folio", "vma", "address", "flags"]},
    hugetlb={"hugetlb_type": 0xF4000000, "hugetlb_type_mask": 0xFF000000},
)
OWNERS = replace(
    ONE_TYPE,
    release="6.15",
    folio={"_flags_1": 64, "_large_mapcount": 80, "_nr_pages_mapped": 84, "_entire_mapcount": 88,
           "_mm_id_mapcount": 96, "_mm_id": 104},
    functions=ONE_TYPE.functions
    | {
        "__split_huge_pmd": ["vma", "pmd", "address", "freeze"],
        "__folio_split": ["folio", "new_order", "split_at", "lock_at", "list", "uniform_split"],
    },
    fields=ONE_TYPE.fields | {"entire": 88, "nr_mapped": 84},
    counters=[*ONE_TYPE.counters, *SLOTS],
    splits="__folio_split",
)  # fmt: skip
MASKED = replace(
    OWNERS,
    release="7.1",
    page={"compound_info" if name == "compound_head" else name: at for name, at in PAGE.items()},
)
ANNOUNCED = replace(
    MASKED,
    release="announced in April 2026",
    folio={"_flags_1": 64, "_pincount": 80, "_total_mapped_pages": 88, "_mm_id_mapcount": 96,
           "_mm_id": 104, "_large_mapcount": 112},
    fields=MASKED.fields | {"entire": None, "nr_mapped": None, "total": 88, "large": 112,
                            "pincount": 80},
    counters=["large_mapcount", "total_mapped_pages", *SLOTS, "pincount"],
)  # fmt: skip

ERAS = (SUBPAGES, IN_FOLIO, BATCHED, LEVELS, TYPED, LARGE, RESERVED, ONE_TYPE, OWNERS, MASKED,
        ANNOUNCED)  # fmt: skip
