# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds directory trees of one Debian suite: with its kernel and BCC, what guests boot from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vm import ahead, apt, arch, cache, foreign, procs, say

# The suite's own kernel, headers and BCC: the combination that Debian tests. xz-utils lets BCC
# unpack a kernel's built-in headers (/sys/kernel/kheaders.tar.xz). bpftrace reads the same counters
# as we do, for a test that must not trust our own reading.
PACKAGES = (
    "python3-bpfcc",
    f"linux-image-{arch.GUEST.DEBIAN}",
    f"linux-headers-{arch.GUEST.DEBIAN}",
    "kmod",
    "udev",
    "iproute2",
    "procps",
    "xz-utils",
    "bpftrace",
)
# The same with Debian's kernel for real time, PREEMPT_RT.
RT_PACKAGES = tuple(
    name.replace(f"-{arch.GUEST.DEBIAN}", f"-rt-{arch.GUEST.DEBIAN}") for name in PACKAGES
)
# The same for arm64, with pages of 4 KiB or 16 KiB. virtme-ng's first steps need a busybox, and
# this machine's own would not run there.
ARM64_PACKAGES, ARM64_16K_PACKAGES = (
    (
        *(name.replace(f"-{arch.GUEST.DEBIAN}", f"-{kernel}") for name in PACKAGES),
        "busybox-static",
    )
    for kernel in (arch.ARM64.DEBIAN, f"{arch.ARM64.DEBIAN}-16k")
)
# The guest's root is read-only, so whatever gets mounted there must have its place beforehand.
MOUNT_POINTS = ("out", "trace", "src/probes", "cwd", "headers")
RECIPE = 1  # raise it when the steps below change: then a new tree is built


def path_of(suite: str, packages: Sequence[str] = PACKAGES) -> Path:
    """The path of the tree of SUITE when it is complete; another recipe has another path."""
    recipe = f"{RECIPE} {suite} {' '.join(packages)} {' '.join(MOUNT_POINTS)}"
    key = hashlib.sha256(recipe.encode()).hexdigest()[:10]
    return cache.root() / "chroots" / f"{suite}-{key}"


def find(suite: str, packages: Sequence[str] = PACKAGES) -> Path | None:
    """The complete tree of SUITE with PACKAGES, if it was built before; else None."""
    suites = ahead.SUITES if suite == ahead.NEXT else (suite,)
    paths = (path_of(each, packages) for each in suites)
    return next((path for path in paths if path.is_dir()), None)


def ensure(suite: str, packages: Sequence[str] = PACKAGES, machine: arch.Arch = arch.GUEST) -> Path:
    """The complete tree of SUITE with PACKAGES of MACHINE, built now if missing."""
    path = find(suite, packages)
    if path is None:
        with cache.locked(f"chroot-{suite}"):
            path = find(suite, packages)
            if path is None:
                if suite == ahead.NEXT:
                    suite = ahead.suite()
                path = path_of(suite, packages)
                _build(suite, packages, path, machine)
    return path


def suite_of(path: Path) -> str:
    """The Debian suite that the tree at PATH was built from."""
    return path.name.rpartition("-")[0]


def versions(path: Path) -> dict[str, str]:
    """The package versions that the tree at PATH was built with."""
    found: dict[str, str] = json.loads((path / "mapcount/versions.json").read_text())
    return found


def _build(suite: str, packages: Sequence[str], path: Path, machine: arch.Arch) -> None:
    if os.geteuid() != 0:
        raise say.LabError("building a guest's root needs root: run this once as root")
    if shutil.which("mmdebstrap") is None:
        raise say.LabError("mmdebstrap is missing: apt-get install mmdebstrap")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    sources = apt.mirror().lines(suite)
    say.phase(f"building the {suite} root from {sources[0].split()[-3]} (some minutes, only once)")
    log = path.with_name(f"{path.name}.log")
    try:
        _debootstrap(suite, packages, part, sources, log, machine)
    except say.LabError:
        # Not every mirror has security updates of every suite, testing's least of all.
        if "-security" not in _without(log):
            raise
        sources = [line for line in sources if not _is_security(line)]
        _debootstrap(suite, packages, part, sources, log, machine)
    if suite not in apt.BASES and not any(map(_is_security, sources)):
        say.warning(f"no security archive for {suite} is known: the kernel may be an older one")
    for name in MOUNT_POINTS:
        (part / "mapcount" / name).mkdir(parents=True)
    found = _installed(part) if arch.is_host(machine) else foreign.finish(part)
    (part / "mapcount/versions.json").write_text(json.dumps(found, indent=1) + "\n")
    part.rename(path)
    kernel = [name for name in found if name.startswith("linux-image-") and name[12].isdigit()]
    for name in kernel:
        say.phase(f"{suite}: {name} {found[name]}, bcc {found.get('python3-bpfcc', '?')}")


def _debootstrap(
    suite: str,
    packages: Sequence[str],
    part: Path,
    sources: list[str],
    log: Path,
    machine: arch.Arch,
) -> None:
    # What an interrupted build left; never follow a mount that it may have left too.
    subprocess.run(["rm", "-rf", "--one-file-system", str(part)], check=True)
    # A kernel of backports wants other packages of backports, which apt takes from there only
    # where the whole archive is preferred.
    prefer = [f'--aptopt=APT::Default-Release "{suite}"'] if suite in apt.BASES else []
    procs.run_logged(
        [
            # Asks the kernel's package for no initramfs, a third of the work: virtme-ng has its
            # own.
            *("env", "INITRD=No"),
            "mmdebstrap",
            *(["--variant=minbase"] if arch.is_host(machine) else foreign.options(machine)),
            f"--include={','.join(packages)}",
            # Documentation is half a million small writes that no guest reads.
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            # Testing's lists run out after a week, and mirrors lag: late is as good here, and the
            # signature is checked all the same.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *prefer,
            apt.BASES.get(suite, suite),
            str(part),
            *sources,
        ],
        log,
        f"building the {suite} root",
    )


def _is_security(line: str) -> bool:
    return line.split()[-2].endswith("-security")


def _without(log: Path) -> str:
    """The lines of LOG in which apt names an archive that it did not find."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(line for line in lines if "does not have a Release file" in line)


def _installed(path: Path) -> dict[str, str]:
    text = subprocess.run(
        ["dpkg-query", f"--admindir={path}/var/lib/dpkg", "-W", "-f=${Package} ${Version}\n"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return dict(line.split(" ", 1) for line in text.splitlines())
