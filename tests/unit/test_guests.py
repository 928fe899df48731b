# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of tests.guests: a guest boots once, some at a time, and its failure reaches its tests."""

import threading
import time

import pytest

from tests import guests
from tests.guests import AT_ONCE, Planner, missing


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_job_runs_once_when_many_tests_take_from_it(tmp_path):
    # GIVEN a guest that three tests need
    ran = []
    planner = Planner({"guest": lambda folder: ran.append(folder) or "left"}, tmp_path.joinpath)
    # WHEN each takes what it left THEN it has run once, in a folder of its own
    assert [planner.result("guest") for _ in range(3)] == ["left"] * 3
    assert ran == [tmp_path / "guest"]
    assert [took.guest for took in planner.took] == ["guest"]


def test_jobs_run_beside_each_other_when_some_are_started(tmp_path):
    # GIVEN as many guests as may run at a time, each of which waits for the others
    together = threading.Barrier(AT_ONCE, timeout=20)
    jobs = {f"guest{number}": lambda folder: together.wait() >= 0 for number in range(AT_ONCE)}
    planner = Planner(jobs, tmp_path.joinpath)
    for name in jobs:
        planner.start(name)
    # THEN they all end
    assert all(planner.result(name) for name in jobs)


def test_another_job_runs_when_a_test_waits(tmp_path):
    # GIVEN more guests than may run beside tests, each of which waits for all others
    together = threading.Barrier(AT_ONCE + 1, timeout=60)
    begun = []

    def job(folder):
        begun.append(folder)
        return together.wait() >= 0

    names = [f"guest{number}" for number in range(AT_ONCE + 1)]
    planner = Planner(dict.fromkeys(names, job), tmp_path.joinpath)
    for name in names:
        planner.start(name)
    while together.n_waiting < AT_ONCE:
        time.sleep(0.01)
    # THEN the last of them has not begun as long as tests run
    assert len(begun) == AT_ONCE
    # AND has as soon as one waits
    assert all(planner.result(name) for name in names)


def test_nothing_begins_when_the_session_is_over(tmp_path):
    # GIVEN a guest more than may run beside tests WHEN the session ends before it had a place
    go, begun = threading.Event(), []

    def job(folder):
        begun.append(folder)
        return go.wait(60)

    planner = Planner({f"guest{number}": job for number in range(AT_ONCE + 1)}, tmp_path.joinpath)
    for number in range(AT_ONCE + 1):
        planner.start(f"guest{number}")
    while len(begun) < AT_ONCE:
        time.sleep(0.01)
    closing = threading.Thread(target=planner.close)
    closing.start()
    while not planner._closed:
        time.sleep(0.01)
    go.set()
    closing.join()
    # THEN it is not begun
    assert len(begun) == AT_ONCE


def test_failure_is_every_tests_when_a_job_fails(tmp_path):
    # GIVEN a guest that fails
    planner = Planner({"guest": lambda folder: 1 / 0}, tmp_path.joinpath)
    # WHEN two tests need it THEN both fail, and the table says so
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            planner.result("guest")
    assert [took.failed for took in planner.took] == [True]


def test_guests_of_another_machine_are_missing_alone_when_there_is_no_emulator_for_it(monkeypatch):
    # GIVEN a machine that has what `make setup` installs, and no more
    there = {"qemu-system-x86_64", "mmdebstrap"}
    monkeypatch.setattr(guests.shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(guests.os, "geteuid", lambda: 0)
    # THEN a guest of arm64 lacks its emulator and compiler, and no other guest lacks anything
    assert missing(["matrix-6.12-arm64"]) == ["qemu-system-aarch64", "aarch64-linux-gnu-gcc"]
    assert missing(["matrix-6.12"]) == missing([]) == []


def test_lab_when_another_test_has_a_cache_of_its_own(monkeypatch, tmp_path):
    # GIVEN a test that gives its own process another cache WHEN a guest starts meanwhile
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = {}
    monkeypatch.setattr(guests.subprocess, "run", lambda command, **options: given.update(options))
    guests.lab("list")
    # THEN it has the session's
    assert given["env"].get("XDG_CACHE_HOME") != str(tmp_path)
    assert given["env"]["PATH"]
