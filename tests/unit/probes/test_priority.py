# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder's priority: what it asks for, and what it says when it is refused."""

import os

import pytest

from probes import doctor, priority
from probes.record import Recording, Request


def asked(monkeypatch, error=None):
    """What is asked of the kernel, which refuses it with an error."""
    calls = []

    def set_scheduler(pid, policy, parameter):
        calls.append((pid, policy, parameter.sched_priority))
        if error is not None:
            raise error

    monkeypatch.setattr(priority.os, "sched_setscheduler", set_scheduler)
    return calls


def test_priority_when_it_is_given(monkeypatch, capsys):
    # GIVEN a kernel that gives it WHEN recording begins THEN it is a low one, and nothing is said
    calls = asked(monkeypatch)
    Recording(Request(), None)._prioritize()
    assert calls == [(0, os.SCHED_FIFO, priority.PRIORITY)]
    assert capsys.readouterr().err == ""


def test_priority_when_it_is_refused(monkeypatch, capsys):
    # GIVEN a kernel that refuses it WHEN recording begins THEN one line says so, and what it means
    asked(monkeypatch, PermissionError(1, "Operation not permitted"))
    Recording(Request(), None)._prioritize()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ") and "Operation not permitted" in line and "--nice" in line


@pytest.mark.parametrize("error", [None, PermissionError(1, "no")])
def test_priority_when_it_is_not_wanted(monkeypatch, capsys, error):
    # GIVEN --nice WHEN recording begins THEN nothing is asked for, and nothing said
    calls = asked(monkeypatch, error)
    Recording(Request(nice=True), None)._prioritize()
    assert calls == [] and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (None, "ok     priority: real-time, SCHED_FIFO 10, while recording (--nice: none)"),
        (PermissionError(1, "Operation not permitted"), "LACKS  priority: the kernel refuses"),
    ],
)
def test_priority_when_doctor_looks(monkeypatch, capsys, error, line):
    # GIVEN a kernel that gives it or not WHEN doctor looks
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    calls = asked(monkeypatch, error)
    report = doctor.Report(False)
    doctor._check(report, "priority", doctor._priority, "events")
    # THEN it says so, recording works all the same, and the priority is what it was
    assert capsys.readouterr().out.startswith(line)
    assert report.end() == 0
    assert calls == [(0, os.SCHED_FIFO, 10), *([(0, *before)] if error is None else [])]
