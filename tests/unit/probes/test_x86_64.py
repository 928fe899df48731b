# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64: inlined updates are found by their bytes, with the register that holds the page."""

import pytest

from probes import x86_64
from probes.x86_64 import instruction, same_update, updates


def test_updates_when_the_text_holds_several_forms():
    # GIVEN lock incl 0x30(%rax), 0x30(%rbp), 0x30(%r14), and look-alikes
    text = (
        b"\x90\xf0\xff\x40\x30"  # rax
        b"\xf0\xff\x45\x30"  # rbp
        b"\x90\xf0\x41\xff\x46\x30"  # r14
        b"\xf0\xff\x40\x34"  # another offset: _refcount
        b"\xf0\xff\x48\x30"  # lock decl
        b"\xff\x40\x30"  # not locked
        b"\xf0\x41\xff\x44\x24\x30"  # r12, which takes a SIB byte
    )
    # WHEN increments at offset 0x30 are looked for
    found = updates(text, 0x30, 1, True)
    # THEN exactly the three are found, with their registers
    assert found == [(1, "ax"), (5, "bp"), (10, "r14"), (26, "r12")]
    # AND the decrement is found as such
    assert updates(text, 0x30, -1, True) == [(19, "ax")]


def test_updates_when_the_machine_has_one_cpu():
    # GIVEN text from which the kernel has removed the lock prefix
    text = b"\x90\x3e\xff\x40\x30\x3e\x41\xff\x46\x30"
    # THEN the updates are found all the same
    assert updates(text, 0x30, 1, True) == [(1, "ax"), (5, "r14")]


def test_updates_when_the_kernel_is_built_for_one_cpu():
    # GIVEN text of a kernel without CONFIG_SMP, in which nothing is locked
    text = b"\x90\xff\x40\x30\x41\xff\x46\x30\x48\x83\xc2\x30\x89\xc8\xff\x02\xff\x48\x30"
    # THEN the updates are found, each by its own bytes
    found = updates(text, 0x30, 1, False)
    assert found == [(1, "ax"), (4, "r14"), (14, "dx - 48")]
    assert [instruction(text, at) for at, _ in found] == [text[1:4], text[4:8], text[14:16]]
    assert updates(text, 0x30, -1, False) == [(16, "ax")]
    # AND a machine with one CPU has nothing to patch in them
    assert same_update(text[4:8], text[4:8])
    assert not same_update(text[4:8], b"\xcc" + text[5:8])


def test_updates_when_the_offset_needs_32_bits():
    # GIVEN an offset that the 8-bit form cannot hold, THEN nothing is guessed
    assert updates(b"\xf0\xff\x40\x80", 128, 1, True) == []


def test_updates_when_a_loop_moves_a_pointer_to_the_field():
    # GIVEN add $0x30,%r10; mov; lock incl (%r10), as gcc compiles a batch, and a look-alike
    text = b"\x49\x83\xc2\x30\x89\xc8\xf0\x41\xff\x02" + bytes(32) + b"\xf0\x41\xff\x02"
    # THEN the page is the register less the offset, and what has no such start is left out
    assert updates(text, 0x30, 1, True) == [(6, "r10 - 48")]


@pytest.mark.parametrize(
    "update",
    [
        b"\xf0\xff\x40\x30",  # 0x30(%rax)
        b"\xf0\x41\xff\x46\x30",  # 0x30(%r14)
        b"\xf0\x41\xff\x44\x24\x30",  # 0x30(%r12)
        b"\xf0\x41\xff\x02",  # (%r10)
    ],
)
def test_instruction_when_other_code_follows(update):
    # GIVEN an update between other instructions THEN its own bytes are told
    assert instruction(b"\x90\x90" + update + b"\x89\xc8\x90", 2) == update
    # AND it is the same one on a machine with one CPU
    assert same_update(update, b"\x3e" + update[1:])
    # BUT not where another breakpoint sits, or where anything else is another
    assert not same_update(update, b"\xcc" + update[1:])
    assert not same_update(update, update[:-1] + bytes([update[-1] ^ 1]))


@pytest.mark.parametrize("distance", [0x100, -0x100, 0x0A0A0A0A])
@pytest.mark.parametrize("opcode", [b"\xe8", b"\xe9"])
def test_calls_when_a_function_is_called_or_jumped_to(opcode, distance):
    # GIVEN text with a call behind another byte that looks like one
    text = b"\xe8\x90" + opcode + distance.to_bytes(4, "little", signed=True) + b"\x90"
    start = 0xFFFFFFFF81000000
    # THEN it calls what lies so far from its end, and nothing else
    assert x86_64.calls(text, start, start + 7 + distance)
    assert not x86_64.calls(text, start, start + 8 + distance)
