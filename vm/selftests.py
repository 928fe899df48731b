# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the kernel's own tests of mm from Debian's linux-source of a suite, into the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from vm import cache, chroot, kbuild, say

#: What the tests are made with.  They are linked statically: a guest needs no library of theirs.
TOOLS = ("gcc", "libc6-dev", "make", "libnuma-dev", "libcap-dev", "liburing-dev", "xz-utils")
#: Depends on the suite's own source package.
SOURCE = "linux-source"
#: Commit baa489fabd01 ("selftests/vm: rename selftests/vm to selftests/mm") (in v6.3).
FOLDERS = ("mm", "vm")
HEADERS, PROGRAMS = "/build/headers", "/build/selftests"
#: khugepaged.c of 6.12.118 uses KSFT_SKIP without kselftest.h, which defines it so.
FLAGS = "-static -DKSFT_SKIP=4"


def ensure(suite: str) -> Path:
    """The folder with the tests of SUITE, built now unless the cache has it."""
    root = chroot.ensure(suite, (*TOOLS, SOURCE))
    flags = hashlib.sha256(FLAGS.encode()).hexdigest()[:6]
    folder = cache.root() / "selftests" / f"{root.name}-{flags}"
    if not folder.is_dir():
        with cache.locked(f"selftests-{suite}"):
            if not folder.is_dir():
                _build(root, folder)
    return folder


def _build(root: Path, folder: Path) -> None:
    """Build every test that compiles with the libraries of its suite."""
    if os.geteuid() != 0:
        raise say.LabError("building the kernel's selftests needs root: run this once as root")
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    package = next(name for name in chroot.versions(root) if name.startswith(f"{SOURCE}-"))
    tree = kbuild.source(root, package, log)
    say.phase(f"building the selftests of {package} (some minutes, only once)")
    make = ("make", "-C", f"/{kbuild.SOURCE}", f"-j{os.cpu_count() or 1}")
    kbuild.in_root(root, log, "making the kernel's headers", *make, f"O={HEADERS}", "headers")
    programs = root / PROGRAMS.lstrip("/")
    shutil.rmtree(programs, ignore_errors=True)  # they may have been made with other flags
    programs.mkdir()
    selftests = tree / "tools/testing/selftests"
    tests = next(path for path in map(selftests.joinpath, FOLDERS) if path.is_dir())
    names = sorted(path.stem for path in tests.glob("*.c"))
    kbuild.in_root(
        root, log, "building the selftests", *make, "-C", str(tests.relative_to(tree)),
        # Some need what the suite has not, or are no programs of their own.
        "--ignore-errors", f"OUTPUT={PROGRAMS}", f"KHDR_INCLUDES=-isystem {HEADERS}/usr/include",
        f"EXTRA_CFLAGS={FLAGS}", *(f"{PROGRAMS}/{name}" for name in names),
    )  # fmt: skip
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name in names:
        made = programs / name
        if made.is_file() and os.access(made, os.X_OK):
            shutil.copy2(made, part)
    part.rename(folder)
