# SPDX-License-Identifier: GPL-2.0-or-later
"""The drain's thread: it works beside the recorder's own, and says what ended it."""

import os
import threading
import time

import pytest

from probes.drain import Drain
from probes.events import SLOT_SIZE
from probes.ring import Rings
from tests.unit.probes.test_ring import SIZE, FakeRing

#: Longer than whatever a test waits for takes on a busy machine.
PATIENCE = 60.0


@pytest.fixture
def fake():
    ring = FakeRing()
    yield ring
    os.close(ring.fd)


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_records_are_written_while_the_recorder_is_busy(fake):
    # GIVEN a recorder that does not look at the rings, as while it takes a snapshot
    taken = []
    drain = Drain(
        Rings([fake.fd], SIZE),
        lambda ring, slots, count: taken.append((threading.current_thread().name, count)),
    )
    with drain:
        # WHEN records come, few and many
        for count in (1, SIZE // SLOT_SIZE // 2):
            before = drain.events
            for _ in range(count):
                fake.put(b"x")
            # THEN they are written all the same, in another thread
            eventually(lambda: drain.events == before + count)  # noqa: B023
    assert {name for name, _ in taken} != {threading.current_thread().name}
    assert sum(count for _, count in taken) == drain.events


def test_records_are_in_order_when_both_threads_drain(fake):
    # GIVEN a thread that drains, and a recorder that does the same before a snapshot
    taken = []
    with Drain(
        Rings([fake.fd], SIZE), lambda ring, slots, count: taken.extend(numbers(slots, count))
    ) as drain:
        for number in range(500):
            fake.put(b"%d" % number)
            if number % 10 == 9:
                drain.now()
                # THEN what came before is written when it returns
                assert taken[-1] == number
    drain.now()
    # AND each record is there once, in order
    assert taken == list(range(500))


def numbers(slots, count):
    return [int(bytes(slots[at * SLOT_SIZE + 8 :][:4]).rstrip(b"\0")) for at in range(count)]


def test_the_error_is_the_recorders_when_the_disk_is_full(fake):
    # GIVEN a sink that takes nothing
    def full(ring, slots, count):
        raise OSError(28, "No space left on device")

    drain = Drain(Rings([fake.fd], SIZE), full)
    with drain:
        drain.check()
        fake.put(b"x")

        # WHEN a record comes THEN the recorder learns of it when it looks
        def failed():
            try:
                drain.check()
            except OSError as error:
                return error.errno == 28
            return False

        eventually(failed)
    # AND the record is not lost: it is still in the ring
    assert drain.events == 0
    assert Rings([fake.fd], SIZE).drain(lambda ring, slots, count: None) == 1
