# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder's priority: what it asks for, and what it says when it is refused."""

import os

import pytest

from probes import priority
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
