# SPDX-License-Identifier: GPL-2.0-or-later
"""The drain's arithmetic on rings made of ordinary memory."""

import mmap
import os
import struct

import pytest

from probes.errors import ProbeError
from probes.events import RECORD_SIZE, RING_BUSY, RING_HEADER_SIZE, SLOT_SIZE
from probes.frames import frames_of
from probes.ring import Ring, Rings, size_of_each

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


@pytest.fixture
def three():
    rings = [FakeRing() for _ in range(3)]
    yield rings
    for ring in rings:
        os.close(ring.fd)


def drained(rings, least=0):
    """(ring, number of records) of each chunk that is handed over."""
    chunks = []
    rings.drain(lambda number, slots, count: chunks.append((number, count)), least)
    return chunks


def test_rings_when_one_is_fuller_than_the_others(three):
    # GIVEN one, three and two records in the rings of three CPUs
    rings = Rings([ring.fd for ring in three], SIZE)
    for ring, count in zip(three, (1, 3, 2), strict=True):
        for _ in range(count):
            ring.put(b"x")
    # WHEN those with at least two records are drained THEN the fullest comes first
    assert drained(rings, least=2 * SLOT_SIZE) == [(1, 3), (2, 2)]
    # AND the third is not lost
    assert drained(rings) == [(0, 1)]
    assert drained(rings) == []


def test_rings_when_one_waits_for_a_record_that_is_being_written(three):
    # GIVEN a ring whose first record is not whole: its task was preempted
    three[0].put(b"0", busy=True)
    three[0].put(b"1")
    three[1].put(b"2")
    rings = Rings([ring.fd for ring in three], SIZE)
    # WHEN they are drained THEN those of other CPUs do not wait for it
    assert drained(rings) == [(1, 1)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees page frames: run as root")
def test_rings_when_asked_where_they_lie(three):
    # GIVEN rings of one size, of which each page has a frame of its own
    found = Rings([ring.fd for ring in three], SIZE).where()
    # THEN each is found, for whoever reads the memory of this kernel
    pages = 2 + SIZE // mmap.PAGESIZE
    assert [sum(number for _, number in runs) for runs in found["frames"]] == [pages] * 3
    maps = [mmap.mmap(ring.fd, pages * mmap.PAGESIZE, prot=mmap.PROT_READ) for ring in three]
    assert found["frames"] == [frames_of(one, pages) for one in maps]
    assert found["bytes"] == SIZE


MIB = 1 << 20


@pytest.mark.parametrize(
    ("cpus", "total", "each"),
    [
        (1, None, 8 * MIB),
        (2, None, 4 * MIB),
        (6, None, MIB),
        (16, None, MIB),
        (64, None, MIB),
        (256, None, MIB // 4),
        (4096, None, MIB // 64),
        (2, 8 * MIB, 4 * MIB),
        (3, 8 * MIB, 2 * MIB),
        (256, MIB, mmap.PAGESIZE),
    ],
)
def test_size_when_there_are_many_cpus(cpus, total, each):
    # GIVEN CPUs, and what their rings may have together
    # THEN each has a power of two of pages, and together they have no more
    assert size_of_each(cpus, total) == each
    assert cpus * each <= (total or max(8 * MIB, min(cpus, 64) * MIB))


def test_size_when_there_is_no_page_for_each():
    # GIVEN more CPUs than pages THEN the error says how much is enough
    with pytest.raises(ProbeError, match=r"give --buffer 4"):
        size_of_each(1000, MIB)
    assert size_of_each(1000, 4 * MIB) == mmap.PAGESIZE
