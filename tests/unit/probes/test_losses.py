# SPDX-License-Identifier: GPL-2.0-or-later
"""Loss is data: each refused record is told once, with CPU and probe."""

import array

from probes.losses import RingLosses
from probes.program import Shape

SHAPE = Shape(cpus=2, frames=1, ring_bytes=4096, probes=3)


def test_poll_when_records_were_refused():
    # GIVEN counts of two CPUs: seq, three probes, the text records
    counts = array.array("Q", [0] * 2 * SHAPE.count_words)
    losses = RingLosses(memoryview(counts), SHAPE)
    assert losses.poll() is None
    # WHEN CPU 0 loses 5 of probe 2, and CPU 1 loses 1 text record
    counts[0] = 100
    counts[1 + 2] = 5
    counts[SHAPE.count_words + 1 + 3] = 1
    loss = losses.poll()
    # THEN that is told, once, with a span of time
    assert loss["lost"] == [(0, 2, 5), (1, 3, 1)]
    assert loss["from"] < loss["to"]
    assert losses.total == 6
    assert losses.poll() is None


def test_poll_when_only_the_sequence_moves():
    # GIVEN records that all arrived, THEN there is no loss
    counts = array.array("Q", [0] * 2 * SHAPE.count_words)
    losses = RingLosses(memoryview(counts), SHAPE)
    counts[0] = 7
    assert losses.poll() is None
