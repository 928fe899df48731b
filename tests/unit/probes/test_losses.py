# SPDX-License-Identifier: GPL-2.0-or-later
"""Loss is data: each refused record is told once, with CPU and probe."""

import array
import time

from probes.losses import Misses, Outside, Returns, RingLosses
from probes.maps import Shape

SHAPE = Shape(cpus=2, online=(0, 1), sections=(0,), ring_bytes=4096, probes=3)


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


def test_poll_when_a_record_is_refused_while_the_counts_are_read():
    # GIVEN a loss that happens after the poll began
    class Late(RingLosses):
        def _new(self):
            self.when = time.monotonic_ns()
            return [(0, 1, 1)]

    losses = Late(memoryview(array.array("Q", [0] * 2 * SHAPE.count_words)), SHAPE)
    first = losses.poll()
    when = losses.when
    second = losses.poll()
    # THEN it lies in the span of the one that counts it, be it this one or the next
    assert first["from"] < when < first["to"]
    assert second["from"] < when


def test_poll_when_only_the_sequence_moves():
    # GIVEN records that all arrived, THEN there is no loss
    counts = array.array("Q", [0] * 2 * SHAPE.count_words)
    losses = RingLosses(memoryview(counts), SHAPE)
    counts[0] = 7
    assert losses.poll() is None


def test_misses_when_a_second_program_made_up_for_some(tmp_path, monkeypatch):
    # GIVEN a program that was skipped twice before its second one was attached
    made_up = [0]

    def fdinfo(path):
        return (tmp_path / path.rsplit("/", 1)[1]).open()

    monkeypatch.setattr("builtins.open", fdinfo)
    (tmp_path / "33").write_text("recursion_misses:\t2\n")
    misses = Misses({3: 33}, {3: lambda: made_up[0]})
    # WHEN it is skipped seven times more, and the second makes up for all of them but one
    (tmp_path / "33").write_text("recursion_misses:\t9\n")
    made_up[0] = 6
    # THEN that one was missed
    assert misses.poll()["lost"] == [(-1, 3, 1)]
    # WHEN it makes up for another one between the two counts are read
    made_up[0] = 7
    # THEN nothing is told, AND once both are counted nothing was missed either
    assert misses.poll() is None
    (tmp_path / "33").write_text("recursion_misses:\t10\n")
    assert misses.poll() is None
    assert misses.total == 1


def test_misses_when_the_kernel_skipped_a_program(tmp_path, monkeypatch):
    # GIVEN two programs, of one of which the kernel skips runs
    misses = Misses({3: 33, 4: 44})

    def fdinfo(path):
        return (tmp_path / path.rsplit("/", 1)[1]).open()

    monkeypatch.setattr("builtins.open", fdinfo)
    (tmp_path / "33").write_text("pos:\t0\nrecursion_misses:\t0\n")
    (tmp_path / "44").write_text("recursion_misses:\t7\n")
    # WHEN it is asked THEN each is told once, with a span of time that goes on from the last
    first = misses.poll()
    assert (first["kind"], first["lost"]) == ("missed", [(-1, 4, 7)])
    assert misses.poll() is None
    (tmp_path / "44").write_text("recursion_misses:\t9\n")
    second = misses.poll()
    assert second["lost"] == [(-1, 4, 2)]
    assert first["to"] < second["from"] < second["to"]
    assert misses.total == 9


def test_returns_when_kretprobes_had_no_room():
    # GIVEN two kretprobes, of one of which returns are missed
    counts = iter([{4: 0, 6: 0}, {4: 3, 6: 0}, {4: 3, 6: 0}, {4: 5, 6: 1}])
    returns = Returns(lambda: next(counts))
    # WHEN their counts are read THEN each is told once
    assert returns.poll() is None
    first = returns.poll()
    assert (first["kind"], first["lost"]) == ("missed", [(-1, 4, 3)])
    assert returns.poll() is None
    assert returns.poll()["lost"] == [(-1, 4, 2), (-1, 6, 1)]
    assert returns.total == 6


def test_outside_when_memory_came_online():
    # GIVEN folios in memory that has no place, counted on whatever CPU
    counts = iter([0, 3, 3, 5])
    outside = Outside(lambda: next(counts), probe=7)
    # WHEN they are told of THEN each is once
    assert outside.poll() is None
    assert outside.poll()["lost"] == [(-1, 7, 3)]
    assert outside.poll() is None
    last = outside.poll()
    assert (last["kind"], last["lost"], outside.total) == ("outside", [(-1, 7, 2)], 5)


def test_misses_when_the_kernel_does_not_count_them():
    # GIVEN a descriptor of which the kernel tells nothing THEN nothing is told
    assert Misses({1: 1_000_000}).poll() is None
