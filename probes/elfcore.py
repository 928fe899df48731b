# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory from an ELF core: QEMU's dump-guest-memory, or kdump's vmcore."""

from __future__ import annotations

import os
import struct
from typing import List, Optional, Tuple

from probes.errors import ProbeError

#: ident, type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, ...
EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
#: type, flags, offset, vaddr, paddr, filesz, memsz, align
PHDR = struct.Struct("<IIQQQQQQ")
#: 64-bit, little-endian
IDENT = b"\x7fELF\x02\x01"
ET_CORE, PT_LOAD = 4, 1


class Core:
    """One open core file.  Raises ProbeError if it is not a core."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115  (closed by close())
        except OSError as error:
            raise ProbeError(f"cannot read {path}: {error.strerror}; give the core file") from None
        try:
            self._loads = self._segments()
        except ProbeError:
            self.close()
            raise

    def _segments(self) -> List[Tuple[int, int, int]]:
        """(first physical address, size, place in the file) of each piece of memory."""
        head = self._file.read(EHDR.size)
        if len(head) < EHDR.size or head[: len(IDENT)] != IDENT:
            raise self._unfit()
        _, type_, _, _, _, offset, _, _, _, size, count, *_ = EHDR.unpack(head)
        if type_ != ET_CORE or size != PHDR.size:
            raise self._unfit()
        table = os.pread(self._file.fileno(), size * count, offset)
        if len(table) < size * count:
            raise ProbeError(f"{self.path} ends inside its first table: dump the memory again")
        found = []
        for kind, _, place, _, physical, length, _, _ in PHDR.iter_unpack(table):
            if kind == PT_LOAD:
                found.append((physical, length, place))
        return found

    def _unfit(self) -> ProbeError:
        return ProbeError(
            f"{self.path} is not a 64-bit ELF core: make one with QEMU's dump-guest-memory, or "
            "from kdump's vmcore with makedumpfile -E"
        )

    def read(self, physical: int, size: int) -> Optional[bytes]:
        """``size`` bytes of physical memory, None if the core lacks some of them."""
        for first, length, place in self._loads:
            if first <= physical and physical + size <= first + length:
                data = os.pread(self._file.fileno(), size, place + physical - first)
                return data if len(data) == size else None
        return None

    def close(self) -> None:
        """Close the file; more than once is no error."""
        self._file.close()

    def __enter__(self) -> "Core":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
