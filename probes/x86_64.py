# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64, for the recorder (the names are described in probes/arch.py).

gcc compiles ``atomic_inc(&page->_mapcount)`` to ``lock incl OFFSET(%reg)``: bytes F0,
an optional REX.B (41), FF, a ModRM byte that names the register, the offset; and
``atomic_dec()`` to ``lock decl``.  On a machine with one CPU the kernel has overwritten the
lock prefix by another that does nothing, 3E; one that is built for such machines has none.
The register holds the struct page.  A kprobe
may sit on any instruction boundary, and the kernel itself refuses an address that is none.
"""

from __future__ import annotations

import contextlib
import re
from typing import List, Mapping, Optional, Tuple

from probes.errors import ProbeError
from probes.kernel import Memory

#: Integer arguments of a function call, and its result, as pt_regs names them.
ARGUMENTS: Tuple[str, ...] = ("di", "si", "dx", "cx", "r8", "r9")
RESULT = "ax"

# arch/x86/entry/syscalls/syscall_64.tbl
BPF, PERF_EVENT_OPEN, KCMP = 321, 298, 312
#: Loads are not reordered with loads here, nor a store with the loads before it.
MEMBARRIER: Optional[int] = None

#: The variable that says where the struct pages begin.
SYMBOLS: Tuple[str, ...] = ("vmemmap_base",)
#: __VMEMMAP_BASE_L5 and _L4: where they begin, by the levels of page tables, if the kernel places
#: nothing at random.  With five levels the other one may be KASAN's, with four this is no address.
VMEMMAP = (0xFFD4000000000000, 0xFFFFEA0000000000)

#: pt_regs fields by the register number that ModRM (and REX.B) encode.
REGISTERS = (
    ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
    + tuple(f"r{n}" for n in range(8, 16))
)  # fmt: skip

#: How many bytes before its use a pointer to the field is made.
POINTER_REACH = 16

LEAD = 0
#: The lock prefix, or what a kernel on one CPU makes of it.
_LOCK = b"[\xf0\x3e]"

#: The /digit of ModRM that tells the two apart: FF /0 is INC, FF /1 is DEC.
_DIGITS = {1: 0, -1: 1}


def vmemmap(address: Mapping[str, int], kcore: Memory) -> int:
    """The address of the first struct page.  Raises ProbeError if it cannot be found."""
    if "vmemmap_base" in address:
        return kcore.u64(address["vmemmap_base"])
    for base in VMEMMAP:
        with contextlib.suppress(ProbeError):
            kcore.u64(base)
            return base
    raise ProbeError(
        "/proc/kallsyms has no vmemmap_base (a kernel without CONFIG_KALLSYMS_ALL), and at "
        f"{' and '.join(f'{base:#x}' for base in VMEMMAP)}, where struct pages begin if nothing is "
        "placed at random, there are none: boot with nokaslr"
    )


class PageTables:
    """Page tables with pages of 4 KiB."""

    #: _PAGE_PRESENT, _PAGE_RW, _PAGE_PSE, _PAGE_PROTNONE, and where the address is.
    _PRESENT, _WRITE, _LARGE, _PROT_NONE = 1, 1 << 1, 1 << 7, 1 << 8
    _ADDRESS = (1 << 52) - (1 << 12)

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def table(self, entry: int) -> Optional[int]:
        """The table that an entry leads to."""
        leads = entry & self._PRESENT and not entry & self._LARGE
        return entry & self._ADDRESS if leads else None

    def mapped(self, entry: int, level: int) -> Optional[Tuple[int, bool]]:
        """The first pfn, and whether it may be written: by shadow stacks, which write where an
        entry says that it is read-only, nothing is said."""
        there = self._PRESENT | self._PROT_NONE | (self._LARGE if level == 2 else 0)
        if not entry & there:
            return None
        present = bool(entry & self._PRESENT)
        # The address of others is inverted, against L1TF (arch/x86/include/asm/pgtable-invert.h).
        pfn = ((entry if present else ~entry) & self._ADDRESS) >> 12
        # The lowest bit of a huge page's address is another flag.
        return pfn & ~511 if level == 2 else pfn, present and bool(entry & self._WRITE)


def page_tables(told: Mapping[str, int], page_size: int) -> PageTables:
    """The page tables of this boot.  Raises ProbeError."""
    if "pgtable_l5_enabled" not in told:
        raise ProbeError("the kernel's VMCOREINFO does not tell how many levels page tables have")
    return PageTables(5 if told["pgtable_l5_enabled"] else 4)


def updates(text: bytes, offset: int, delta: int, smp: bool) -> List[Tuple[int, str]]:
    """(position, pt_regs field) of each ``lock incl`` (delta 1) or ``lock decl`` (delta -1)
    of ``offset(%reg)`` in machine code.

    Without a lock, what looks so may be of another structure: its register holds no struct page.

    Only the form with an 8-bit displacement is looked for, which covers the offsets up to
    127 that struct page and the first tail's counters have.
    """
    if not 0 <= offset < 128:
        return []
    # ModRM 01 digit reg: displacement of 8 bits.  Register 100 (rsp, r12) means that a SIB
    # byte follows, of which 24 names that register alone.
    base = 0x40 | _DIGITS[delta] << 3
    modrm = b"".join(b"\\x%02x" % (base | reg) for reg in (0, 1, 2, 3, 5, 6, 7))
    with_sib = b"\\x%02x\\x24" % (base | 4)
    lock = _LOCK if smp else b""
    pattern = lock + b"(\x41?)\xff([" + modrm + b"]|" + with_sib + b")" + re.escape(bytes([offset]))
    found = []
    for match in re.finditer(pattern, text, re.DOTALL):
        number = (match.group(2)[0] & 7) + (8 if match.group(1) else 0)
        found.append((match.start(), REGISTERS[number]))
    return sorted(found + _through_pointer(text, lock, offset, delta))


def instruction(text: bytes, at: int) -> bytes:
    """The bytes of the update that updates() found at a position."""
    modrm = text.index(b"\xff", at) + 1
    end = modrm + 1
    if text[modrm] & 7 == 4:
        end += 1  # SIB
    if text[modrm] >> 6 == 1:
        end += 1  # displacement
    return text[at:end]


def calls(text: bytes, start: int, function: int) -> List[Tuple[int, Optional[int]]]:
    """(position, where it returns to) of each call of a function in text that lies at ``start``:
    E8 and the distance, from the end of the instruction on.  A jump there, E9, does not return."""
    return [
        (at.start(), at.start() + 5 if at.group(1) == b"\xe8" else None)
        # Looked for at each byte: where an instruction begins is not known.
        for at in re.finditer(b"(?=([\xe8\xe9])(.{4}))", text, re.DOTALL)
        if start + at.start() + 5 + int.from_bytes(at.group(2), "little", signed=True) == function
    ]


def same_update(kept: bytes, there: bytes) -> bool:
    """Whether some bytes are the kept update, as a machine with one CPU or with more has it."""
    locked = re.match(_LOCK, kept) and re.match(_LOCK, there)
    return there == kept or (locked is not None and there[1:] == kept[1:])


def _through_pointer(text: bytes, lock: bytes, offset: int, delta: int) -> List[Tuple[int, str]]:
    """Updates through a register that was moved to the field itself: ``add $offset,%reg``
    not far before ``lock incl (%reg)``, which a loop then moves from page to page."""
    base = _DIGITS[delta] << 3
    modrm = b"".join(b"\\x%02x" % (base | reg) for reg in (0, 1, 2, 3, 6, 7))
    found = []
    for match in re.finditer(lock + b"(\x41?)\xff([" + modrm + b"])", text, re.DOTALL):
        low, high = match.group(2)[0] & 7, bool(match.group(1))
        add = bytes([0x49 if high else 0x48, 0x83, 0xC0 | low, offset])
        if add in text[max(0, match.start() - POINTER_REACH) : match.start()]:
            found.append((match.start(), f"{REGISTERS[low + 8 * high]} - {offset}"))
    return found
