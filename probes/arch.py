# SPDX-License-Identifier: GPL-2.0-or-later
"""The names that a machine's module defines for the recorder, and which module is this machine's.

A module of a machine has a header of the same name in probes/bpf/, which decodes its page-table
entries.
"""

from __future__ import annotations

import mmap
import platform
from typing import Dict, List, Mapping, Optional, Protocol, Tuple

from probes import aarch64, x86_64
from probes.errors import ProbeError
from probes.kernel import Memory


class PageTables(Protocol):
    """How the page tables of a machine's processes are built."""

    #: From 1, whose entries map pages, to that of the pgd.
    levels: int

    def table(self, entry: int) -> Optional[int]:
        """The physical address of the table that an entry above level 1 leads to; None: to none,
        as it is empty, or maps memory itself."""

    def mapped(self, entry: int, level: int) -> Optional[Tuple[int, bool]]:
        """The first pfn that an entry maps at level 1 or 2, and whether the processor lets its
        process write there (or asks nobody but the entry itself before it does).  An entry that
        PROT_NONE or NUMA balancing left maps its page, and lets nobody write.  None: it cannot be
        told."""


class Arch(Protocol):
    """The names that a machine's module has."""

    #: Integer arguments of a function call, and its result, as fields of struct pt_regs.
    ARGUMENTS: Tuple[str, ...]
    RESULT: str
    #: Numbers of system calls that Python does not have.
    BPF: int
    PERF_EVENT_OPEN: int
    KCMP: int
    #: The one that orders memory; None: the processor orders loads by itself.
    MEMBARRIER: Optional[int]
    #: Symbols from which vmemmap() finds the struct pages.
    SYMBOLS: Tuple[str, ...]

    def vmemmap(self, address: Mapping[str, int], kcore: Memory) -> int:
        """The address of the first struct page, by the symbols.  Raises ProbeError."""

    def updates(self, text: bytes, offset: int, delta: int, smp: bool) -> List[Tuple[int, str]]:
        """(position, page) of each inlined increment (delta 1) or decrement (delta -1) of the
        field at an offset; the page as an expression of a field of struct pt_regs.  smp: the kernel
        is built for several CPUs."""

    def instruction(self, text: bytes, at: int) -> bytes:
        """The bytes of the update that updates() found at a position."""

    def calls(self, text: bytes, start: int, function: int) -> List[Tuple[int, Optional[int]]]:
        """(position, where it returns to) of each call, in text that lies at an address, of the
        function at another; None for a jump there."""

    #: How many bytes before an update may say that the processor passes it by.
    LEAD: int

    def same_update(self, kept: bytes, there: bytes) -> bool:
        """Whether some bytes, LEAD bytes and an update, are the kept update, as another boot of
        the kernel may patch it, and are executed."""

    def page_tables(self, told: Mapping[str, int], page_size: int) -> PageTables:
        """Those of this boot, by what the kernel tells crash dumps (VMCOREINFO).  Raises
        ProbeError if it does not tell enough."""


#: Bytes of a page that are known (set_state() of bpf/watch.h).
PAGE_SIZES = (4096, 16384)
#: By what `uname -m` says.
ARCHES: Dict[str, Arch] = {"aarch64": aarch64, "x86_64": x86_64}


def name() -> str:
    """This machine's name.  Raises ProbeError if it is not supported."""
    machine = platform.machine()
    if machine not in ARCHES:
        raise ProbeError(f"{machine} is not supported: use one of {', '.join(ARCHES)}")
    if mmap.PAGESIZE not in PAGE_SIZES:
        raise ProbeError(
            f"pages of {mmap.PAGESIZE} bytes are not supported: boot a kernel with pages of "
            + " or ".join(f"{size >> 10}" for size in PAGE_SIZES)
            + " KiB"
        )
    return machine


def here() -> Arch:
    """This machine's module.  Raises ProbeError if there is none."""
    return ARCHES[name()]
