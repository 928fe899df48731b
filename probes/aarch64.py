# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64, for the recorder (the names are described in probes/arch.py).

On a CPU with LSE atomics the kernel runs ``atomic_inc(&page->_mapcount)`` as ``stadd Ws, [Xn]``
with 1 in Ws, and ``atomic_dec()`` as the same with -1.  The instruction has no displacement:
``add Xn, Xm, #OFFSET`` comes before it.  For CPUs without, a loop of ldxr and stxr lies out of
line, where a kprobe must not sit.  A branch to it comes before each stadd, which the kernel
replaces by a nop where there are LSE atomics.  Where the running text still has that branch,
nothing is found, and the brackets of the functions take over.
"""

from __future__ import annotations

import mmap
import struct
from typing import List, Mapping, Optional, Tuple

from probes.errors import ProbeError
from probes.kernel import Memory

#: Integer arguments of a function call, and its result, as struct pt_regs has them.
ARGUMENTS: Tuple[str, ...] = tuple(f"regs[{number}]" for number in range(8))
RESULT = "regs[0]"

# include/uapi/asm-generic/unistd.h
BPF, PERF_EVENT_OPEN, KCMP = 280, 241, 272
#: Loads may pass loads here, and stores loads: who reads what others write has to order it.
MEMBARRIER: Optional[int] = 283

#: The table of memory sections, in which each tells where its struct pages are.
SYMBOLS: Tuple[str, ...] = ("mem_section",)
#: Pointers of the table that are looked at in one read, and reads at most.  Each is of a page full
#: of sections (SECTIONS_PER_ROOT).
_ROOTS, _READS = 512, 64
#: struct mem_section.section_mem_map: flags, of which these two say that there are pages.
_FLAGS, _HAS_PAGES = 0x3F, 0x3

_INSN = struct.Struct("<I")
#: How many instructions before its use a pointer to the field, or the number added, is made.
REACH = 24
#: Among these is the branch to the loop, or its nop.
LEAD = REACH * _INSN.size
#: stadd Ws, [Xn], but for its registers
_STADD, _STADD_MASK = 0xB820001F, 0xFFE0FC1F
#: mov Wd, #1 and mov Wd, #-1, and add Xd, Xn, #0, but for their registers
_MOV, _ADD, _SOURCE = {1: 0x52800020, -1: 0x12800000}, 0x91000000, 31 << 5
_NOP, _B, _BL = 0xD503201F, 0b000101, 0b100101


def vmemmap(address: Mapping[str, int], kcore: Memory) -> int:
    """The address of the first struct page.  Raises ProbeError if it cannot be found.

    It depends on the number of address bits and on the start of memory, and differently in each
    era.  But each memory section has the address that the page of pfn 0 would have
    (sparse_encode_mem_map()).
    """
    if "mem_section" not in address:
        raise ProbeError(
            "/proc/kallsyms has no mem_section, which tells where struct pages are: use a kernel "
            "with CONFIG_KALLSYMS_ALL and CONFIG_SPARSEMEM_VMEMMAP"
        )
    table = kcore.u64(address["mem_section"])
    for read in range(_READS):
        roots = kcore.read(table + read * _ROOTS * 8, _ROOTS * 8)
        for (root,) in struct.iter_unpack("<Q", roots):
            sections = kcore.read(root, mmap.PAGESIZE) if root else b""
            for (word,) in struct.iter_unpack("<Q", sections):
                if word & _HAS_PAGES == _HAS_PAGES:
                    return int(word & ~_FLAGS)
    raise ProbeError("no memory section has struct pages: the kernel's mem_section is not known")


class PageTables:
    """Page tables for addresses of so many bits."""

    _VALID, _TABLE = 1, 2
    #: PTE_WRITE, the processor's DBM: pte_write().  A page that was not written yet has the bit of
    #: read-only (AP[2]) beside it, which the processor or a fault takes away without asking more.
    _WRITE = 1 << 51

    def __init__(self, bits: int, page_size: int) -> None:
        shift = page_size.bit_length() - 1
        # A table is a page of 8-byte entries.
        self.levels = -(-(bits - shift) // (shift - 3))
        self._shift = shift
        # With LPA2 two bits of the address are where others have the shareability.
        self._high = 3 if bits > 48 else 0
        self._address = (1 << (50 if bits > 48 else 48)) - page_size

    def table(self, entry: int) -> Optional[int]:
        """The table that an entry leads to."""
        both = self._VALID | self._TABLE
        return self._at(entry) if entry & both == both else None

    def mapped(self, entry: int, level: int) -> Optional[Tuple[int, bool]]:
        """The first pfn, and whether it may be written.  Which bit PROT_NONE leaves depends on the
        version; that such an entry names the page is for the caller to see."""
        if not entry:
            return None
        return self._at(entry) >> self._shift, bool(entry & self._VALID and entry & self._WRITE)

    def _at(self, entry: int) -> int:
        return entry & self._address | (entry >> 8 & self._high) << 50


def page_tables(told: Mapping[str, int], page_size: int) -> PageTables:
    """The page tables of this boot.  Raises ProbeError."""
    # The kernel's half of the addresses is as large as that of processes.
    if "TCR_EL1_T1SZ" not in told:
        raise ProbeError("the kernel's VMCOREINFO does not tell how many bits addresses have")
    return PageTables(64 - told["TCR_EL1_T1SZ"], page_size)


def updates(text: bytes, offset: int, delta: int, smp: bool) -> List[Tuple[int, str]]:
    """(position, page) of each ``stadd`` that adds ``delta`` to the field at ``offset``.

    There is no arm64 without CONFIG_SMP.
    """
    code = _words(text)
    found = []
    for at, word in enumerate(code):
        if word & _STADD_MASK != _STADD:
            continue
        added, pointer = word >> 16 & 31, word >> 5 & 31
        before = code[max(0, at - REACH) : at]
        if (
            _runs(before)
            and _written(added, before) == _MOV[delta] | added
            and _written(pointer, before) & ~_SOURCE == _ADD | offset << 10 | pointer
        ):
            found.append((4 * at, f"regs[{pointer}] - {offset}"))
    return found


def instruction(text: bytes, at: int) -> bytes:
    """The bytes of the update that updates() found at a position."""
    return text[at : at + _INSN.size]


def calls(text: bytes, start: int, function: int) -> List[Tuple[int, Optional[int]]]:
    """(position, where it returns to) of each bl to a function in text that lies at ``start``; a
    jump there, b, does not return."""
    return [
        (4 * at, 4 * at + 4 if word >> 26 == _BL else None)
        for at, word in enumerate(_words(text))
        if word >> 26 in (_B, _BL)
        and start + 4 * (at + (word & 0x1FFFFFF) - (word & 0x2000000)) == function
    ]


def same_update(kept: bytes, there: bytes) -> bool:
    """Whether the bytes end with the kept update and execute it: a boot changes only the branch
    before it, and programs compiled on a CPU with LSE atomics may be used on one without."""
    return there[LEAD:] == kept and _runs(_words(there[:LEAD]))


def _words(text: bytes) -> List[int]:
    """The whole instructions in some text."""
    return [word for (word,) in _INSN.iter_unpack(text[: len(text) // _INSN.size * _INSN.size])]


def _runs(before: List[int]) -> bool:
    """Whether the processor comes to what follows: the branch that leads past it is a nop."""
    way = next((word for word in reversed(before) if word == _NOP or word >> 26 == _B), _NOP)
    return way == _NOP


def _written(register: int, before: List[int]) -> int:
    """The instruction that wrote a register last, as far as that can be told; 0: it cannot."""
    for word in reversed(before):
        group = word >> 25 & 0xF
        if word >> 26 == _BL:
            return 0  # whatever the function left there
        computes = group & 0b1110 == 0b1000 or group & 0b0111 == 0b0101
        loads = group & 0b0101 == 0b0100 and word & 1 << 22
        if (computes or loads) and word & 31 == register:
            return word
        if loads and word & 0x3A000000 == 0x28000000 and word >> 10 & 31 == register:
            return 0  # the second of ldp
    return 0
