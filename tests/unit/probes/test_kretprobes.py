# SPDX-License-Identifier: GPL-2.0-or-later
"""Kretprobes as trace events: made with room, counted, and removed, whoever dies."""

import os
import signal
import time

import pytest

from probes import kretprobes, syscalls, tracefs
from probes.guardian import Guardian
from probes.kretprobes import Kretprobes

PATIENCE = 60.0


@pytest.fixture
def mounted(monkeypatch, tmp_path):
    """A folder that looks like tracefs, in which every kretprobe has the number 77."""
    (tmp_path / "kprobe_events").write_text("p:somebody/elses vfs_read\n")
    monkeypatch.setattr(tracefs, "TRACEFS", str(tmp_path))
    monkeypatch.setattr(tracefs, "EVENTS", str(tmp_path / "events"))
    event = tmp_path / "events" / "mapcount" / f"pid{os.getpid()}_5"
    event.mkdir(parents=True)
    (event / "id").write_text("77\n")
    return tmp_path


def attached(monkeypatch):
    told, links = [], []
    monkeypatch.setattr(syscalls, "attach_tracepoint", lambda *link: links.append(link) or 9)
    made = Kretprobes(told.append)
    assert made.attach(11, 5, "copy_huge_pmd") == 9
    assert links == [(11, 77)]
    return made, told


def test_kretprobe_when_a_program_is_attached(monkeypatch, mounted):
    # GIVEN tracefs WHEN a program is attached to a return
    made, told = attached(monkeypatch)
    # THEN the event is added to what is there, with the most room; its name was told before
    name = f"pid{os.getpid()}_5"
    lines = (mounted / "kprobe_events").read_text().splitlines()
    assert lines == ["p:somebody/elses vfs_read", f"r4096:mapcount/{name} copy_huge_pmd"]
    assert told == [name]
    # WHEN the recording ends THEN it is removed, and nothing else
    made.remove()
    assert (mounted / "kprobe_events").read_text().splitlines()[2:] == [f"-:mapcount/{name}"]


def test_kretprobe_when_too_many_tasks_were_in_its_function(monkeypatch, mounted):
    # GIVEN a kretprobe beside somebody else's
    made, _ = attached(monkeypatch)
    profile = f"  elses      1      9\n  pid{os.getpid()}_5     12345     7\n"
    (mounted / "kprobe_profile").write_text(profile)
    # WHEN the kernel counts missed returns THEN those of ours are known
    assert made.missed() == {5: 7}


def test_missed_when_no_kretprobe_is_needed():
    # GIVEN a kernel with other ways THEN nothing is read
    assert Kretprobes(print).missed() == {}


def test_kretprobe_when_tracefs_is_not_mounted(monkeypatch, tmp_path):
    # GIVEN no tracefs WHEN a program is attached THEN the error says what to do
    monkeypatch.setattr(tracefs, "TRACEFS", str(tmp_path))
    with pytest.raises(OSError, match="mount -t tracefs") as error:
        Kretprobes(str).attach(11, 5, "copy_huge_pmd")
    assert error.value.strerror == tracefs.NOT_MOUNTED


def test_guardian_when_a_recorder_with_kretprobes_is_killed(mounted):
    # GIVEN a recorder that has made one
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        Guardian().makes("pid1_5")
        os.write(tell, b"!")
        signal.pause()
    os.read(told, 1)
    # WHEN it is killed
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # THEN it is removed
    until = time.monotonic() + PATIENCE
    while "-:mapcount/pid1_5\n" not in (mounted / "kprobe_events").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_removal_when_something_is_attached_still(monkeypatch):
    # GIVEN a kretprobe whose last user is closed a moment later
    tries = []

    def change(line):
        tries.append(line)
        if len(tries) < 3:
            raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(tracefs, "change_kprobes", change)
    # WHEN it is removed after a recorder's death THEN that is tried again
    kretprobes.remove_when_free({"pid1_5"})
    assert tries == ["-:mapcount/pid1_5"] * 3
