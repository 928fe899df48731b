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

from vm import arch, cache
from vm.say import LabError

# The shared header has more helpers than each workload calls.
FLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Wno-unused-function")


def workload(source: Path, machine: arch.Arch = arch.GUEST, page_kib: int = 4) -> Path:
    """The program made from SOURCE for MACHINE and its pages, compiled now if it is not there."""
    here = arch.is_host(machine)
    name = "gcc" if here else machine.COMPILER
    # What story.h takes for the size of a page, and for the number of those that a PMD maps.
    pages = () if page_kib == 4 else (f"-DPAGE={page_kib << 10}UL", f"-DPAGES={page_kib << 7}UL")
    flags = (*FLAGS, *pages)
    headers = sorted(source.parent.glob("*.h"))
    text = b"".join(path.read_bytes() for path in (source, *headers))
    key = hashlib.sha256(" ".join((name, *flags)).encode() + text).hexdigest()[:12]
    path = cache.root() / "bin" / key / source.stem
    if path.exists():
        return path
    compiler = shutil.which(name)
    if compiler is None:
        package = "gcc libc6-dev" if here else machine.COMPILER_PACKAGE
        raise LabError(f"{name} is missing: apt-get install {package}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [compiler, *flags, "-o", str(part), str(source)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise LabError(
            f"{source.name} does not compile (is its C library installed?):\n{done.stderr.rstrip()}"
        )
    part.rename(path)
    return path
