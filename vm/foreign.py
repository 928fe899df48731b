# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of another machine than this one, whose programs cannot be run here.

The packages of their roots are unpacked and not installed: their scripts would need an emulator for
user space, and take a quarter of an hour in it. The effects that a guest needs are made here.
"""

from __future__ import annotations

import shutil
import subprocess
import urllib.parse
from pathlib import Path

from vm import arch
from vm.say import LabError

ARCHIVES = "var/cache/apt/archives"
IMAGE = "vmlinuz"
#: So many times as long as an emulated guest of this machine's own kind one of these may take: a
#: processor with another order of memory is emulated with more fences.
SLOWER = 3.0


def slower(machine: arch.Arch) -> float:
    """How many times as long a guest of MACHINE may take as one of this machine's own kind."""
    return 1.0 if arch.is_host(machine) else SLOWER


def check(machine: arch.Arch) -> None:
    """Raises LabError if a guest of MACHINE cannot be emulated here."""
    if shutil.which(machine.QEMU) is None:
        raise LabError(f"{machine.QEMU} is missing: apt-get install {machine.QEMU_PACKAGE}")


def options(machine: arch.Arch) -> list[str]:
    """mmdebstrap's options."""
    return [
        "--variant=extract",
        f"--architectures={machine.DEBIAN}",
        # Which an installation brings without being asked.
        "--include=?essential",
        # The names of the packages tell their versions: nothing is noted as installed.
        "--skip=cleanup/apt/cache",
    ]


def finish(root: Path) -> dict[str, str]:
    """Make ROOT, with its unpacked packages, bootable; returns their versions."""
    if shutil.which("depmod") is None:
        raise LabError("depmod is missing: apt-get install kmod")
    for modules in (root / "usr/lib/modules").iterdir():
        subprocess.run(["depmod", "-b", str(root), modules.name], check=True)
        # Debian's packages of 7.2 have the image here, and a script puts it into /boot.
        if (modules / IMAGE).exists():
            (root / "boot").mkdir(exist_ok=True)
            (root / f"boot/{IMAGE}-{modules.name}").symlink_to(
                f"../usr/lib/modules/{modules.name}/{IMAGE}"
            )
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
    packages = sorted((root / ARCHIVES).glob("*.deb"))
    found = dict(map(_version, packages))
    for package in packages:
        package.unlink()
    return found


def _version(package: Path) -> tuple[str, str]:
    name, version, _ = package.name.split("_")
    return name, urllib.parse.unquote(version)
