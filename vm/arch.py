# SPDX-License-Identifier: GPL-2.0-or-later
"""The names that a machine's module defines for the lab; each machine has a module beside this."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Protocol

from vm import aarch64, x86_64
from vm.say import LabError


class Arch(Protocol):
    """The names that a machine's module has."""

    MACHINE: str  # its name in `uname -m`
    DEBIAN: str  # its name in Debian's packages
    KBUILD: str  # its name for the kernel's make
    QEMU: str  # QEMU's program
    QEMU_PACKAGE: str
    QEMU_BOARD: tuple[str, ...]  # the options that name its board, if there is no usual one
    COMPILER: str  # what compiles for it on another machine
    COMPILER_PACKAGE: str
    CONSOLE: str  # the kernel's name of the first serial port
    EMULATED_CPU: str  # what QEMU is to emulate where there is no KVM
    IMAGE_KIND: str  # what is booted, for messages
    TARGET: str  # what make calls it
    BUILT_IMAGE: str  # where make puts it in the tree
    KCONFIG: tuple[str, ...]  # files of vm/kconfig by which guest.config fits its board

    def nodes(self, number: int, memory: str) -> list[str]:
        """virtme-ng's options for a guest whose MEMORY is divided into so many NUMA nodes."""

    def boots(self, image: Path) -> bool:
        """Whether IMAGE can be booted."""

    def release(self, image: Path) -> str | None:
        """The release that `uname -r` will print under IMAGE, None if not known."""


#: What the lab's guests are if nothing else is said.
GUEST: Arch = x86_64
ARM64: Arch = aarch64
EVERY = (GUEST, ARM64)


def is_host(machine: Arch) -> bool:
    """Whether this computer is such a machine, and so needs no emulation."""
    return platform.machine() == machine.MACHINE


def host() -> Arch:
    """The machine that this computer is."""
    for machine in EVERY:
        if is_host(machine):
            return machine
    known = ", ".join(machine.MACHINE for machine in EVERY)
    raise LabError(f"nothing can be built on {platform.machine()}: this is known of {known}")


def tools_prefix(machine: Arch) -> str:
    """What the names of the compiler and its tools for MACHINE begin with here."""
    return "" if is_host(machine) else machine.COMPILER.removesuffix("gcc")
