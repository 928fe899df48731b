# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests for the kernel tests: each scenario is recorded once a session."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import analysis

ROOT = Path(__file__).parents[1]
#: CI sets this: a test that would be skipped for want of a guest fails instead.
REQUIRED = bool(os.environ.get("MAPCOUNT_REQUIRE_KERNEL"))
GUEST_SECONDS = 1200


def pytest_collection_modifyitems(items):
    """Tests in tests/kernel boot guests; say what is missing where they cannot."""
    missing = [tool for tool in ("qemu-system-x86_64", "mmdebstrap") if not shutil.which(tool)]
    if os.geteuid() != 0:
        missing.append("root")
    for item in items:
        if "kernel" not in Path(item.fspath).parts[-2:-1]:
            continue
        item.add_marker("kernel")
        if missing and not REQUIRED:
            item.add_marker(
                pytest.mark.skip(reason=f"no guest without {', '.join(missing)}: run `make test`")
            )


def lab_run(*arguments, cwd=None):
    """``mapcount lab run ARGUMENTS``; the finished process."""
    return subprocess.run(
        [sys.executable, ROOT / "mapcount.py", "lab", "run", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=GUEST_SECONDS + 120,
    )


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A function: scenario and kernel -> path of its trace, recorded in a guest."""
    done = {}

    def record(scenario, kernel="6.1", *more):
        key = (scenario, kernel, more)
        if key not in done:
            path = tmp_path_factory.mktemp(scenario) / "trace.mapcount"
            run = lab_run(
                "--kernel", kernel, "--timeout", GUEST_SECONDS, "-o", path, scenario, *more
            )
            assert run.returncode == 0, run.stderr
            done[key] = path
        return done[key]

    return record


@pytest.fixture
def opened(recorded):
    """A function: scenario and kernel -> its trace, opened."""

    def open_(scenario, kernel="6.1", *more):
        return analysis.open_trace(str(recorded(scenario, kernel, *more)))

    return open_
