# SPDX-License-Identifier: GPL-2.0-or-later
"""The flight recorder: a guest's kernel dies, or its QEMU, and the trace tells it (crash.py)."""

import re

import numpy as np
import pytest

import analysis
from analysis.losses import sequence_gaps
from analysis.records import RECORD, SLOT
from probes.tracefile import FLAG_RECOVERED, BlockType, Reader
from tests.kernel.jobs import KILLED_EVENTS

ROUNDS = 20
MS = 1_000_000


class Crash:
    """A crash: what the lab said, and the records of the trace by the way they took."""

    def __init__(self, run, path):
        self.run, self.path = run, path
        streamed, recovered = [], []
        with Reader(str(path)) as reader:
            for block in reader.blocks():
                if block.type == BlockType.EVENTS:
                    streamed.append(np.frombuffer(block.payload, SLOT)["record"])
                elif block.flags & FLAG_RECOVERED:
                    recovered.append(np.frombuffer(block.payload, RECORD))
                elif block.type == BlockType.RECORDS:  # what the ring refused
                    streamed.append(np.frombuffer(block.payload, RECORD))
            self.damage = reader.damage
        self.streamed = np.concatenate(streamed)
        self.recovered = np.concatenate([np.empty(0, RECORD), *recovered])
        self.trace = analysis.open_trace(str(path))


@pytest.fixture(scope="module")
def crash(guests):
    return Crash(*guests("crash"))


@pytest.mark.guest("crash")
def test_what_the_ring_held_is_recovered_when_the_kernel_dies(crash):
    # GIVEN a kernel that died while its recorder was stopped
    # THEN there are records that only its memory had, all newer than those of the host
    assert len(crash.recovered) > ROUNDS * 3
    assert crash.recovered["ts"].min() > crash.streamed["ts"].max()
    # AND the lab says how many, and what to type next
    told = re.search(r"^lab: (\d+) events recovered", crash.run.stderr, re.MULTILINE)
    assert told and int(told[1]) == len(crash.recovered), crash.run.stderr
    assert f"mapcount stats {crash.path}" in crash.run.stderr


@pytest.mark.guest("crash")
def test_no_number_is_missing_when_the_kernel_dies(crash):
    # GIVEN the numbers that each CPU gave its records, from 0 on
    records = np.concatenate([crash.streamed, crash.recovered])
    for cpu in np.unique(records["cpu"]):
        seq = np.sort(records["seq"][records["cpu"] == cpu])
        # THEN each is there once, at the seam too
        assert (seq == np.arange(len(seq))).all(), cpu


@pytest.mark.guest("crash")
def test_what_the_workload_did_last_is_there_when_the_kernel_dies(crash):
    # GIVEN the rounds that the workload made after its recorder was stopped, and its mark
    events = crash.trace.df_events().iloc[len(crash.streamed) :]
    # THEN a huge page was mapped, unmapped and freed in each round
    for op in ("map", "unmap", "free"):
        whole = (events["op"] == op) & (events["order"] == 9)
        assert whole.sum() >= ROUNDS, op
    # AND the mark that it wrote before it crashed the kernel is there
    marks = crash.trace.df_marks()
    assert list(marks["name"]) == ["last words"]
    assert (marks["event"] >= len(crash.streamed)).all()


@pytest.mark.guest("crash")
def test_the_kernels_death_is_the_end_when_the_kernel_dies(crash):
    # GIVEN the record that the panic itself made
    oops = crash.trace.oops
    events = crash.trace.df_events()
    # THEN it is what the console tells of, and the last events lie within a millisecond of it
    assert "Kernel panic - not syncing: sysrq triggered crash" in oops.title
    assert events.loc[events["ts"] == oops.ts, "event"].tolist() == ["panic"]
    assert abs(int(events["ts"].iloc[-1]) - oops.ts) < MS
    # AND printk's time of that line, in our clock, is that of the record
    with Reader(str(crash.path)) as reader:
        words = [block.json() for block in reader.blocks() if block.type == BlockType.OOPS][0]
    assert abs(words["monotonic_ns"] - oops.ts) < 5 * MS + words["within_ns"]


@pytest.mark.guest("killed")
def test_the_trace_is_a_readable_prefix_when_qemu_is_killed(guests):
    # GIVEN a guest that recorded at length, and whose QEMU was killed
    status, said, path = guests("killed")
    # THEN the lab says that the VM was lost, and that the ring went with it
    assert status == 128, said
    assert "what was in its ring is lost" in said
    # AND what the host has is whole: nothing missing, at most one unfinished block at its end
    killed = Crash(said, path)
    assert killed.damage is None or killed.damage.cut_off
    assert len(killed.streamed) > KILLED_EVENTS
    assert sequence_gaps([killed.trace.log.raw]) == []
