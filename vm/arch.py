# SPDX-License-Identifier: GPL-2.0-or-later
"""The names that a machine's module defines for the lab; each machine has a module beside this."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Protocol

from vm import aarch64, x86_64


class Arch(Protocol):
    """The names that a machine's module has."""

    MACHINE: str  # its name in `uname -m`
    DEBIAN: str  # its name in Debian's packages
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

    def nodes(self, number: int, memory: str) -> list[str]:
        """virtme-ng's options for a guest whose MEMORY is divided into so many NUMA nodes."""

    def boots(self, image: Path) -> bool:
        """Whether IMAGE can be booted."""

    def release(self, image: Path) -> str | None:
        """The release that `uname -r` will print under IMAGE, None if not known."""


#: What the lab's guests are if nothing else is said.
GUEST: Arch = x86_64
ARM64: Arch = aarch64


def is_host(machine: Arch) -> bool:
    """Whether this computer is such a machine, and so needs no emulation."""
    return platform.machine() == machine.MACHINE
