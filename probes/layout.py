# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the running kernel keeps its map counts: the era, found by what it has.

The counters changed shape several times.  What decides is which fields exist, never the
version number: distributions backport.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional

from probes.btf import Btf
from probes.config import built_with
from probes.errors import ProbeError
from probes.kernel import Memory, Symbols
from probes.selftest import counts_pages

#: __VMEMMAP_BASE_L4: where x86-64 has its struct pages if it is built to place nothing at random
#: (without CONFIG_DYNAMIC_MEMORY_LAYOUT), and so needs no variable for it.
VMEMMAP_L4 = 0xFFFFEA0000000000


@dataclass(frozen=True)
class Layout:
    """Offsets in bytes from a folio's head struct page; None where the era has no such field."""

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
        has = ["mapcount"] if self.page_counts else []
        has.append("entire_mapcount")
        if self.bits["double_map"] is not None:
            has.append("double_map")
        if self.fields["nr_mapped"] is not None and self.page_counts:
            has.append("nr_pages_mapped")
        if self.fields["large"] is not None:
            has.append("large_mapcount")
        return has

    def as_json(self) -> Dict[str, Any]:
        """The layout as the trace header holds it."""
        return asdict(self)


def find_layout(btf: Btf, symbols: Symbols, kcore: Memory) -> Layout:
    """The layout of the running kernel.  Raises ProbeError naming the field it lacks."""
    size = btf.size("page")
    if size is None:
        raise ProbeError(f"the kernel's {btf.source} has no struct page: its layout is unknown")
    base = vmemmap(symbols.address.get("vmemmap_base"), kcore)
    # 7.1+: "mm: rename the 'compound_head' field in the 'struct page' to 'compound_info'".
    link = btf.offset("page", "compound_info")
    flags = btf.enumerators("pageflags")
    fields: Dict[str, Optional[int]] = {
        "flags": _need(btf, "page", "flags"),
        "compound_head": link if link is not None else _need(btf, "page", "compound_head"),
        "mapping": _need(btf, "page", "mapping"),
        "mapcount": _need(btf, "page", "_mapcount"),
        "refcount": _need(btf, "page", "_refcount"),
        **_compound_fields(btf, size),
    }
    bits: Dict[str, Optional[int]] = {
        "head": flags.get("PG_head"),
        # Gone with commit cb67f4282bf9 ("mm,thp,rmap: simplify compound page mapcount handling")
        # (in v6.2).
        "double_map": flags.get("PG_double_map"),
        "hugetlb_dtor": btf.enumerators("compound_dtor_id").get("HUGETLB_PAGE_DTOR"),
        # commit 4ffca5a96678 ("mm: support only one page_type per page") (in v6.12)
        "hugetlb_type": btf.enumerators("pagetype").get("PGTY_hugetlb"),
    }
    if bits["head"] is None:
        raise ProbeError("enum pageflags has no PG_head: this kernel's layout is unknown")
    # An enum of destructors without that one: the kernel is built without hugetlb.
    told = bits["hugetlb_type"] is not None or btf.enumerators("compound_dtor_id")
    if not told:
        raise ProbeError(
            "neither HUGETLB_PAGE_DTOR nor PGTY_hugetlb exists: this kernel's layout is unknown"
        )
    return Layout(
        source=btf.source,
        struct_page=size,
        vmemmap=base,
        fields=fields,
        bits=bits,
        tail_holds_mask=link is not None,
        task={
            "vm_mm": _need(btf, "vm_area_struct", "vm_mm"),
            "mm": _need(btf, "task_struct", "mm"),
            "tasks": _need(btf, "task_struct", "tasks"),
            "pid": _need(btf, "task_struct", "pid"),
            "tgid": _need(btf, "task_struct", "tgid"),
            "comm": _need(btf, "task_struct", "comm"),
            "f_op": _need(btf, "file", "f_op"),
            **_open_files(btf),
        },
        page_counts=_page_counts(fields, kcore, base, size),
    )


def _compound_fields(btf: Btf, size: int) -> Dict[str, Optional[int]]:
    """The counters of a whole folio: in struct folio, or before it in page[1]."""

    def second(field: str) -> Optional[int]:
        offset = btf.offset("page", field)
        return None if offset is None else size + offset

    # In struct folio with the series of commit eec20426d48b ("mm: convert
    # head_subpages_mapcount() into folio_nr_pages_mapped()") (in v6.3), in page[1] since
    # commit 53f9263baba6 ("mm: rework mapcount accounting to enable 4k mapping of THPs") (in v4.5).
    entire = btf.offset("folio", "_entire_mapcount")
    if entire is None:
        entire = second("compound_mapcount")
    if entire is None:
        raise ProbeError(
            "neither folio._entire_mapcount nor page.compound_mapcount exists: this kernel "
            "counts maps in a way that mapcount does not know"
        )
    order = second("compound_order")
    if order is None:
        # The low byte of the second page's flags word since
        # commit ebc1baf5c9b4 ("mm: free up a word in the first tail page") (in v6.6).
        order = btf.offset("folio", "_flags_1")
    if order is None:
        raise ProbeError("neither page.compound_order nor folio._flags_1 exists")
    return {
        "entire": entire,
        "nr_mapped": btf.offset("folio", "_nr_pages_mapped"),
        # commit 05c5323b2a34 ("mm: track mapcount of large folios in single value") (in v6.10)
        "large": btf.offset("folio", "_large_mapcount"),
        "order": order,
        "dtor": second("compound_dtor"),
        # commit 6af8cb80d3a9 ("mm/rmap: basic MM owner tracking for large folios (!hugetlb)")
        # (in v6.15)
        "mm_id": btf.offset("folio", "_mm_id"),
        "mm_id_mapcount": btf.offset("folio", "_mm_id_mapcount"),
    }


def _page_counts(
    fields: Dict[str, Optional[int]], kcore: Memory, base: int, size: int
) -> Optional[bool]:
    """Whether the pages of a large folio are counted: the fields are there in any case."""
    if fields["mm_id"] is None:
        # Kernels before the per-mm ids know no other way; with them came
        # commit 749492229e3b ("mm: stop maintaining the per-page mapcount of large folios
        # (CONFIG_NO_PAGE_MAPCOUNT)") (in v6.15).
        return True
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


def _need(btf: Btf, struct: str, field: str) -> int:
    offset = btf.offset(struct, field)
    if offset is None:
        raise ProbeError(f"struct {struct} has no field {field}: this kernel's layout is unknown")
    return offset


def vmemmap(address: Optional[int], kcore: Memory) -> int:
    """Where the struct pages begin; ADDRESS: that of the variable vmemmap_base.

    Raises ProbeError where that cannot be told.
    """
    if address is not None:
        return kcore.u64(address)
    try:
        kcore.u64(VMEMMAP_L4)
    except ProbeError:
        raise ProbeError(
            "/proc/kallsyms has no vmemmap_base (a kernel without CONFIG_KALLSYMS_ALL), and at "
            f"{VMEMMAP_L4:#x}, where struct pages begin if nothing is placed at random, there are "
            "none: boot with nokaslr"
        ) from None
    return VMEMMAP_L4
