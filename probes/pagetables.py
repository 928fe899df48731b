# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks the page tables of a task by /proc/PID/pagemap, VMA by VMA."""

from __future__ import annotations

import array
import mmap
import os
import sys
from typing import Iterator, List, NamedTuple, Tuple

#: A pagemap entry that maps a page, and the page's frame number in it.
PRESENT = 1 << 63
PFN_MASK = (1 << 55) - 1
ENTRY_BYTES = 8
#: An entry that is not present: its type, above it a place in the swap area of that number, or
#: where the type is a special one (at least 23 on all kernels, and nobody has so many swap areas)
#: the page frame number.
SWAPPED = 1 << 62
TYPE_BITS = 5
SPECIAL = 23
#: All top bytes but those of swapped entries.
_NOT_SWAPPED = bytes(set(range(256)) - set(range(SWAPPED >> 56, PRESENT >> 56)))
#: Entries that are read at one time.
STRETCH = 8192


class Vma(NamedTuple):
    """One line of /proc/PID/maps; ``path``: the file's or the kernel's name for it, or ""."""

    start: int
    end: int
    flags: str
    offset: int
    inode: int
    path: str


def vmas(pid: int) -> List[Vma]:
    """The VMAs of a task's address space; none for a kernel thread or an exited task."""
    with open(f"/proc/{pid}/maps", errors="surrogateescape") as maps:
        return [_vma(line) for line in maps]


def _vma(line: str) -> Vma:
    span, flags, offset, _device, inode, *path = line.rstrip("\n").split(None, 5)
    start, end = (int(part, 16) for part in span.split("-"))
    return Vma(start, end, flags, int(offset, 16), int(inode), path[0] if path else "")


def walk(pid: int) -> Iterator[Tuple[Vma, int, "array.array[int]"]]:
    """Yield (VMA, virtual address, pagemap entries of the pages from there on), by address.

    Ranges in which no page is mapped, swapped or marked are left out.  Raises OSError if the
    task is gone.
    """
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for vma in vmas(pid):
            for address, entries in _stretches(fd, vma):
                yield vma, address, entries
    finally:
        os.close(fd)


def frames_not_present(entries: "array.array[int]") -> Iterator[int]:
    """The page frames of entries that name a page without being present.

    Some of these map it, for a device that has it for itself or has its contents; others do not:
    the page is under migration, or poisoned.  Which type is which depends on the configuration.
    """
    # There are few, and seldom any: most entries are passed over without a look at each.
    top = 7 if sys.byteorder == "little" else 0
    if entries.tobytes()[top::8].translate(None, _NOT_SWAPPED):
        for entry in entries:
            if SWAPPED <= entry < PRESENT and entry % (1 << TYPE_BITS) >= SPECIAL:
                yield (entry & PFN_MASK) >> TYPE_BITS


def _stretches(fd: int, vma: Vma) -> Iterator[Tuple[int, "array.array[int]"]]:
    at, stop = (address // mmap.PAGESIZE * ENTRY_BYTES for address in (vma.start, vma.end))
    # The vsyscall page lies beyond what a file offset can name.
    while at < stop < 1 << 63:
        data = os.pread(fd, min(stop - at, STRETCH * ENTRY_BYTES), at)
        if not data:
            break
        if data.strip(b"\0"):
            yield at // ENTRY_BYTES * mmap.PAGESIZE, array.array("Q", data)
        at += len(data)
