# SPDX-License-Identifier: GPL-2.0-or-later
"""The walk of page tables in the kernel's memory, on tables made here, for both machines."""

import array
import mmap
import struct
from collections import defaultdict

import pytest

from probes import aarch64, arch, rights, x86_64
from probes.errors import ProbeError
from probes.kernel import Memory
from probes.maps import FRAME_PAGES
from probes.published import RUN
from probes.rights import FILE, KNOWN, WRITABLE, Rights, Shared, shared_pages, unreadable

DIRECT = 0xFFFF888000000000
MM, PGD_AT = 0xFFFF888100000000, 0x50
PAGE = 4096
PRESENT, RW, PSE, PROT_NONE = 1, 2, 1 << 7, 1 << 8
VALID, TABLE, CONTIGUOUS, WRITE, READ_ONLY = 1, 2, 1 << 52, 1 << 51, 1 << 7


class Tables(Memory):
    """Memory with page tables of so many levels, whose entries a function makes."""

    def __init__(self, levels, page_size, table, told):
        self.levels, self.size, self.table, self._told = levels, page_size, table, told
        self.words = defaultdict(int)
        self.pages = 1
        self.words[MM + PGD_AT] = DIRECT + page_size
        self.top = page_size

    def told(self):
        return self._told

    def read(self, address, size):
        if address in self.words:
            return struct.pack("<Q", self.words[address])
        return self.physical(address - DIRECT, size)

    def physical(self, address, size):
        if not 0 <= address < 1 << 46:
            raise ProbeError("no memory there")
        return b"".join(struct.pack("<Q", self.words[address + at]) for at in range(0, size, 8))

    def map(self, address, entry, level=1):
        """Put an entry for an address at a level; tables are made on the way to it."""
        each, at = self.size // 8, self.top
        for now in range(self.levels, level - 1, -1):
            index = address // self.size // each ** (now - 1) % each
            place = at + 8 * index
            if now == level:
                self.words[place] = entry
            elif not self.words[place]:
                self.pages += 1
                self.words[place] = self.table(self.pages * self.size)
            at = self.words[place] & ((1 << 48) - self.size)


class List:
    def mms(self):
        return {7: MM, 8: 0}


class Layout:
    task = {"pgd": PGD_AT}


def intel(levels=4):
    told = {"pgtable_l5_enabled": levels - 4}
    return Tables(levels, PAGE, lambda at: at | PRESENT | RW | 4, told)


def arm(bits=48, page_size=4096):
    levels = -(-(bits - page_size.bit_length() + 1) // (page_size.bit_length() - 4))
    return Tables(levels, page_size, lambda at: at | VALID | TABLE, {"TCR_EL1_T1SZ": 64 - bits})


def found(memory, run, machine="x86_64", monkeypatch=None):
    """(pages, address, pfn, known, writable) of what is told of a run."""
    if monkeypatch:
        monkeypatch.setattr(arch.platform, "machine", lambda: machine)
        monkeypatch.setattr(arch.mmap, "PAGESIZE", memory.size)
        monkeypatch.setattr(rights, "FRAME_PAGES", memory.size // 8)
    packed = Rights(memory, Layout, List()).of([run])
    return [
        (pages, address, entry & ((1 << 55) - 1), bool(entry & KNOWN), bool(entry & WRITABLE))
        for pid, pages, address, entry in RUN.iter_unpack(packed)
        if pid == run.pid
    ]


AT = 0x7F12_3460_0000


@pytest.mark.parametrize("levels", [4, 5])
def test_small_pages_of_x86(monkeypatch, levels):
    # GIVEN pages that are writable, read-only, PROT_NONE, in swap, and another than was named
    memory = intel(levels)
    address_bits = ((1 << 52) - 1) & ~4095
    entries = [
        500 << 12 | PRESENT | RW,
        501 << 12 | PRESENT,
        (~(502 << 12) & address_bits) | PROT_NONE | RW,
        503 << 12 & address_bits,
        600 << 12 | PRESENT | RW,
        505 << 12 | PRESENT | RW | 1 << 63,
        506 << 12 | PRESENT | RW,
    ]
    for page, entry in enumerate(entries):
        memory.map(AT + page * PAGE, entry)
    # THEN each is told as it is, and what is not known, as that
    run = Shared(7, 7, AT, 500)
    assert found(memory, run, "x86_64", monkeypatch) == [
        (1, AT, 500, True, True),
        (2, AT + PAGE, 501, True, False),
        (2, AT + 3 * PAGE, 503, False, False),
        (2, AT + 5 * PAGE, 505, True, True),
    ]


def test_huge_pages_of_x86(monkeypatch):
    # GIVEN a writable huge page, one of NUMA balancing, and one in a table that is not there
    memory, huge = intel(), FRAME_PAGES * PAGE
    start = AT // huge * huge
    memory.map(start, 512 << 12 | PRESENT | RW | PSE, level=2)
    memory.map(start + huge, (~(1024 << 12) & ((1 << 52) - 4096)) | PROT_NONE | PSE, level=2)
    memory.map(start + 2 * huge, 1 << 50 | PRESENT | RW, level=2)
    monkeypatch.setattr(arch.platform, "machine", lambda: "x86_64")
    # THEN all their pages are told
    run = Shared(7, 1000, start + 12 * PAGE, 524)
    assert found(memory, run) == [
        (500, start + 12 * PAGE, 524, True, True),
        (500, start + huge, 1024, True, False),
    ]
    assert found(memory, Shared(7, 3, start + 2 * huge, 1536))[0][3:] == (False, False)


@pytest.mark.parametrize(("bits", "page_size"), [(48, 4096), (39, 4096), (52, 4096), (47, 16384),
                                                 (48, 16384), (36, 16384)])  # fmt: skip
def test_small_pages_of_arm64(monkeypatch, bits, page_size):
    # GIVEN pages that are writable, writable but not written yet, read-only, of a contiguous block,
    # not valid, and another than was named
    memory, at = arm(bits, page_size), (1 << bits - 1) + 0x123460000
    entries = [
        500 * page_size | VALID | TABLE | WRITE,
        501 * page_size | VALID | TABLE | WRITE | READ_ONLY,
        502 * page_size | VALID | TABLE | READ_ONLY,
        503 * page_size | VALID | TABLE | READ_ONLY | CONTIGUOUS,
        504 * page_size | TABLE | WRITE | 1 << 11,
        700 * page_size | VALID | TABLE | WRITE,
    ]
    for page, entry in enumerate(entries):
        memory.map(at + page * page_size, entry)
    # THEN each is told as it is, and what is not known, as that
    run = Shared(7, 6, at, 500)
    assert found(memory, run, "aarch64", monkeypatch) == [
        (2, at, 500, True, True),
        (3, at + 2 * page_size, 502, True, False),
        (1, at + 5 * page_size, 505, False, False),
    ]


@pytest.mark.parametrize(("bits", "page_size"), [(48, 4096), (47, 16384)])
def test_huge_pages_of_arm64(monkeypatch, bits, page_size):
    memory, each = arm(bits, page_size), page_size // 8
    at = 5 * each * page_size
    memory.map(at, 4 * each * page_size | VALID | WRITE, level=2)
    run = Shared(7, each, at, 4 * each)
    assert found(memory, run, "aarch64", monkeypatch) == [(each, at, 4 * each, True, True)]


def test_address_of_52_bits_of_arm64():
    # GIVEN an entry with LPA2, which has two bits of the address where others have others
    machine = aarch64.page_tables({"TCR_EL1_T1SZ": 12}, 4096)
    entry = 0x3_1234_5678_9000 | 2 << 8 | VALID | TABLE
    assert machine.levels == 5
    assert machine.table(entry) == 0x3_1234_5678_9000 | 2 << 50
    # AND without it these are not of the address
    assert aarch64.page_tables({"TCR_EL1_T1SZ": 16}, 4096).table(3 << 8 | 0x5000 | 3) == 0x5000


@pytest.mark.parametrize("pid", [8, 9])
def test_process_without_page_tables_leaves_its_pages_unknown(monkeypatch, pid):
    # GIVEN a process whose first thread has ended, and one that is in no list
    monkeypatch.setattr(arch.platform, "machine", lambda: "x86_64")
    assert found(intel(), Shared(pid, 3, AT, 500)) == [(3, AT, 500, False, False)]


def test_pages_are_asked_for_where_two_map_them():
    # GIVEN a run of six pages, of which three have two mappings
    mappers = array.array("H", [1, 2, 2, 1, 1, 2])
    found = list(shared_pages(7, AT, 6, 1 << 63 | 500, mappers))
    # THEN these are asked for, if they are anonymous
    size = mmap.PAGESIZE
    assert found == [Shared(7, 2, AT + size, 501), Shared(7, 1, AT + 5 * size, 505)]
    assert not list(shared_pages(7, AT, 6, 1 << 63 | FILE | 500, mappers))
    assert not list(shared_pages(7, AT, 2, 1 << 63 | 500, array.array("H", [1, 1])))


def test_kernel_that_does_not_tell_enough_is_told_once(monkeypatch):
    monkeypatch.setattr(arch.platform, "machine", lambda: "x86_64")
    without = type("Without", (), {"task": {}})
    assert unreadable(intel(), Layout) == []
    # GIVEN a kernel without /proc/kcore, without levels, without the field
    bare, silent = intel(), intel()
    bare._told, silent._told = {}, {"VA_BITS": 48}
    for memory, layout, words in (
        (bare, Layout, "without /proc/kcore"),
        (silent, Layout, "VMCOREINFO does not tell"),
        (intel(), without, "no field pgd"),
    ):
        # THEN one line says what is not seen
        (missing,) = unreadable(memory, layout)
        assert words in str(missing) and "not seen: pages that are writable" in str(missing)
        assert Rights(memory, layout, List()).of([Shared(7, 2, AT, 5)]) == RUN.pack(7, 2, AT, 5)


def test_arm64_needs_to_know_how_many_bits_addresses_have():
    with pytest.raises(ProbeError, match="how many bits"):
        aarch64.page_tables({"VA_BITS": 48}, 4096)
    assert x86_64.page_tables({"pgtable_l5_enabled": 1}, 4096).levels == 5
