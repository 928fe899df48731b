# SPDX-License-Identifier: GPL-2.0-or-later
"""A ring for each CPU under loads that are hard on it: forks beside marks, preemption, hogs."""

import re

import pytest

import analysis
from analysis.verify import verify
from probes.tracefile import BlockType, Reader
from tests.kernel.jobs import LAB_KERNELS

CPUS = 2
#: Cases of rings.sh that record all there is.
WHOLE = ("lifecycle", "forks", "preempts", "starved")


@pytest.fixture(
    params=[
        pytest.param(f"rings-{kernel}", marks=[pytest.mark.guest(f"rings-{kernel}")])
        for kernel in LAB_KERNELS
    ]
)
def folder(request, guests):
    """The folder that a guest left, see tests.kernel.jobs.rings."""
    return guests(request.param)


pytestmark = pytest.mark.truth


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_is_lost_when_a_load_is_hard(folder, name):
    # GIVEN a load: a few events; a hundred tasks that fork beside marks; tasks that preempt each
    # other inside of the kernel; and such that run before all but the recorder
    trace = analysis.open_trace(str(folder / f"{name}.mapcount"))
    assert (folder / f"{name}.status").read_text() == "0\n", (folder / f"{name}.err").read_text()
    # THEN nothing was lost, and no number is missing or comes twice
    assert [loss for loss in trace.losses if loss.kind == "ring"] == []
    assert trace.cpu_lost == {}
    assert [line for line in trace.warnings if "the number of another record" in line] == []
    assert len(trace.df_events()) > 100
    # AND the kernel refused nothing: no probe, and not the real-time priority
    assert "refuse" not in (folder / f"{name}.err").read_text()


@pytest.mark.parametrize("name", WHOLE)
def test_hardly_a_probe_is_skipped_when_tasks_preempt_each_other(folder, name):
    # GIVEN the same loads
    trace = analysis.open_trace(str(folder / f"{name}.mapcount"))
    # THEN no preempted task and no interrupted one kept the kernel from running a program: what an
    # interrupt needs inside of one, a second program sees
    missed = sum(loss.lost for loss in trace.losses if loss.kind == "missed")
    assert missed <= trace.census.events // 10_000


def test_what_perf_is_skipped_for_is_seen_by_a_second_program(folder):
    # GIVEN tasks that fork, whose page tables are freed in interrupts, also inside of programs
    told = (folder / "forks.err").read_text()
    trace = analysis.open_trace(str(folder / "forks.mapcount"))
    plan = trace.meta["plan"]
    by_perf = [probe["function"] for probe in plan if probe["attach"] == "tracepoint"]
    # THEN where perf calls a program, which is skipped then, a second one was there in its place
    skipped = re.findall(r"second program was there for (\d+) skipped events", told)
    assert len(skipped) == len(by_perf)
    assert (sum(map(int, skipped)) > 0) == bool(by_perf)
    # AND its records are those of the first: it has no name of its own, and no page is freed twice
    raw = {probe["function"] for probe in plan if probe["attach"] == "raw_tracepoint"}
    assert raw.isdisjoint(by_perf)
    events = trace.df_events()
    assert not events[events["op"] == "free"]["freed"].any()


@pytest.mark.parametrize("name", ("lifecycle", "forks"))
def test_the_replay_is_the_kernels_when_a_load_is_hard(folder, name):
    # GIVEN marks at which tasks are held, beside or without a load
    trace = analysis.open_trace(str(folder / f"{name}.mapcount"))
    # THEN there are snapshots of several, and the replay has no other values than the kernel
    assert len(trace.snapshots) > 4
    assert verify(trace).differences.empty


def test_each_ring_has_blocks_of_its_own(folder):
    # GIVEN a recording with events of both CPUs
    cpus = {}
    with Reader(str(folder / "preempts.mapcount")) as reader:
        header = next(reader.blocks()).json()
        for block in reader.blocks():
            if block.type == BlockType.EVENTS:
                # The CPU's number, behind the ring's header, the time and the record's number.
                found = {int.from_bytes(block.payload[at + 20 : at + 22], "little")
                         for at in range(0, len(block.payload), 72)}  # fmt: skip
                cpus.setdefault(block.ring, set()).update(found)
    # THEN each CPU's are in the blocks of its ring
    assert cpus == {0: {0}, 1: {1}}
    # AND the header says where these lie, and doctor how large they are
    assert len(header["rings"]["frames"]) == CPUS
    assert header["rings"]["bytes"] * CPUS == header["ring_bytes"] == 8 << 20
    assert re.search(r"ring buffers: 2 of 4096 KiB each", (folder / "doctor.out").read_text())


def test_kretprobes_when_the_recorder_is_killed(folder):
    # GIVEN a recorder that was killed; where there is no fexit, it had made kretprobes with room
    # for many tasks
    plan = analysis.open_trace(str(folder / "forks.mapcount")).meta["plan"]
    made = (folder / "made.out").read_text().splitlines()
    assert len(made) == sum(probe["attach"] == "kretprobe" for probe in plan)
    assert all(line.startswith("r4096:mapcount/") for line in made)
    # THEN none is left
    assert (folder / "left.out").read_text() == ""


def test_events_are_lost_when_the_recorder_waits_for_a_cpu(folder):
    # GIVEN the same hogs, small rings, and a recorder that asked for no priority (--nice)
    trace = analysis.open_trace(str(folder / "nice.mapcount"))
    # THEN it came too late: what was lost is counted, and explains each missing number
    assert sum(loss.lost for loss in trace.losses) > 0
    lost = sum(loss.lost for loss in trace.losses if loss.kind == "ring")
    # What is lost before the first or behind the last record of a CPU leaves no gap.
    assert 0 < sum(trace.cpu_lost.values()) <= lost
