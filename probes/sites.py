# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds inlined counter updates in the live kernel's text.

gcc compiles ``atomic_inc(&page->_mapcount)`` to ``lock incl OFFSET(%reg)``: bytes F0,
an optional REX.B (41), FF, a ModRM byte that names the register, the offset.  The
register holds the struct page.  A kprobe may sit on any instruction boundary, and the
kernel itself refuses an address that is none.
"""

from __future__ import annotations

import re
from typing import List, Tuple

#: pt_regs fields by the register number that ModRM (and REX.B) encode.
REGISTERS = (
    ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
    + tuple(f"r{n}" for n in range(8, 16))
)  # fmt: skip


def increments(text: bytes, offset: int) -> List[Tuple[int, str]]:
    """(position, pt_regs field) of each ``lock incl offset(%reg)`` in machine code.

    Only the form with an 8-bit displacement is looked for, which covers the offsets up to
    127 that struct page and the first tail's counters have.
    """
    if not 0 <= offset < 128:
        return []
    found = []
    # ModRM 01 000 reg: displacement of 8 bits, /0 = INC; reg 100 would mean a SIB byte.
    pattern = re.compile(
        b"\xf0(\x41?)\xff([\x40-\x43\x45-\x47])" + re.escape(bytes([offset])), re.S
    )
    for match in pattern.finditer(text):
        number = (match.group(2)[0] & 7) + (8 if match.group(1) else 0)
        found.append((match.start(), REGISTERS[number]))
    return found
