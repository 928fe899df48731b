# SPDX-License-Identifier: GPL-2.0-or-later
"""The drain's arithmetic on a ring made of ordinary memory."""

import mmap
import os
import struct

import pytest

from probes.events import RECORD_SIZE, RING_BUSY, RING_HEADER_SIZE, SLOT_SIZE
from probes.ring import Ring

SIZE = 4 * mmap.PAGESIZE


class FakeRing:
    """A file laid out as the kernel maps a BPF ring; the data appears twice."""

    def __init__(self):
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self.produced = 0

    def put(self, payload, busy=False):
        head = struct.pack("<II", RECORD_SIZE | (RING_BUSY if busy else 0), 0)
        slot = head + payload.ljust(RECORD_SIZE, b"\0")
        for i, byte in enumerate(slot):
            at = 2 * mmap.PAGESIZE + (self.produced + i) % SIZE
            os.pwrite(self.fd, bytes([byte]), at)
            os.pwrite(self.fd, bytes([byte]), at + SIZE)
        self.produced += SLOT_SIZE
        os.pwrite(self.fd, struct.pack("<Q", self.produced), mmap.PAGESIZE)


@pytest.fixture
def fake():
    ring = FakeRing()
    yield ring
    os.close(ring.fd)


def payloads(ring):
    found = []

    def write(slots, count):
        assert len(slots) == count * SLOT_SIZE
        for i in range(count):
            found.append(bytes(slots[i * SLOT_SIZE + RING_HEADER_SIZE :][:4]).rstrip(b"\0"))

    ring.drain(write)
    return found


def test_drain_when_records_wait(fake):
    # GIVEN three records
    for i in range(3):
        fake.put(b"%d" % i)
    ring = Ring(fake.fd, SIZE)
    # WHEN drained twice, THEN they come once, in order
    assert payloads(ring) == [b"0", b"1", b"2"]
    assert payloads(ring) == []
    assert ring.fill() == 0


def test_drain_when_a_record_is_still_being_written(fake):
    # GIVEN a busy record between complete ones
    fake.put(b"0")
    fake.put(b"1", busy=True)
    fake.put(b"2")
    ring = Ring(fake.fd, SIZE)
    # WHEN drained, THEN it stops before the busy one and keeps the rest
    assert payloads(ring) == [b"0"]
    assert ring.fill() == 2 * SLOT_SIZE


def test_drain_when_the_chunk_wraps_around(fake):
    # GIVEN more records over time than the ring holds
    ring = Ring(fake.fd, SIZE)
    for round_ in range(7):
        names = [b"%d" % (round_ * 100 + i) for i in range(53)]
        for name in names:
            fake.put(name)
        # WHEN drained each time, THEN a wrapped chunk is still whole
        assert payloads(ring) == names


def test_drain_when_writing_fails(fake):
    # GIVEN a writer that fails, as on a full disk
    fake.put(b"0")
    ring = Ring(fake.fd, SIZE)

    def fail(slots, count):
        raise OSError

    with pytest.raises(OSError):
        ring.drain(fail)
    # THEN the records are still in the ring
    assert payloads(ring) == [b"0"]
