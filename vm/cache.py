# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's cache of things that are expensive to make, and how two runs share it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vm import say

KEPT_RUNS = 20


def root() -> Path:
    """The cache directory of this user (created when missing)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(base) / "mapcount"
    path.mkdir(parents=True, exist_ok=True)
    return path


def compiled() -> Path:
    """The folder of the programs that the guests' recorders compiled (probes/kept.py)."""
    path = root() / "compiled"
    path.mkdir(exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock NAME: the second of two runs waits and then finds the result."""
    folder = root() / "locks"
    folder.mkdir(exist_ok=True)
    with open(folder / name, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say.phase(f"waiting for another run that prepares {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def new_run_dir(name: str) -> Path:
    """A fresh directory for one guest run; the oldest ones beyond KEPT_RUNS are removed."""
    folder = root() / "runs"
    folder.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    # A run may still be going on in any of them, so only dirs of finished runs are old enough.
    runs = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in runs[: -KEPT_RUNS or None]:
        if time.time() - old.stat().st_mtime > 24 * 3600:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{stamp}-{name}-", dir=folder))
