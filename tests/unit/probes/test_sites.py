# SPDX-License-Identifier: GPL-2.0-or-later
"""Instruction sites: found by their bytes, with the register that holds the page."""

from probes.sites import increments


def test_increments_when_the_text_holds_several_forms():
    # GIVEN lock incl 0x30(%rax), 0x30(%rbp), 0x30(%r14), and look-alikes
    text = (
        b"\x90\xf0\xff\x40\x30"  # rax
        b"\xf0\xff\x45\x30"  # rbp
        b"\x90\xf0\x41\xff\x46\x30"  # r14
        b"\xf0\xff\x40\x34"  # another offset: _refcount
        b"\xf0\xff\x48\x30"  # lock decl
        b"\xff\x40\x30"  # not locked
    )
    # WHEN increments at offset 0x30 are looked for
    found = increments(text, 0x30)
    # THEN exactly the three are found, with their registers
    assert found == [(1, "ax"), (5, "bp"), (10, "r14")]


def test_increments_when_the_offset_needs_32_bits():
    # GIVEN an offset that the 8-bit form cannot hold, THEN nothing is guessed
    assert increments(b"\xf0\xff\x40\x80", 128) == []
