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
from collections.abc import Sequence
from pathlib import Path

from vm import arch, cache
from vm.say import LabError

#: The compiler for this machine, and its packages.
NATIVE = ("gcc", "gcc libc6-dev")
# The shared header has more helpers than each workload calls.
FLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Wno-unused-function")


def workload(source: Path, machine: arch.Arch = arch.GUEST, page_kib: int = 4) -> Path:
    """The program made from SOURCE for MACHINE and its page size, compiled now if missing."""
    name, package = _compiler(machine)
    # What story.h takes for the size of a page, and for the number of those that a PMD maps.
    pages = () if page_kib == 4 else (f"-DPAGE={page_kib << 10}UL", f"-DPAGES={page_kib << 7}UL")
    flags = (*FLAGS, *pages)
    headers = sorted(source.parent.glob("*.h"))
    text = b"".join(path.read_bytes() for path in (source, *headers))
    key = hashlib.sha256(" ".join((name, *flags)).encode() + text).hexdigest()[:12]
    path = cache.root() / "bin" / key / source.stem
    return path if path.exists() else _compile(source, path, flags, name, package)


def program(source: Path, path: Path) -> Path:
    """Compile SOURCE to PATH, for this machine."""
    return _compile(source, path, FLAGS, *NATIVE)


def _compiler(machine: arch.Arch) -> tuple[str, str]:
    """The name of the compiler for MACHINE, and the packages that have it."""
    if arch.is_host(machine):
        return NATIVE
    return machine.COMPILER, machine.COMPILER_PACKAGE


def _compile(source: Path, path: Path, flags: Sequence[str], name: str, package: str) -> Path:
    compiler = shutil.which(name)
    if compiler is None:
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
