# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles the workloads into the cache.

They are linked statically on the host: such a program needs nothing from the guest, so one
binary serves the root of every suite, and no guest needs a compiler.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from vm import cache
from vm.say import LabError

# The shared header has more helpers than each workload calls.
FLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Wno-unused-function")


def workload(source: Path) -> Path:
    """The program made from SOURCE, compiled now unless the cache has it."""
    headers = sorted(source.parent.glob("*.h"))
    text = b"".join(path.read_bytes() for path in (source, *headers))
    key = hashlib.sha256(" ".join(FLAGS).encode() + text).hexdigest()[:12]
    path = cache.root() / "bin" / key / source.stem
    if path.exists():
        return path
    compiler = shutil.which("gcc")
    if compiler is None:
        raise LabError("gcc is missing: apt-get install gcc libc6-dev")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [compiler, *FLAGS, "-o", str(part), str(source)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise LabError(
            f"{source.name} does not compile (libc6-dev installed?):\n{done.stderr.rstrip()}"
        )
    part.rename(path)
    return path
