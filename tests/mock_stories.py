# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces that imitate the lab's workloads: a life cycle, the 2015 race, a file THP."""

from __future__ import annotations

from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

HEAD = 0x12400
PARENT, FIRST, SECOND, READER = 100, 101, 102, 900
MS = 1_000_000


def _mark(kernel: MockKernel, name: str, idle: int = 20 * MS) -> None:
    kernel.trace.mark(name)
    kernel.snapshot(name, tasks=(PARENT, FIRST, SECOND))
    kernel.trace.tick(idle)


def lifecycle(era: str = "double_map") -> MockTrace:
    """An anon THP: faulted in, forked twice, split by a child, unmapped, split, freed."""
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    kernel.snapshot("start")
    folio = kernel.alloc(HEAD)
    trace.tick(300_000)
    kernel.map_pmd(folio, PARENT, new=True)
    _mark(kernel, "faulted")
    for child, name in ((FIRST, "child-1"), (SECOND, "child-2")):
        trace.task_new(child, "workload", PARENT)
        trace.task_rename(child, name)
        kernel.fork(folio, PARENT, child)
    _mark(kernel, "forked")
    kernel.split_pmd(folio, FIRST)
    kernel.unmap_pte(folio, FIRST, 256)
    _mark(kernel, "child split")
    kernel.split_pmd(folio, PARENT)
    _mark(kernel, "parent split")
    kernel.exit(folio, SECOND)
    trace.task_exit(SECOND, "child-2")
    _mark(kernel, "child 2 exited")
    kernel.exit(folio, FIRST)
    trace.task_exit(FIRST, "child-1")
    _mark(kernel, "child 1 exited")
    kernel.unmap_pte(folio, PARENT, 64, 64)
    kernel.emit("deferred", folio, tid=PARENT)
    _mark(kernel, "partly unmapped")
    small = kernel.split_folio(folio)
    _mark(kernel, "folio split")
    for page in small:
        kernel.exit(page, PARENT)
        kernel.free(page)
    _mark(kernel, "gone")
    kernel.trace.tick(MS)
    return trace


def seed_2015(era: str = "double_map", rounds: int = 5) -> MockTrace:
    """Map, touch and unmap one huge page again and again beside a reader."""
    trace = MockTrace(era)
    trace.tasks.append((READER, READER, "page-types"))
    kernel = MockKernel(trace)
    for round_ in range(rounds):
        folio = kernel.alloc(HEAD)
        trace.tick(400_000)
        kernel.map_pmd(folio, PARENT, new=True)
        for page in (3, 77):
            trace.tick(100_000)
            kernel.emit("read", folio, page, tid=READER, cpu=1)
            kernel.emit("read_done", folio, page, tid=READER, cpu=1, aux=0)
        trace.tick(900_000)
        kernel.unmap_pmd(folio, PARENT)
        if round_ % 2:
            kernel.emit("read", folio, 130, tid=READER, cpu=1)
        trace.tick(5000)
        kernel.free(folio)
        trace.tick(3000)
        if round_ % 2:
            trace.record("read_done", HEAD + 130, tid=READER, cpu=1, aux=0, freed=True)
        trace.tick(50_000)
    kernel.older(HEAD)
    kernel.snapshot("end", tasks=(PARENT,))
    return trace


def crash(era: str = "double_map") -> MockTrace:
    """The race of 2015 on a kernel that looks: survived once, then the reader dies of it."""
    trace = MockTrace(era)
    trace.tasks.append((READER, READER, "page-types"))
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.emit("read", folio, 7, tid=READER, cpu=1)
    kernel.free(folio)
    trace.tick(70_000)
    trace.record("read_done", HEAD + 7, tid=READER, cpu=1, aux=0, freed=True)
    folio = kernel.alloc(HEAD)
    trace.tick(400_000)
    kernel.map_pmd(folio, PARENT, new=True)
    trace.tick(900_000)
    trace.dies(
        [
            "[    7.100000] page dumped because: VM_BUG_ON_PAGE(!PageHead(page))",
            "[    7.100100] kernel BUG at include/linux/page-flags.h:850!",
        ]
    )
    kernel.unmap_pmd(folio, PARENT)
    kernel.emit("read", folio, 130, tid=READER, cpu=1)
    trace.tick(5000)
    kernel.free(folio)
    trace.tick(20_000)
    trace.record("oops", tid=READER, cpu=1)
    return trace


def late_crash(era: str = "double_map") -> MockTrace:
    """The reader comes while the folio's free is under way, dies, and its page is dumped."""
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, PARENT, new=True)
    kernel.unmap_pmd(folio, PARENT)
    trace.dies(["[    7.100000] page dumped because: VM_BUG_ON_PAGE(!PageHead(page))"])
    kernel.free(folio)
    trace.record("read", HEAD + 132, order=9, tid=READER, cpu=1, freed=True)
    kernel.alloc(HEAD)
    # dump_page() asks the same of the same page again.
    trace.record("read", HEAD + 132, order=9, tid=READER, cpu=1)
    trace.record("read_done", HEAD + 132, tid=READER, cpu=1, aux=0)
    trace.record("oops", tid=READER, cpu=1)
    return trace


def file_thp(era: str = "double_map") -> MockTrace:
    """A shmem THP, mapped by three processes by PMD and by PTE."""
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, anon=False)
    kernel.map_pmd(folio, PARENT)
    _mark(kernel, "mapped")
    kernel.map_pmd(folio, FIRST)
    kernel.map_pte(folio, SECOND, 16, 48)
    _mark(kernel, "shared")
    kernel.split_pmd(folio, FIRST)
    kernel.map_pte(folio, FIRST, 0, 8)
    _mark(kernel, "pmd split")
    kernel.exit(folio, SECOND)
    kernel.exit(folio, FIRST)
    _mark(kernel, "children gone")
    kernel.exit(folio, PARENT)
    kernel.free(folio)
    return trace


def half_shared(era: str = "large", healthy: bool = False) -> MockTrace:
    """Half of a folio of 16 pages is shared with a child; reclaim finds it written to, and restores
    the mappings of its process: all writable, or (healthy) as they were."""
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, order=4)
    kernel.map_pte(folio, PARENT, 0, folio.pages)
    trace.task_new(FIRST, "workload", PARENT)
    for page in range(8, 16):
        kernel.emit("dup", folio, page, FIRST, tid=PARENT)
        folio.ptes.add((FIRST, page))
        folio.track(FIRST, 1)
    # The others are the process's own.
    folio.writable = {(PARENT, page) for page in range(8)}
    _mark(kernel, "half shared")
    kernel.emit("unmap_all", folio, nr=0, tid=PARENT)
    folio.writable = {(PARENT, page) for page in range(8 if healthy else 16)}
    _mark(kernel, "half kept")
    kernel.exit(folio, FIRST)
    kernel.exit(folio, PARENT)
    kernel.free(folio)
    return trace


def lossy(era: str = "double_map") -> MockTrace:
    """A life with a stretch of lost events in it."""
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, PARENT, new=True)
    kernel.split_pmd(folio, PARENT)
    kernel.unmap_pte(folio, PARENT, 0, 100)
    begin, kept = trace.now, len(trace.items)
    kernel.unmap_pte(folio, PARENT, 100, 37)
    trace.items = trace.items[:kept]
    trace.seq[0] -= 37 if era == "double_map" else 1
    lost = 37 if era == "double_map" else 1
    trace.loss(begin, trace.now, [(0, "unmap", lost)])
    kernel.unmap_pte(folio, PARENT, 137, 60)
    kernel.snapshot("end", tasks=(PARENT,))
    return trace
