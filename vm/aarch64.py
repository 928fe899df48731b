# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64, as the lab has to know it (vm/arch.py says what that is)."""

from __future__ import annotations

from pathlib import Path

MACHINE = "aarch64"
DEBIAN = "arm64"
QEMU = "qemu-system-aarch64"
QEMU_PACKAGE = "qemu-system-arm"
QEMU_BOARD: tuple[str, ...] = ("-M", "virt")
COMPILER, COMPILER_PACKAGE = "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"
CONSOLE = "ttyAMA0"
# It has LSE atomics. Real pointer authentication would be most of what is emulated.
EMULATED_CPU = "max,pauth-impdef=on"
STALE_BREAKPOINT = "Unexpected kernel BRK exception"

IMAGE_KIND = "arm64 Image"
TARGET = "Image"
BUILT_IMAGE = "arch/arm64/boot/Image"

# Of the header, Documentation/arch/arm64/booting.rst
_MAGIC_AT, _MAGIC = 56, b"ARM\x64"


def boots(image: Path) -> bool:
    """Whether IMAGE is a boot image."""
    with open(image, "rb") as file:
        file.seek(_MAGIC_AT)
        return file.read(4) == _MAGIC


def release(image: Path) -> str | None:
    """What `uname -r` will say under IMAGE: its header does not tell."""
    return None
