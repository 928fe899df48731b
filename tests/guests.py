# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests of a test session: each boots once for all tests that need it, two at a time.

A test names its guests by the marker `guest` and takes what a guest left from the fixture `guests`
(the table of them is tests/kernel/jobs.py).
Those of the selected tests start as soon as the tests are collected, so that they run beside the
tests that need none.  Once a test waits for its guest, a third one takes the place of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm import arch, boots

ROOT = Path(__file__).parents[1]
#: What the session began with: a guest may start while another test has a cache of its own (or a
#: folder, or limits: no test limits its own process).
ENVIRONMENT = dict(os.environ)
GUEST_SECONDS = 1200
#: Guests at a time, beside tests: one has two CPUs, and emulated ones mostly use one.
AT_ONCE = 2


def missing(guests: Iterable[str]) -> list[str]:
    """What this machine lacks to boot guests of these names."""
    needed = [arch.GUEST.QEMU, "mmdebstrap"]
    if any("arm64" in guest for guest in guests):
        needed += [arch.ARM64.QEMU, arch.ARM64.COMPILER]
    lacking = [program for program in needed if shutil.which(program) is None]
    return lacking + ([] if os.geteuid() == 0 else ["root"])


@dataclass(frozen=True)
class Took:
    """How long a guest took, the making of its root included."""

    guest: str
    seconds: float
    failed: bool


class Planner:
    """Runs jobs (folder -> what their tests take), some at a time; each once."""

    def __init__(self, jobs: dict[str, Callable[[Path], Any]], folder: Callable[[str], Path]):
        self.took: list[Took] = []
        self.hung_before = _hung()
        self._jobs, self._folder = jobs, folder
        self._pool = ThreadPoolExecutor(AT_ONCE + 1, thread_name_prefix="guest")
        self._places = threading.Semaphore(AT_ONCE)
        self._tests_run = True
        self._closed = False
        self._running: dict[str, Future[Any]] = {}

    def start(self, name: str) -> Future[Any]:
        """Begin with a job, or find it begun."""
        if name not in self._running:
            self._running[name] = self._pool.submit(self._run, name)
        return self._running[name]

    def result(self, name: str) -> Any:
        """What the job left; its exception if it failed."""
        job = self.start(name)
        if self._tests_run and not job.done():
            self._tests_run = False
            self._places.release()
        return job.result()

    def close(self) -> None:
        """Begin with nothing more, and wait for what runs."""
        self._closed = True
        self._pool.shutdown(cancel_futures=True)

    @property
    def flaky(self) -> int:
        """Boots of this session that hung or were lost, and were done once more."""
        return max(0, _hung() - self.hung_before)

    def _run(self, name: str) -> Any:
        with self._places:
            if self._closed:
                raise CancelledError(name)
            begin = time.monotonic()
            failed = True
            try:
                left = self._jobs[name](self._folder(name))
                failed = False
                return left
            finally:
                self.took.append(Took(name, time.monotonic() - begin, failed))


def _hung() -> int:
    return sum(boot.hung for boot in boots.history())


def lab(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``mapcount lab ARGUMENTS``; the finished process."""
    return subprocess.run(
        [sys.executable, ROOT / "mapcount.py", "lab", *map(str, arguments)],
        cwd=cwd or ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=GUEST_SECONDS * 4,
    )


def lab_run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``mapcount lab run ARGUMENTS``; the finished process."""
    return lab("run", "--timeout", GUEST_SECONDS, *arguments, cwd=cwd)
