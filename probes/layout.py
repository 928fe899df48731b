# SPDX-License-Identifier: GPL-2.0-or-later
"""The offsets of the running kernel's map counts, and so its era, by the fields that it has.

The counters changed several times.  The fields that exist decide, never the version number:
distributions backport.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Tuple

from probes import arch
from probes.btf import Btf
from probes.counters import COUNTERS, FOLIO
from probes.errors import ProbeError
from probes.kconfig import built_with
from probes.kernel import Memory, Symbols
from probes.selftest import counts_pages

#: Counters that a kernel with CONFIG_NO_PAGE_MAPCOUNT leaves as they are.
OF_PAGES = ("mapcount", "nr_pages_mapped")

#: Fields of struct pagetable_move_control, in which newer kernels say what is moved.
MOVE_CONTROL = {"move_old": "old", "move_old_addr": "old_addr", "move_new_addr": "new_addr"}

#: Flags of a head that tell of references to it.
REFERRING = ("lru", "swapbacked", "swapcache", "private", "private_2")

#: Macros of include/linux/page-flags.h, in kernels where no type tells them.
PAGE_TYPE_BASE, PG_HUGETLB = 0xF0000000, 0x00000800


@dataclass(frozen=True)
class Layout:
    """Offsets in bytes from a folio's head struct page; None if the era has no such field."""

    source: str
    struct_page: int
    vmemmap: int
    fields: Dict[str, Optional[int]]
    bits: Dict[str, Optional[int]]
    tail_holds_mask: bool
    task: Dict[str, int]
    #: Each page of a large folio has a map count of its own; None: that is not known.
    page_counts: Optional[bool] = True

    @property
    def counters(self) -> List[str]:
        """The counters that this era keeps, by their logical names."""
        places = {**self.bits, **self.fields}
        kept = [
            each.name
            for each in COUNTERS
            if places.get(each.field) is not None and (not each.owner or "mm_id" in self.task)
        ]
        return kept if self.page_counts else [name for name in kept if name not in OF_PAGES]

    def as_json(self) -> Dict[str, Any]:
        """The layout for the trace header."""
        return asdict(self)


def find_layout(btf: Btf, symbols: Symbols, kcore: Memory) -> Layout:
    """The layout of the running kernel.  Raises ProbeError naming the field it lacks."""
    size = btf.size("page")
    if size is None:
        raise ProbeError(f"the kernel's {btf.source} has no struct page: its layout is unknown")
    base = arch.here().vmemmap(symbols.address, kcore)
    # Renamed by the series of commit 8c846c879e22 ("mm: rework compound_head() for power-of-2
    # sizeof(struct page)") (in v7.1).
    link = btf.offset("page", "compound_info")
    flags = btf.enumerators("pageflags")
    fields: Dict[str, Optional[int]] = {
        "flags": _need(btf, "page", "flags"),
        "compound_head": link if link is not None else _need(btf, "page", "compound_head"),
        "mapping": _need(btf, "page", "mapping"),
        "index": _index(btf),
        "mapcount": _need(btf, "page", "_mapcount"),
        "refcount": _need(btf, "page", "_refcount"),
        **_compound_fields(btf, size),
    }
    bits: Dict[str, Optional[int]] = {
        "head": flags.get("PG_head"),
        # Another name of a flag, so enumerators have it: commit 6c287605fd56 ("mm: remember
        # exclusively mapped anonymous pages with PG_anon_exclusive") (in v5.19).
        "anon_exclusive": flags.get("PG_anon_exclusive"),
        "reserved": flags.get("PG_reserved"),
        # What holds a reference beside mappings and pins, and whether a folio is on an LRU list.
        **{name: flags.get(f"PG_{name}") for name in REFERRING},
        **{each.field: flags.get(each.places[0][1]) for each in FOLIO if each.is_page_flag},
        **_hugetlb_bits(btf, flags),
        **_gup_flags(btf),
    }
    if bits["head"] is None:
        raise ProbeError("enum pageflags has no PG_head: this kernel's layout is unknown")
    return Layout(
        source=btf.source,
        struct_page=size,
        vmemmap=base,
        fields=fields,
        bits=bits,
        tail_holds_mask=link is not None,
        task={
            "vm_mm": _need(btf, "vm_area_struct", "vm_mm"),
            **_places(btf),
            "mm": _need(btf, "task_struct", "mm"),
            "tasks": _need(btf, "task_struct", "tasks"),
            "pid": _need(btf, "task_struct", "pid"),
            "tgid": _need(btf, "task_struct", "tgid"),
            "comm": _need(btf, "task_struct", "comm"),
            "f_op": _need(btf, "file", "f_op"),
            **_open_files(btf),
            **_mm(btf),
        },
        page_counts=_page_counts(fields, kcore, base, size),
    )


def _gup_flags(btf: Btf) -> Dict[str, Optional[int]]:
    """What get_user_pages() takes a reference or a pin by."""
    flags = {f"foll_{name}": btf.enumerator(f"FOLL_{name.upper()}") for name in ("get", "pin")}
    if btf.source == "btf" and flags["foll_pin"] is None:
        # Macros until commit b5054174ac7c ("mm: move FOLL_* defs to mm_types.h") (in v6.3), and of
        # these values since FOLL_PIN is there: commit eddb1c228f79 ("mm/gup: introduce
        # pin_user_pages*() and FOLL_PIN") (in v5.6).
        return {"foll_get": 0x04, "foll_pin": 0x40000}
    return flags


def _hugetlb_bits(btf: Btf, flags: Dict[str, int]) -> Dict[str, Optional[int]]:
    """What tells a hugetlb folio: the bits of its head's page_type under a mask, a flag of its
    second page, or its destructor.  None of them: the kernel is built without hugetlb.

    Raises ProbeError where none is known.
    """
    names = ("hugetlb_type", "hugetlb_type_mask", "hugetlb_flag", "hugetlb_dtor")
    bits: Dict[str, Optional[int]] = dict.fromkeys(names)
    types, dtors = btf.enumerators("pagetype"), btf.enumerators("compound_dtor_id")
    if "PGTY_hugetlb" in types:
        # commit 4ffca5a96678 ("mm: support only one page_type per page") (in v6.12)
        bits["hugetlb_type"] = types["PGTY_hugetlb"] << 24
        bits["hugetlb_type_mask"] = 0xFF << 24
    elif "PG_hugetlb" in types:
        # commit ff202303c398 ("mm: convert page type macros to enum") (in v6.10): a cleared bit.
        bits["hugetlb_type"] = types["PAGE_TYPE_BASE"]
        bits["hugetlb_type_mask"] = types["PAGE_TYPE_BASE"] | types["PG_hugetlb"]
    elif "PG_hugetlb" in flags:
        # commit 9c5ccf2db04b ("mm: remove HUGETLB_PAGE_DTOR") (in v6.6)
        bits["hugetlb_flag"] = flags["PG_hugetlb"]
    elif dtors:
        bits["hugetlb_dtor"] = dtors.get("HUGETLB_PAGE_DTOR")
    elif not types and btf.offset("folio", "_folio_avail") is not None:
        # commit d99e3140a4d3 ("mm: turn folio_test_hugetlb into a PageType") (in v6.9, and in
        # 6.6.y and 6.8.y), where the word was free that _large_mapcount has taken since.
        bits["hugetlb_type"] = PAGE_TYPE_BASE
        bits["hugetlb_type_mask"] = PAGE_TYPE_BASE | PG_HUGETLB
    else:
        raise ProbeError(
            "neither PG_hugetlb nor HUGETLB_PAGE_DTOR nor PGTY_hugetlb exists: this kernel's "
            "layout is unknown"
        )
    return bits


def _compound_fields(btf: Btf, size: int) -> Dict[str, Optional[int]]:
    """The counters of a whole folio: in struct folio, or before it in page[1].

    The whole-folio count and the order have names in both in some kernels, for the same place.
    """

    before = {"folio": 0, "page": size, "page[2]": 2 * size}

    def find(*names: Tuple[str, str]) -> Optional[int]:
        for struct, field in names:
            offset = btf.offset(struct.partition("[")[0], field)
            if offset is not None:
                return offset + before[struct]
        return None

    fields = {
        **{each.field: find(*each.places) for each in FOLIO if not each.is_page_flag},
        # Out of page[1] since commit 1c5509be58f6 ("mm: remove 'First tail page' members from
        # struct page") (in v6.3); the low byte of the second page's flags word since
        # commit ebc1baf5c9b4 ("mm: free up a word in the first tail page") (in v6.6).
        "order": find(("page", "compound_order"), ("folio", "_folio_order"), ("folio", "_flags_1")),
        "dtor": find(("page", "compound_dtor"), ("folio", "_folio_dtor")),
    }
    if fields["entire"] is None and (fields["total"] is None or fields["large"] is None):
        raise ProbeError(
            "neither folio._entire_mapcount nor page.compound_mapcount exists, nor "
            "folio._total_mapped_pages beside _large_mapcount: this kernel counts maps in a way "
            "that mapcount does not know"
        )
    if fields["order"] is None:
        raise ProbeError(
            "none of page.compound_order, folio._folio_order and folio._flags_1 exists"
        )
    return fields


def _page_counts(
    fields: Dict[str, Optional[int]], kcore: Memory, base: int, size: int
) -> Optional[bool]:
    """Whether the pages of a large folio are counted: the fields are there in any case."""
    if fields["mm_id"] is None:
        # Kernels before the per-mm ids know no other way; with them came
        # commit 749492229e3b ("mm: stop maintaining the per-page mapcount of large folios
        # (CONFIG_NO_PAGE_MAPCOUNT)") (in v6.15).
        return True
    if fields["nr_mapped"] is None:
        return False  # what they were summed up in is gone, and they with it
    without = built_with("CONFIG_NO_PAGE_MAPCOUNT")
    if without is not None:
        return not without
    return counts_pages(kcore, base, size, fields)


def _open_files(btf: Btf) -> Dict[str, int]:
    """The way from a task to its open files, where the types tell all of it."""
    way = {
        "files": btf.offset("task_struct", "files"),
        "fdt": btf.offset("files_struct", "fdt"),
        "fd": btf.offset("fdtable", "fd"),
    }
    known = {name: at for name, at in way.items() if at is not None}
    return known if len(known) == len(way) else {}


def _mm(btf: Btf) -> Dict[str, int]:
    """Where an mm has the address of its page tables and, with CONFIG_MM_ID, its id: commit
    6af8cb80d3a9 ("mm/rmap: basic MM owner tracking for large folios (!hugetlb)") (in v6.15)."""
    found = {name: btf.offset("mm_struct", name) for name in ("mm_id", "pgd")}
    return {name: at for name, at in found.items() if at is not None}


def _index(btf: Btf) -> Optional[int]:
    """Where a folio says at which place of its file, or of anonymous memory, it begins."""
    found = (btf.offset("folio", "index"), btf.offset("page", "index"))
    return next((offset for offset in found if offset is not None), None)


def _places(btf: Btf) -> Dict[str, int]:
    """What tells where a page is mapped: where a mapping begins, and what page tables move."""
    places = {
        "vm_start": btf.offset("vm_area_struct", "vm_start"),
        "vm_pgoff": btf.offset("vm_area_struct", "vm_pgoff"),
        **{
            name: btf.offset("pagetable_move_control", field)
            for name, field in MOVE_CONTROL.items()
        },
    }
    return {name: offset for name, offset in places.items() if offset is not None}


def _need(btf: Btf, struct: str, field: str) -> int:
    offset = btf.offset(struct, field)
    if offset is None:
        raise ProbeError(f"struct {struct} has no field {field}: this kernel's layout is unknown")
    return offset
