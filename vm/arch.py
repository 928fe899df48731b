# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab has to know of the machine that its guests are; one module beside this one knows it
of each."""

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
        """What virtme-ng is told for a guest whose MEMORY is to lie in so many nodes."""

    def boots(self, image: Path) -> bool:
        """Whether IMAGE can be booted."""

    def release(self, image: Path) -> str | None:
        """What `uname -r` will say under IMAGE, None if that is not known."""


#: What the lab's guests are if nothing else is said.
GUEST: Arch = x86_64
ARM64: Arch = aarch64


def is_host(machine: Arch) -> bool:
    """Whether this computer is such a machine."""
    return platform.machine() == machine.MACHINE
