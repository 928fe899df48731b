# SPDX-License-Identifier: GPL-2.0-or-later
"""Traced tasks stand still while they are walked, and run again on every way out."""

import os
import select
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from probes.guardian import Guardian
from probes.hold import Freezer, Hold, look, members
from probes.tasks import descendants

SPIN = "while True: pass"
#: Names the pids of its children, and forks a new one every few milliseconds.
FORKS = """
import os, time
while True:
    if os.fork() == 0:
        time.sleep(0.02)
        os._exit(0)
    time.sleep(0.001)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
"""


@pytest.fixture
def guardian():
    one = Guardian()
    yield one
    one.end()


@pytest.fixture
def spinner():
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    yield process.pid
    process.kill()
    process.wait()


#: Longer than whatever a test waits for takes on a busy machine.
PATIENCE = 60.0


def hold(pids, guardian, marked=list, seconds=PATIENCE):
    return Hold(lambda: pids, marked, guardian, seconds=seconds)


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_hold_when_a_task_runs(guardian, spinner):
    # GIVEN a task that runs
    with hold([spinner], guardian) as held:
        # WHEN it is held THEN it is stopped, and nothing is torn
        assert look(spinner).state == "T"
        assert held.processes == [spinner] and held.at_rest == {spinner}
        assert held.torn() == {}
    # AND it runs again afterwards
    eventually(lambda: look(spinner).state == "R")


def test_hold_when_what_it_is_held_for_fails(guardian, spinner):
    # WHEN something is raised while a task is held THEN the task runs again
    with pytest.raises(ZeroDivisionError), hold([spinner], guardian):
        raise ZeroDivisionError
    eventually(lambda: look(spinner).state == "R")


def test_hold_when_the_user_had_stopped_a_task(guardian, spinner):
    # GIVEN a task that is stopped already
    os.kill(spinner, signal.SIGSTOP)
    eventually(lambda: look(spinner).state == "T")
    with hold([spinner], guardian) as held:
        assert held.torn() == {}
    # THEN it stays stopped
    time.sleep(0.1)
    assert look(spinner).state == "T"


def test_hold_when_a_mark_had_stopped_a_task(guardian, spinner):
    # GIVEN a task that stopped itself for the recorder
    os.kill(spinner, signal.SIGSTOP)
    eventually(lambda: look(spinner).state == "T")
    # WHEN it was held as one that named a mark THEN it runs again
    with hold([], guardian, marked=lambda: [spinner]) as held:
        assert held.at_rest == {spinner}
    eventually(lambda: look(spinner).state == "R")


def test_hold_when_a_task_is_continued_by_another(guardian, spinner):
    # GIVEN a held task that somebody else continues
    with hold([spinner], guardian) as held:
        os.kill(spinner, signal.SIGCONT)
        eventually(lambda: look(spinner).state == "R")
        # THEN what was read of it is torn
        assert "ran while" in held.torn()[spinner]


def test_hold_when_a_task_forks_all_the_time(guardian):
    # GIVEN a task that forks all the time
    process = subprocess.Popen([sys.executable, "-c", FORKS])
    try:
        eventually(lambda: len(descendants([process.pid])) > 3)
        tasks = partial(descendants, [process.pid])
        with Hold(tasks, list, guardian, seconds=PATIENCE) as held:
            # WHEN it is held THEN every child that it has is, and none comes after
            assert set(descendants([process.pid])) <= set(held.processes)
            time.sleep(0.1)
            assert set(descendants([process.pid])) <= set(held.processes)
            assert held.torn() == {}
    finally:
        process.kill()
        process.wait()


def test_hold_when_a_task_never_comes_to_rest(guardian, monkeypatch, spinner):
    # GIVEN a task that no signal reaches (as one in the kernel, for which time is short)
    monkeypatch.setattr("probes.hold.signal.SIGSTOP", 0)
    begin = time.monotonic()
    with hold([spinner], guardian, seconds=0.2) as held:
        # THEN the time limit ends the wait, and what is read of it is torn
        assert time.monotonic() - begin < PATIENCE
        assert held.at_rest == set()
        assert "not at rest within 0.2 s" in held.torn()[spinner]


def recorder_that_dies(pid, tell, limit=60.0):
    """Holds a task in a child process, which is killed or hangs; returns the child's pid."""
    ours, ended = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ended)
        with hold([pid], Guardian(limit)):
            os.write(tell, b"!")
            os.read(ours, 1)  # until the test is over, however it ends
        os._exit(0)
    os.close(ours)
    return child


def wait_for_byte(fd):
    assert select.select([fd], [], [], PATIENCE)[0]
    os.read(fd, 1)


def test_guardian_when_the_recorder_is_killed(spinner):
    # GIVEN a recorder that holds a task
    told, tell = os.pipe()
    child = recorder_that_dies(spinner, tell)
    wait_for_byte(told)
    assert look(spinner).state == "T"
    # WHEN it is killed outright
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # THEN the task runs again
    eventually(lambda: look(spinner).state == "R")


def test_guardian_when_a_hold_takes_too_long(spinner):
    # GIVEN a recorder that hangs while it holds a task
    told, tell = os.pipe()
    child = recorder_that_dies(spinner, tell, limit=0.3)
    wait_for_byte(told)
    # THEN the task runs again though the recorder still hangs
    eventually(lambda: look(spinner).state == "R")
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


class FakeGuardian:
    """Remembers what it was told."""

    pid = 0

    def __init__(self):
        self.told = []

    def holds(self, pid):
        self.told.append(pid)

    def freezes(self, path):
        self.told.append(path)

    def released(self):
        self.told.append("released")


def cgroup_at(folder, frozen="0", members=()):
    (folder / "cgroup.freeze").write_text(frozen + "\n")
    (folder / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in members))
    return str(folder)


@pytest.mark.parametrize("before, after", [("0", "0"), ("1", "1")])
def test_hold_when_a_cgroup_has_a_freezer(tmp_path, spinner, before, after):
    # GIVEN a cgroup with a freezer that the user may have frozen before
    path = cgroup_at(tmp_path, before, [spinner])
    guardian = FakeGuardian()
    freezer = Freezer.of(path)
    with Hold(lambda: members(path), list, guardian, freezer):
        # THEN it is frozen, and nobody is sent a signal
        assert (tmp_path / "cgroup.freeze").read_text().strip() == "1"
        eventually(lambda: look(spinner).state == "R")
        assert spinner not in guardian.told
    # AND afterwards it is as it was
    assert (tmp_path / "cgroup.freeze").read_text().strip() == after
    assert guardian.told[-1] == "released"


def test_freezer_when_the_recorder_itself_is_in_the_cgroup(tmp_path):
    # WHEN this process is a member of a cgroup below THEN there is no freezer of it to use
    (tmp_path / "below").mkdir()
    cgroup_at(tmp_path / "below", members=[os.getpid()])
    assert Freezer.of(cgroup_at(tmp_path)) is None


def test_hold_when_the_cgroup_is_gone(tmp_path):
    # GIVEN a cgroup that is removed while it is followed
    freezer = Freezer.of(cgroup_at(tmp_path))
    for name in ("freeze", "events", "procs"):
        (tmp_path / f"cgroup.{name}").unlink()
    tmp_path.rmdir()
    # THEN there is nobody to hold, and no error
    with Hold(lambda: members(str(tmp_path)), list, FakeGuardian(), freezer) as held:
        assert held.processes == []
