# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64, as guests of the lab (the names are described in vm/arch.py)."""

from __future__ import annotations

import struct
from pathlib import Path

MACHINE = "x86_64"
DEBIAN = "amd64"
KBUILD = "x86_64"
QEMU = "qemu-system-x86_64"
QEMU_PACKAGE = "qemu-system-x86"
QEMU_BOARD: tuple[str, ...] = ()
COMPILER, COMPILER_PACKAGE = "x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"
CONSOLE = "ttyS0"
# QEMU emulates `rep movsb` and `rep stosb` byte by byte: a kernel that is told not to prefer them
# clears a huge page four times as fast.
EMULATED_CPU = "max,-erms,-fsrm"

IMAGE_KIND = "x86 bzImage"
TARGET = "bzImage"
BUILT_IMAGE = "arch/x86/boot/bzImage"
KCONFIG: tuple[str, ...] = ()

# Of the set-up header, Documentation/arch/x86/boot.rst
_HEADER_MAGIC, _KERNEL_VERSION, _TEXTS = 0x202, 0x20E, 0x200


def nodes(number: int, memory: str) -> list[str]:
    """virtme-ng's options for a guest of so many NUMA nodes, which the kernel emulates."""
    return [f"--append=numa=fake={number}"]


def boots(image: Path) -> bool:
    """Whether IMAGE is a boot image: its setup header begins with "HdrS"."""
    with open(image, "rb") as file:
        file.seek(_HEADER_MAGIC)
        return file.read(4) == b"HdrS"


def release(image: Path) -> str | None:
    """The release that `uname -r` will print under IMAGE."""
    with open(image, "rb") as file:
        file.seek(_KERNEL_VERSION)  # where the text lies
        (offset,) = struct.unpack("<H", file.read(2).ljust(2, b"\0"))
        file.seek(offset + _TEXTS)
        words = file.read(256).partition(b"\0")[0].split()
    return words[0].decode(errors="replace") if offset and words else None
