# SPDX-License-Identifier: GPL-2.0-or-later
"""Records that the ring refused reach the file once, whole and in order."""

import struct

import pytest

from probes.events import RECORD_SIZE
from probes.maps import SPILL_BYTES, SPILL_SLOTS
from probes.spill import Spills


class Memory:
    """Two CPUs' struct spill, as the kernel writes it."""

    def __init__(self):
        self.bytes = bytearray(2 * SPILL_BYTES)
        self.spills = Spills(memoryview(self.bytes))
        self.taken = []

    def _word(self, cpu, word, value):
        struct.pack_into("<Q", self.bytes, cpu * SPILL_BYTES + 8 * word, value)

    def _read(self, cpu, word):
        return struct.unpack_from("<Q", self.bytes, cpu * SPILL_BYTES + 8 * word)[0]

    def claim(self, cpu, number, whole=True):
        slot = self._read(cpu, 0)
        at = cpu * SPILL_BYTES + 24 + slot % SPILL_SLOTS * RECORD_SIZE
        self.bytes[at : at + RECORD_SIZE] = struct.pack("<Q", number).ljust(RECORD_SIZE, b"r")
        self._word(cpu, 0, slot + 1)
        if whole:
            self._word(cpu, 1, self._read(cpu, 1) + 1)

    def drain(self):
        def write(records, count):
            assert len(records) == count * RECORD_SIZE
            self.taken += [
                struct.unpack_from("<Q", records, at)[0]
                for at in range(0, len(records), RECORD_SIZE)
            ]

        return self.spills.drain(write)


@pytest.fixture
def memory():
    return Memory()


def test_nothing_is_written_when_nothing_spilled(memory):
    # GIVEN a ring that took everything WHEN drained THEN there is no block
    assert memory.drain() == 0
    assert memory.taken == []


def test_records_are_taken_once_when_two_cpus_spilled(memory):
    # GIVEN records of two CPUs, more than once around
    for number in range(SPILL_SLOTS - 3):
        memory.claim(0, number)
    assert memory.drain() == SPILL_SLOTS - 3
    memory.taken.clear()
    for number in range(10):
        memory.claim(0, 1000 + number)
    memory.claim(1, 7)
    # WHEN drained twice THEN each is there once, in order
    assert (memory.drain(), memory.drain()) == (11, 0)
    assert memory.taken == [*range(1000, 1010), 7]


def test_a_cpu_is_passed_over_when_it_is_writing(memory):
    # GIVEN a record that is not whole yet, on one of two CPUs
    memory.claim(0, 1)
    memory.claim(0, 2, whole=False)
    memory.claim(1, 3)
    # WHEN drained THEN that CPU has to wait, and loses nothing
    assert memory.drain() == 1
    memory.claim(0, 0, whole=False)
    memory._word(0, 1, 3)
    assert memory.drain() == 3
    assert memory.taken == [3, 1, 2, 0]


def test_records_stay_when_they_cannot_be_written(memory):
    # GIVEN a disk that is full at first
    memory.claim(0, 5)

    def full(records, count):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        memory.spills.drain(full)
    # WHEN there is space again THEN the record is still there
    assert memory.drain() == 1
    assert memory.taken == [5]
