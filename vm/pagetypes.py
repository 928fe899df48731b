# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the kernel's page-types from Debian's linux-source package into the cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from vm import apt, arch, cache, procs, say

SUITE = "bookworm"
PACKAGE = "linux-source-6.1"
TREE = "linux-source-6.1"
# What tools/vm needs to build; the rest of the kernel stays in the archive.
PARTS = ("tools/vm", "tools/lib", "tools/build", "tools/scripts", "tools/include", "include")


def ensure(machine: arch.Arch = arch.GUEST) -> Path:
    """The page-types program for MACHINE, built now (a download of 130 MB) if it is not there."""
    path = cache.root() / "bin" / PACKAGE / "page-types"
    prefix = arch.tools_prefix(machine)
    if prefix:
        path = path.with_name(f"page-types-{machine.MACHINE}")
    if path.exists():
        return path
    with cache.locked("page-types"):
        if not path.exists():
            for tool in ("apt-get", "dpkg-deb", f"{prefix}gcc", "make", "xz"):
                if shutil.which(tool) is None:
                    raise say.LabError(f"{tool} is missing: install it to build page-types")
            with tempfile.TemporaryDirectory(prefix="page-types-", dir=cache.root()) as folder:
                _build(Path(folder), path, prefix)
    return path


def _build(folder: Path, path: Path, prefix: str) -> None:
    say.phase(f"building page-types from {PACKAGE} (130 MB to fetch, only once)")
    log = cache.root() / "page-types.log"
    package = _download(folder, log)
    # The archive within the archive is only streamed: 1.3 GB unpacked would be for six folders.
    wanted = " ".join(f"{TREE}/{part}" for part in PARTS)
    unpack = (
        f"set -e; dpkg-deb --fsys-tarfile {package} | tar -xO ./usr/src/{TREE}.tar.xz"
        f" | tar -xJ {wanted}"
    )
    procs.run_logged(["bash", "-o", "pipefail", "-c", unpack], log, "unpacking page-types", folder)
    tools = folder / TREE / "tools/vm"
    # Static like the workloads: it runs in the root of any suite.
    cross = (f"CROSS_COMPILE={prefix}", f"CC={prefix}gcc -static")
    make = ["make", "-C", str(tools), *cross, "page-types"]
    procs.run_logged(make, log, "building page-types", folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tools / "page-types", path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def _download(folder: Path, log: Path) -> Path:
    """Fetch the package with an apt state of its own: nothing of the machine's is touched."""
    lists = folder / "sources.list"
    lists.write_text("\n".join(apt.mirror().lines(SUITE)) + "\n")
    (folder / "lists/partial").mkdir(parents=True)
    options = [
        *("-o", f"Dir::Etc::SourceList={lists}", "-o", "Dir::Etc::SourceParts=-"),
        *("-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}"),
        *("-o", "APT::Sandbox::User=root" if os.geteuid() == 0 else "Debug::NoLocking=1"),
    ]
    procs.run_logged(["apt-get", *options, "update"], log, "reading the package lists", folder)
    command = ["apt-get", *options, "download", PACKAGE]
    procs.run_logged(command, log, f"fetching {PACKAGE}", folder)
    found = list(folder.glob("*.deb"))
    if not found:
        raise say.LabError(f"apt-get fetched no {PACKAGE}: see {log}")
    return found[0]
