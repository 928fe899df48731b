# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether pages may be written where several address spaces map them.

/proc/PID/pagemap does not show this: the page tables themselves are read, in the kernel's memory.
A page-table entry is believed if it names the page that pagemap named at this address.

At the end of a TRUTH block's payload are runs of pages as probes/published.py has them, but with
another entry: the first page's pfn, KNOWN if the page-table entries were found, and WRITABLE.
"""

from __future__ import annotations

import array
import contextlib
import mmap
from functools import cached_property
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from probes import arch
from probes.errors import ProbeError
from probes.kernel import Memory
from probes.layout import Layout
from probes.maps import FRAME_PAGES
from probes.pagetables import PFN_MASK
from probes.plan import Missing
from probes.published import RUN
from probes.spaces import TaskList

KNOWN, WRITABLE = 1 << 63, 1 << 62
#: Bit of an entry of pagemap: the page is a file's.
FILE = 1 << 61
ENTRY_BYTES = 8


class Shared(NamedTuple):
    """Anonymous pages one after the other that an address space maps, and another one as well."""

    pid: int
    pages: int
    address: int
    pfn: int


def unreadable(kcore: Memory, layout: Layout) -> List[Missing]:
    """What is missing in snapshots on this kernel."""
    try:
        _page_tables(kcore, layout)
    except ProbeError as error:
        lost = "pages that are writable in one address space and mapped in another"
        return [Missing("truth", ("page-table entries",), str(error), lost)]
    return []


def _page_tables(kcore: Memory, layout: Layout) -> arch.PageTables:
    told = kcore.told()
    if not told:
        raise ProbeError("without /proc/kcore no physical address can be read")
    if "pgd" not in layout.task:
        raise ProbeError("struct mm_struct has no field pgd")
    return arch.here().page_tables(told, mmap.PAGESIZE)


def shared_pages(
    pid: int, address: int, pages: int, entry: int, mappers: "array.array[int]"
) -> Iterator[Shared]:
    """The pages of a run that others map as well; ``mappers``: of each page of the run."""
    if entry & FILE or max(mappers) < 2:
        return
    first = 0
    while first < pages:
        end = first
        while end < pages and mappers[end] > 1:
            end += 1
        if end > first:
            at = address + first * mmap.PAGESIZE
            yield Shared(pid, end - first, at, (entry & PFN_MASK) + first)
        first = end + 1


class Rights:
    """Reads page tables for the snapshots of a recording."""

    def __init__(self, kcore: Memory, layout: Layout, listed: Optional[TaskList]) -> None:
        """``listed``: the kernel's list of tasks, by which an address space is found."""
        self._kcore, self._layout, self._listed = kcore, layout, listed

    @cached_property
    def _machine(self) -> arch.PageTables:
        """How page tables are built: the same in all snapshots."""
        return _page_tables(self._kcore, self._layout)

    def of(self, shared: List[Shared]) -> bytes:
        """The runs of these pages, packed."""
        tops = self._tops(shared)
        found = []
        for run in shared:
            top = tops.get(run.pid)
            parts = top.of(run) if top else [(run.pages, run.pfn)]
            at = run.address
            for pages, entry in parts:
                found.append(RUN.pack(run.pid, pages, at, entry))
                at += pages * mmap.PAGESIZE
        return b"".join(found)

    def _tops(self, shared: List[Shared]) -> "Dict[int, _Tables]":
        """The page tables of each process, where they can be found."""
        found: Dict[int, _Tables] = {}
        if not shared or self._listed is None:
            return found
        with contextlib.suppress(OSError, ProbeError):
            machine = self._machine
            mms = self._listed.mms()
            for pid in {run.pid for run in shared}:
                # A process whose first thread has ended has none in the list.
                if mms.get(pid):
                    pgd = self._kcore.u64(mms[pid] + self._layout.task["pgd"])
                    found[pid] = _Tables(self._kcore, machine, pgd)
        return found


class _Tables:
    """The page tables of one process, which stands still."""

    def __init__(self, kcore: Memory, machine: arch.PageTables, pgd: int) -> None:
        self._kcore, self._machine, self._pgd = kcore, machine, pgd
        #: What maps the memory of each PMD: a table of entries, or the PMD itself.
        self._last: Dict[int, Union[int, "array.array[int]"]] = {}

    def of(self, run: Shared) -> Iterator[Tuple[int, int]]:
        """(pages, entry as it is kept) of parts of a run, one after the other."""
        first, state = 0, self._state(run.address, run.pfn)
        for page in range(1, run.pages):
            now = self._state(run.address + page * mmap.PAGESIZE, run.pfn + page)
            if now != state:
                yield page - first, run.pfn + first | state
                first, state = page, now
        yield run.pages - first, run.pfn + first | state

    def _state(self, address: int, pfn: int) -> int:
        """KNOWN and WRITABLE of the page at an address, if its entry names this page."""
        number = address // mmap.PAGESIZE
        pmd, page = divmod(number, FRAME_PAGES)
        if pmd not in self._last:
            self._last[pmd] = self._read(number)
        last = self._last[pmd]
        if isinstance(last, int):
            mapped = self._machine.mapped(last, 2)
            mapped = (mapped[0] + page, mapped[1]) if mapped else None
        else:
            mapped = self._machine.mapped(last[page], 1)
        if mapped is None or mapped[0] != pfn:
            return 0
        return KNOWN | (WRITABLE if mapped[1] else 0)

    def _read(self, number: int) -> Union[int, "array.array[int]"]:
        """What maps the memory of a PMD, in which the page of this number lies; 0: not found."""
        table: Optional[int] = None
        for level in range(self._machine.levels, 1, -1):
            index = number // FRAME_PAGES ** (level - 1) % FRAME_PAGES * ENTRY_BYTES
            try:
                if table is None:
                    entry = self._kcore.u64(self._pgd + index)
                else:
                    data = self._kcore.physical(table + index, ENTRY_BYTES)
                    entry = int.from_bytes(data, "little")
                table = self._machine.table(entry)
                if table is None:
                    return entry if level == 2 else 0
            except ProbeError:
                return 0
        try:
            return array.array("Q", self._kcore.physical(table or 0, mmap.PAGESIZE))
        except ProbeError:
            return 0
