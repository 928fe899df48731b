# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests, on a huge page of its own, what neither types nor configuration show."""

from __future__ import annotations

import ctypes
import mmap
from typing import Dict, Optional

from probes.kernel import Memory
from probes.maps import FRAME_PAGES

PAGE = mmap.PAGESIZE
HUGE = PAGE * FRAME_PAGES
PFN_MASK = (1 << 55) - 1


def counts_pages(
    kcore: Memory, vmemmap: int, struct_page: int, fields: Dict[str, Optional[int]]
) -> Optional[bool]:
    """Whether a PTE mapping shows in the ``_mapcount`` of a page of a large folio.

    None if the kernel gives no huge page, or does not show its page frame.
    """
    area = mmap.mmap(-1, 2 * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_HUGEPAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    first = -address % HUGE
    area[first] = area[first + PAGE] = 1
    # Without its last page the huge page is mapped by PTEs: those of the others.
    area.madvise(mmap.MADV_DONTNEED, first + HUGE - PAGE, PAGE)
    try:
        pfn = _pfn(address + first + PAGE)
    except FileNotFoundError:  # built without CONFIG_PROC_PAGE_MONITOR
        return None
    page = kcore.read(vmemmap + pfn * struct_page, struct_page)
    link, count = fields["compound_head"], fields["mapcount"]
    assert link is not None and count is not None  # the layout is known
    if not page[link] & 1:
        return None  # no tail: the page is none of a huge one
    return int.from_bytes(page[count : count + 4], "little", signed=True) >= 0


def _pfn(address: int) -> int:
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(address // PAGE * 8)
        return int.from_bytes(file.read(8), "little") & PFN_MASK
