# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64, as guests of the lab (the names are described in vm/arch.py)."""

from __future__ import annotations

import re
from pathlib import Path

from vm.say import LabError

MACHINE = "aarch64"
DEBIAN = "arm64"
KBUILD = "arm64"
QEMU = "qemu-system-aarch64"
QEMU_PACKAGE = "qemu-system-arm"
QEMU_BOARD: tuple[str, ...] = ("-M", "virt")
COMPILER, COMPILER_PACKAGE = "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"
CONSOLE = "ttyAMA0"
# It has LSE atomics. Real pointer authentication would be most of what is emulated.
EMULATED_CPU = "max,pauth-impdef=on"

IMAGE_KIND = "arm64 Image"
TARGET = "Image"
BUILT_IMAGE = "arch/arm64/boot/Image"
KCONFIG: tuple[str, ...] = ("aarch64.config",)

# Of the header, Documentation/arch/arm64/booting.rst
_MAGIC_AT, _MAGIC = 56, b"ARM\x64"


def nodes(number: int, memory: str) -> list[str]:
    """virtme-ng's options for a guest whose MEMORY is in so many NUMA nodes of QEMU's: Debian's
    kernels cannot emulate nodes themselves (CONFIG_NUMA_EMU)."""
    size = re.fullmatch(r"(\d+)([MG])", memory)
    if size is None:
        raise LabError(f"memory of {memory} cannot be divided: give a whole number of M or G", 2)
    mib = int(size[1]) << (10 if size[2] == "G" else 0)
    return ["--numa", f"{mib // number}M"] * number


def boots(image: Path) -> bool:
    """Whether IMAGE is a boot image."""
    with open(image, "rb") as file:
        file.seek(_MAGIC_AT)
        return file.read(4) == _MAGIC


def release(image: Path) -> str | None:
    """The release that `uname -r` will print under IMAGE; its header does not have it."""
    return None
