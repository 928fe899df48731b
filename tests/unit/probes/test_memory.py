# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the kernel's memory: the BPF program's instructions, and which way is taken."""

import struct

import pytest

from probes import memory, syscalls
from probes.errors import ProbeError

BASE = 0xFFFF888000000000
TASK = 0xFFFF888001234560


class Kernel:
    """bpf(2) of a kernel whose memory is a bytes object: it runs the few instructions in use."""

    def __init__(self, monkeypatch, content=b"", refuses=None):
        self.content, self.refuses = content, refuses
        self.programs = {}
        self.value = bytearray(memory.CHUNK)
        monkeypatch.setattr(syscalls, "create_map", lambda *_: 77)
        monkeypatch.setattr(syscalls, "load_program", self.load)
        monkeypatch.setattr(syscalls, "run", self.run)
        monkeypatch.setattr(memory.mmap, "mmap", lambda fd, size: self.value)

    def load(self, type_, instructions, licence, name):
        if self.refuses:
            raise self.refuses
        assert (type_, licence) == (syscalls.PROG_RAW_TRACEPOINT, "GPL")
        self.programs[len(self.programs) + 100] = [
            struct.unpack_from("<BBhi", instructions, at) for at in range(0, len(instructions), 8)
        ]
        return len(self.programs) + 99

    def run(self, program, *context):
        """Returns r0 as the kernel does; the only value that r1 may point to is the map's."""
        registers, at, code = {1: "context"}, 0, self.programs[program]
        while True:
            opcode, pair, offset, value = code[at]
            to, from_ = pair & 15, pair >> 4
            at += 1
            if opcode == 0x79:
                assert registers[from_] == "context"
                registers[to] = context[offset // 8]
            elif opcode == 0xB7:
                registers[to] = value
            elif opcode == 0x25 and registers[to] > value:
                at += offset
            elif opcode == 0x18:
                assert (from_, value) == (2, 77)  # the address of map 77's value
                registers[to], at = "value", at + 1
            elif opcode == 0x7B:
                assert registers[to] == "value"
                self.value[offset : offset + 8] = struct.pack("<Q", registers[from_])
            elif opcode == 0x85 and value == 35:
                registers[0] = TASK
            elif opcode == 0x85 and value == 113:
                registers[0] = self.copy(registers)
            elif opcode == 0x95:
                return registers[0]

    def copy(self, registers):
        assert registers[1] == "value" and registers[2] <= memory.CHUNK
        start = registers[3] - BASE
        data = self.content[max(start, 0) : start + registers[2]]
        if start < 0 or len(data) < registers[2]:
            return -14
        self.value[: len(data)] = data
        return 0


@pytest.mark.parametrize("size", [0, 8, 100, memory.CHUNK, memory.CHUNK + 1, 3 * memory.CHUNK])
def test_memory_is_what_lies_there_when_it_is_read_in_chunks(monkeypatch, size):
    # GIVEN a kernel with something at an address WHEN any number of bytes is read
    content = bytes(i * 7 % 251 for i in range(4 * memory.CHUNK))
    Kernel(monkeypatch, content)
    # THEN these are the bytes
    assert memory.BpfMemory().read(BASE + 5, size) == content[5 : 5 + size]


def test_number_is_little_endian_when_8_bytes_are_read(monkeypatch):
    # GIVEN 8 bytes WHEN they are read as a number THEN it is that of x86
    Kernel(monkeypatch, bytes(range(16)))
    assert memory.BpfMemory().u64(BASE + 1) == 0x0807060504030201


def test_error_names_the_address_when_nothing_is_there(monkeypatch):
    # GIVEN memory that ends WHEN more is read THEN it is not taken for zeros
    Kernel(monkeypatch, bytes(16))
    with pytest.raises(ProbeError, match="no 8 bytes at 0xffff88800000000c"):
        memory.BpfMemory().u64(BASE + 12)


def test_current_task_is_the_callers(monkeypatch):
    # GIVEN a kernel WHEN it is asked whose call this is THEN the whole pointer comes back
    Kernel(monkeypatch)
    assert memory.BpfMemory().current() == TASK


def test_kcore_is_taken_when_there_is_one(monkeypatch):
    # GIVEN both ways WHEN memory is opened THEN it is the one that needs no program
    Kernel(monkeypatch)
    monkeypatch.setattr(memory, "Kcore", lambda: "kcore")
    assert memory.kernel_memory() == "kcore"


def no_kcore():
    raise ProbeError("cannot open /proc/kcore")


def test_bpf_is_taken_when_there_is_no_kcore(monkeypatch):
    # GIVEN a kernel without /proc/kcore WHEN memory is opened THEN it can be read all the same
    Kernel(monkeypatch, b"\x01" * 8)
    monkeypatch.setattr(memory, "Kcore", no_kcore)
    assert memory.kernel_memory().read(BASE, 3) == b"\x01" * 3


def test_error_tells_both_when_neither_way_is_open(monkeypatch):
    # GIVEN neither WHEN memory is opened THEN the one line says what both would need
    Kernel(monkeypatch, refuses=OSError(1, "Operation not permitted"))
    monkeypatch.setattr(memory, "Kcore", no_kcore)
    with pytest.raises(ProbeError, match="cannot open /proc/kcore; BPF .*Operation not permitted"):
        memory.kernel_memory()
