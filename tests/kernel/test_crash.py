# SPDX-License-Identifier: GPL-2.0-or-later
"""The flight recorder: a guest's kernel dies, or its QEMU, and the trace tells it (crash.py)."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.losses import sequence_gaps
from analysis.source import RECORD, SLOT
from probes.tasks import descendants
from probes.tracefile import FLAG_RECOVERED, BlockType, Reader
from tests.conftest import GUEST_SECONDS, ROOT, lab_run

KERNEL = os.environ.get("MAPCOUNT_KERNEL", "6.1")
ROUNDS = 20
#: So many of the killed guest's must have reached the host.
EVENTS = 1000
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
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crash")
    shutil.copy2(Path(__file__).with_name("crash.py"), folder / "crash.py")
    return folder


@pytest.fixture(scope="module")
def crash(folder):
    path = folder / "crash.mapcount"
    run = lab_run(
        *("--kernel", KERNEL, "--timeout", GUEST_SECONDS, "-o", path),
        *("--", "python3", "./crash.py"),
        cwd=folder,
    )
    assert run.returncode == 128, run.stderr
    return Crash(run, path)


def test_what_the_ring_held_is_recovered_when_the_kernel_dies(crash):
    # GIVEN a kernel that died while its recorder was stopped
    # THEN there are records that only its memory had, all newer than those of the host
    assert len(crash.recovered) > ROUNDS * 3
    assert crash.recovered["ts"].min() > crash.streamed["ts"].max()
    # AND the lab says how many, and what to type next
    told = re.search(r"^lab: (\d+) events recovered", crash.run.stderr, re.MULTILINE)
    assert told and int(told[1]) == len(crash.recovered), crash.run.stderr
    assert f"mapcount stats {crash.path}" in crash.run.stderr


def test_no_number_is_missing_when_the_kernel_dies(crash):
    # GIVEN the numbers that each CPU gave its records, from 0 on
    records = np.concatenate([crash.streamed, crash.recovered])
    for cpu in np.unique(records["cpu"]):
        seq = np.sort(records["seq"][records["cpu"] == cpu])
        # THEN each is there once, at the seam too
        assert (seq == np.arange(len(seq))).all(), cpu


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


def test_the_trace_is_a_readable_prefix_when_qemu_is_killed(folder):
    # GIVEN a guest that records at length
    path = folder / "killed.mapcount"
    command = [sys.executable, ROOT / "mapcount.py", "lab", "run", "--kernel", KERNEL]
    command += ["--timeout", str(GUEST_SECONDS), "-o", path]
    command += ["--", "python3", "./crash.py", "wait"]
    lab = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    # WHEN its trace has grown on the host, and QEMU is killed
    while streamed(path) <= EVENTS:
        assert lab.poll() is None, lab.communicate()[1]
        time.sleep(0.2)
    for pid in descendants([lab.pid]):
        if Path(f"/proc/{pid}/comm").read_text().startswith("qemu"):
            os.kill(pid, signal.SIGKILL)
    said = lab.communicate(timeout=60)[1]
    # THEN the lab says that the VM was lost, and that the ring went with it
    assert lab.returncode == 128, said
    assert "what was in its ring is lost" in said
    # AND what the host has is whole: nothing missing, at most one unfinished block at its end
    killed = Crash(said, path)
    assert killed.damage is None or killed.damage.cut_off
    assert len(killed.streamed) > EVENTS
    assert sequence_gaps([killed.trace.log.raw]) == []


def streamed(path):
    """How many events a trace holds that is still being written."""
    if not path.exists() or not path.stat().st_size:
        return 0
    with Reader(str(path)) as reader:
        return sum(block.count for block in reader.blocks() if block.type == BlockType.EVENTS)
