# SPDX-License-Identifier: GPL-2.0-or-later
"""The naive kernel with virtual addresses: each page that a process maps lies at one of them."""

from __future__ import annotations

from tests.mock import MockTrace
from tests.mock_kernel import Folio, MockKernel

#: Where the kernel of the mock has its address spaces.
SPACES = 0xFFFF888000000000
#: Where the story's huge page is at first, and where a part of it is moved.
A, B = 1 << 46, 1 << 45


def mm_of(pid: int) -> int:
    """The address space of a process."""
    return SPACES + pid * 0x1000


class PlacedKernel(MockKernel):
    """Records a place before each operation; processes of ``pids`` are there from the start.

    ``address``: by process and pfn, where the page is mapped now, or is if it is mapped.
    """

    def __init__(self, trace: MockTrace, pids: tuple[int, ...]) -> None:
        super().__init__(trace)
        trace.where = True
        trace.spaces = [(pid, mm_of(pid)) for pid in pids]
        self.address: dict[tuple[int, int], int] = {}

    def address_of(self, pid: int, pfn: int) -> int:
        """Where a process maps a page; by default all map it at the same address."""
        return self.address.get((pid, pfn), (1 << 46) + pfn * self.trace.page_size)

    def emit(
        self, name: str, folio: Folio, page: int = 0, mm: int | None = None,
        at: int | None = None, **more: object,
    ) -> None:  # fmt: skip
        """Record where it is, and then what a probe sees."""
        pid, pfn = at or mm, folio.head + page
        if pid:
            tid = int(more["tid"])  # type: ignore[call-overload]
            self.trace.place(pfn, mm_of(pid), self.address_of(pid, pfn), tid)
        super().emit(name, folio, page, mm, at, **more)

    def _lay(self, folio: Folio, pid: int, page: int, nr: int) -> None:
        """Pages that are mapped together lie side by side."""
        first = self.address_of(pid, folio.head + page)
        for more in range(nr):
            self.address[pid, folio.head + page + more] = first + more * self.trace.page_size

    def map_pmd(self, folio: Folio, pid: int, new: bool = False) -> None:
        """Map all of it at the place of its first page."""
        self._lay(folio, pid, 0, folio.pages)
        super().map_pmd(folio, pid, new)

    def map_pte(self, folio: Folio, pid: int, page: int, nr: int = 1) -> None:
        """Map some pages at the place of the first."""
        self._lay(folio, pid, page, nr)
        super().map_pte(folio, pid, page, nr)

    def unmap_pte(self, folio: Folio, pid: int, page: int, nr: int = 1) -> None:
        """Unmap some pages, together as far as they lie side by side."""
        size = self.trace.page_size
        base = [self.address_of(pid, folio.head + at) - at * size for at in range(folio.pages)]
        for first in range(page, page + nr):
            if first > page and base[first] == base[first - 1]:
                continue
            end = next((at for at in range(first, page + nr) if base[at] != base[first]), page + nr)
            super().unmap_pte(folio, pid, first, end - first)

    def fork(self, folio: Folio, parent: int, child: int) -> None:
        """A copy lies where the original does."""
        for pfn in range(folio.head, folio.head + folio.pages):
            self.address[child, pfn] = self.address_of(parent, pfn)
        super().fork(folio, parent, child)

    def move(self, folio: Folio, pid: int, page: int, nr: int, to: int) -> None:
        """mremap some pages, page by page; whoever moves part of a PMD mapping splits it."""
        if pid in folio.pmds and nr < folio.pages:
            self.split_pmd(folio, pid)
        size, pfn = self.trace.page_size, folio.head + page
        for at in [pfn] if pid in folio.pmds else range(pfn, pfn + nr):
            new = to + (at - pfn) * size
            length = size * (nr if pid in folio.pmds else 1)
            self.trace.moved(mm_of(pid), self.address_of(pid, at), new, length, pid)
            for moved in range(at, at + length // size):
                self.address[pid, moved] = new + (moved - at) * size

    def mapped(self) -> set[tuple[int, int, int]]:
        """(pid, address, pfn) of each page that is mapped, by the page tables."""
        found = set()
        for folio in self.folios:
            every = [(pid, page) for pid in folio.pmds for page in range(folio.pages)]
            for pid, page in [*every, *folio.ptes]:
                found.add((pid, self.address_of(pid, folio.head + page), folio.head + page))
        return found


def story(name: str = "\x1b[moved") -> MockTrace:
    """A huge page that a parent shares with a child, which moves and drops parts, and execs;
    ``name``: of the mapping that it moves to."""
    trace = MockTrace("large")
    kernel = PlacedKernel(trace, (100,))
    folio = kernel.alloc(0x800)
    for pfn in range(0x800, 0xA00):
        kernel.address[100, pfn] = A + (pfn - 0x800) * 4096
    kernel.map_pmd(folio, 100, new=True)
    _mark(trace, "whole", name, 100)
    kernel.fork(folio, 100, 101)
    trace.task_new(101, "child", mm=mm_of(101))
    kernel.move(folio, 101, 256, 256, B + 4096)
    kernel.unmap_pte(folio, 101, 16, 16)
    _mark(trace, "parts", name, 100, 101)
    kernel.exit(folio, 101)
    trace.task_rename(101, "other", mm=mm_of(500))
    small = kernel.alloc(0xC00, 2, tid=101)
    trace.place(0xC00, mm_of(500), A + 0x5000, 101)
    trace.record("map_new", 0xC00, order=2, nr=4, tid=101, refcount=4)
    small.ptes |= {(101, page) for page in range(4)}
    _mark(trace, "exec", name, 100, 101)
    return trace


def _mark(trace: MockTrace, name: str, moved: str, *pids: int) -> None:
    """A snapshot; each process has three mappings: two halves of the first 2 MiB, and more."""
    vmas = [
        (A, A + (1 << 20), "rw-p", "heap"),
        (A + (1 << 20), A + (2 << 20), "rw-p", ""),
        (B, B + (4 << 20), "rw-p", moved),
    ]
    trace.mark(name)
    trace.truth(name, [], b"", [], [], tasks=pids, vmas={pid: vmas for pid in pids})
    trace.tick(10_000)
