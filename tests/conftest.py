# SPDX-License-Identifier: GPL-2.0-or-later
"""Which tests need guests: these start at once, and the end tells what each of them took."""

import os
from collections import defaultdict
from pathlib import Path

import pytest

import analysis
from tests.guests import Planner, missing
from tests.kernel import jobs

#: CI sets this: a test that would be skipped for want of a guest fails instead.
REQUIRED = bool(os.environ.get("MAPCOUNT_REQUIRE_KERNEL"))
PLANNER = pytest.StashKey[Planner]()
#: Seconds of each file of tests.
DURATIONS = defaultdict(float)


def pytest_collection_modifyitems(config, items):
    """Tests in tests/kernel boot guests: they come last, and say what is missing for them."""
    for item in items:
        if "kernel" not in Path(item.fspath).parts[-2:-1]:
            continue
        item.add_marker("kernel")
        lacking = missing(marker.args[0] for marker in item.iter_markers("guest"))
        if lacking and not REQUIRED:
            reason = f"no guest without {', '.join(lacking)}: run `make test` or `make truth`"
            item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: item.get_closest_marker("kernel") is not None)


def pytest_sessionstart(session):
    folders = session.config._tmp_path_factory
    # Made here: guests begin in threads, and two that came first made a base for each of them.
    folders.getbasetemp()

    def folder(name):
        return folders.mktemp(name)

    session.config.stash[PLANNER] = Planner(jobs.jobs(), folder)


def pytest_collection_finish(session):
    """The guests of the selected tests begin now, beside the tests that need none."""
    if session.config.option.collectonly:
        return
    wanted = [
        marker.args[0]
        for item in session.items
        if not item.get_closest_marker("skip")
        for marker in item.iter_markers("guest")
    ]
    for guest in (*(name for name in jobs.FIRST if name in wanted), *wanted):
        session.config.stash[PLANNER].start(guest)


def pytest_sessionfinish(session):
    session.config.stash[PLANNER].close()


@pytest.fixture(scope="session")
def guests(request):
    """A function: the name of a guest -> what it left (tests.kernel.jobs)."""
    return request.config.stash[PLANNER].result


@pytest.fixture(scope="session")
def opened(guests):
    """A function: a workload -> its trace, recorded on the kernel of the tests, opened."""

    def open_(workload):
        return analysis.open_trace(str(guests(f"matrix-{jobs.KERNEL}").trace(workload)))

    return open_


def pytest_runtest_logreport(report):
    DURATIONS[report.nodeid.split("::")[0]] += report.duration


def pytest_terminal_summary(terminalreporter, config):
    """A table of what took how long: each guest, and each file of tests."""
    planner = config.stash[PLANNER]
    if planner.took:
        terminalreporter.section("guests, beside the tests")
        for took in sorted(planner.took, key=lambda took: -took.seconds):
            failed = "  FAILED" if took.failed else ""
            terminalreporter.write_line(f"{took.seconds:8.1f} s  {took.guest}{failed}")
        flaky = f"{planner.flaky} boots hung or were lost, and were done once more (flaky)"
        terminalreporter.write_line(flaky)
    terminalreporter.section("tests by file, their wait for a guest included")
    for name, seconds in sorted(DURATIONS.items(), key=lambda item: -item[1])[:25]:
        terminalreporter.write_line(f"{seconds:8.1f} s  {name}")
