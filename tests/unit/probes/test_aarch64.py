# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64: inlined updates, where struct pages lie, and the order of memory accesses."""

import struct

import pytest

from probes import aarch64, arch, fence, syscalls
from probes.aarch64 import instruction, same_update, updates, vmemmap
from probes.errors import ProbeError

NOP, TO_LOOP = 0xD503201F, 0x140000A6
MOV_1, MOV_MINUS_1 = 0x52800020, 0x12800000  # mov w0, #1; mov w0, #-1
STADD = 0xB820003F  # stadd w0, [x1]
OTHER_X1 = 0xF94000C1  # ldr x1, [x6]
CALL = 0x94000000


def add(to, from_, offset):
    return 0x91000000 | offset << 10 | from_ << 5 | to


def code(*words):
    return struct.pack(f"<{len(words)}I", *words)


#: As copy_page_range() of Debian's 6.12 has them, where the CPU has LSE atomics.
ONE = (NOP, MOV_1, add(1, 6, 0x30), STADD)


def test_updates_when_the_text_holds_several_forms():
    # GIVEN updates of _mapcount, of another field, by another number, and by a loaded pointer
    text = code(
        *ONE,
        *(NOP, add(1, 6, 0x30), MOV_1, STADD),
        *(NOP, MOV_1, add(1, 6, 0x50), STADD),
        *(NOP, MOV_MINUS_1, add(1, 6, 0x30), STADD),
        *(NOP, MOV_1, add(1, 6, 0x30), OTHER_X1, STADD),
        *(NOP, MOV_1, add(1, 6, 0x30), CALL, STADD),
    )
    # THEN only what adds 1 to the field at 0x30 is found as that
    assert updates(text, 0x30, 1, True) == [(12, "regs[1] - 48"), (28, "regs[1] - 48")]
    # AND what takes 1 off is found as that
    assert updates(text, 0x30, -1, True) == [(60, "regs[1] - 48")]


def test_updates_when_the_cpu_has_no_lse_atomics():
    # GIVEN a kernel that has left the branches to its loops THEN no probe sits where nothing runs
    assert updates(code(TO_LOOP, *ONE[1:]), 0x30, 1, True) == []
    assert updates(code(NOP, TO_LOOP, *ONE[1:]), 0x30, 1, True) == []


def test_update_is_known_again_when_another_boot_is_looked_at():
    # GIVEN an update in the middle of a function THEN its own bytes are kept
    before = [OTHER_X1] * aarch64.REACH
    text = code(*before, *ONE, NOP)
    at = 4 * (aarch64.REACH + 3)
    kept = instruction(text, at)
    assert kept == code(STADD)
    # AND it is known by them and by what leads to it
    assert same_update(kept, text[at - aarch64.LEAD : at + 4])
    # BUT no other instruction is taken for it, a breakpoint least of all
    assert not same_update(kept, text[at - aarch64.LEAD : at] + code(0xD4200080))
    # AND no update that a CPU without LSE atomics passes by
    passed = code(*before, TO_LOOP, *ONE[1:])
    assert not same_update(kept, passed[at - aarch64.LEAD :])


class Words:
    """Kernel memory of some words, and zeros from the table of sections on."""

    def __init__(self, words, end):
        self.words, self.end = words, end

    def read(self, address, size):
        if address + size > self.end:
            raise ProbeError("nothing there")
        return b"".join(
            self.words.get(at, 0).to_bytes(8, "little") for at in range(address, address + size, 8)
        )

    def u64(self, address):
        return int.from_bytes(self.read(address, 8), "little")


def sections(place, entry, page=4096):
    """A kernel whose table of sections has one root, a page at a place, that has one section."""
    table, root, base = 0x10000, 0x80000, 0xFFFFFDFFC0000000 - (0x40000000 >> 12) * 64
    flags = 0b001111  # present, with pages, online, and one more
    words = {0x1000: table, table + 8 * place: root, root + entry: base | flags}
    words[root + entry + 8] = 0xFFFF000000123400  # section.usage
    return Words(words, root + page), base


@pytest.mark.parametrize(
    "place, entry, page", [(0, 0, 4096), (0, 128, 4096), (700, 32, 4096), (1, 8192, 16384)]
)
def test_vmemmap_when_memory_begins_somewhere(monkeypatch, place, entry, page):
    # GIVEN a kernel whose first memory is in some section, with pages of some size
    monkeypatch.setattr(aarch64.mmap, "PAGESIZE", page)
    kernel, base = sections(place, entry, page)
    # THEN the section tells where the struct page of pfn 0 would be
    assert vmemmap({"mem_section": 0x1000}, kernel) == base


def test_vmemmap_when_there_is_no_way_to_it():
    # GIVEN a kernel without symbols of data THEN the error says what it would take
    with pytest.raises(ProbeError, match="CONFIG_KALLSYMS_ALL"):
        vmemmap({}, Words({}, 0))


def test_fence_when_the_processor_reorders_loads(monkeypatch):
    # GIVEN a machine of each kind
    made = []
    monkeypatch.setattr(syscalls, "membarrier", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(arch, "here", lambda: arch.ARCHES["x86_64"])
    fence.fence()
    # THEN one that orders its loads is asked for nothing
    assert made == []
    monkeypatch.setattr(arch, "here", lambda: aarch64)
    fence.fence()
    # AND the other for a fence on this CPU
    assert made == [(283, 2)]


@pytest.mark.parametrize("distance", [1, 3, -2])
@pytest.mark.parametrize("opcode", [0x94000000, 0x14000000])
def test_calls_when_a_function_is_called_or_jumped_to(opcode, distance):
    # GIVEN text with a call at its second instruction
    text = code(NOP, opcode | distance & 0x3FFFFFF)
    # THEN it calls what lies so far from there, and nothing else
    start = 0xFFFF800080000000
    assert aarch64.calls(text, start, start + 4 + 4 * distance)
    assert not aarch64.calls(text, start, start + 4 * distance)
