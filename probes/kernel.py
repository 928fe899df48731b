# SPDX-License-Identifier: GPL-2.0-or-later
"""The running kernel: its identity, its symbols, and its memory through /proc/kcore."""

from __future__ import annotations

import bisect
import os
import re
import struct
from abc import ABC, abstractmethod
from typing import Dict, List, Optional, Set, Tuple

from probes.errors import ProbeError

#: Suffixes that gcc gives to a whole copy of a function with changed arguments, and clang to a
#: function of one file that it shares with others (LTO).  A ``.part`` copy is not whole, ``.cold``
#: is the unlikely end of one: never attached.
WHOLE = re.compile(r"\.(isra|constprop|llvm)\.\d+$")

_HIDDEN = "{} shows no addresses: run as root, with kernel.kptr_restrict below 2"


class Symbols:
    """/proc/kallsyms of the kernel proper (modules are left out).

    Raises ProbeError if the addresses are hidden (no root, or kptr_restrict=2).
    """

    def __init__(self, path: str = "/proc/kallsyms") -> None:
        self.address: Dict[str, int] = {}
        #: Names that several symbols have: which of them is meant cannot be told.
        self.ambiguous: Set[str] = set()
        text: List[Tuple[int, str]] = []
        self._variants: Dict[str, List[str]] = {}
        try:
            with open(path) as lines:
                for line in lines:
                    fields = line.split()
                    if len(fields) != 3:
                        continue
                    address, name = int(fields[0], 16), fields[2]
                    if name in self.address:
                        self.ambiguous.add(name)
                    self.address[name] = address
                    if fields[1] in "tTwW":
                        text.append((address, name))
                        if WHOLE.search(name):
                            self._variants.setdefault(WHOLE.sub("", name), []).append(name)
        except OSError as error:
            raise ProbeError(f"cannot read {path}: {error.strerror}; is /proc mounted?") from None
        if not any(self.address.values()):
            raise ProbeError(_HIDDEN.format(path))
        self._traceable = _words("/sys/kernel/tracing/available_filter_functions", 0)
        self._blacklist = _words("/sys/kernel/debug/kprobes/blacklist", 1) or set()
        text.sort()
        self._starts = [address for address, _ in text]
        self._names = [name for _, name in text]

    def functions(self, name: str) -> List[str]:
        """The symbols that are whole copies of the function ``name``."""
        plain = [name] if name in self.address else []
        return plain + self._variants.get(name, [])

    def unprobed(self, name: str) -> Optional[str]:
        """Why the kernel would refuse a kprobe on a symbol, None if it takes one."""
        if self._traceable is not None and name not in self._traceable:
            return "the kernel does not let it be traced"
        if name in self._blacklist:
            return "it is on the kprobe blacklist"
        return None

    def locate(self, address: int) -> str:
        """``name+0x1f`` of the function that holds the address."""
        i = bisect.bisect_right(self._starts, address) - 1
        if i < 0:
            return f"{address:#x}"
        return f"{self._names[i]}+{address - self._starts[i]:#x}"

    def end_of(self, name: str) -> int:
        """The start of the next function: an upper limit for the end of ``name``."""
        i = bisect.bisect_right(self._starts, self.address[name])
        return self._starts[i] if i < len(self._starts) else self.address[name]


def text_start(path: str = "/proc/kallsyms") -> int:
    """The start of the kernel's text, the only symbol that programs compiled before need.
    Raises ProbeError if the addresses are hidden."""
    try:
        with open(path) as lines:
            for line in lines:
                if line.endswith(" _stext\n"):
                    address = int(line.split()[0], 16)
                    if address:
                        return address
                    break
    except OSError as error:
        raise ProbeError(f"cannot read {path}: {error.strerror}; is /proc mounted?") from None
    raise ProbeError(_HIDDEN.format(path))


def _words(path: str, column: int) -> Optional[Set[str]]:
    """One column of a file, None where there is no such file."""
    try:
        with open(path) as lines:
            return {words[column] for words in map(str.split, lines) if len(words) > column}
    except OSError:
        return None


class Memory(ABC):
    """The kernel's virtual memory, read only."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes from a kernel address.  Raises ProbeError if they cannot be read."""

    def u64(self, address: int) -> int:
        """The 8 bytes at a kernel address as a number."""
        return int.from_bytes(self.read(address, 8), "little")

    def physical(self, address: int, size: int) -> bytes:
        """``size`` bytes from a physical address.  Raises ProbeError if they cannot be read."""
        raise ProbeError(
            f"only /proc/kcore tells where {size} bytes at the physical address {address:#x} are"
        )

    def told(self) -> Dict[str, int]:
        """The numbers that the kernel tells crash dumps about itself; empty if it cannot be
        asked for them."""
        return {}


class Kcore(Memory):
    """The kernel's memory through the ELF core /proc/kcore."""

    _HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
    _SEGMENT = struct.Struct("<IIQQQQQQ")
    _LOAD, _NOTE, _NOWHERE = 1, 4, (1 << 64) - 1

    def __init__(self, path: str = "/proc/kcore") -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ProbeError(
                f"cannot open {path}: {error.strerror}; run as root on a kernel with "
                "CONFIG_PROC_KCORE and without lockdown"
            ) from None
        start = os.pread(self._fd, self._HEADER.size, 0)
        if len(start) < self._HEADER.size or not start.startswith(b"\x7fELF"):
            raise ProbeError(
                f"{path} is not an ELF core: use a kernel with CONFIG_PROC_KCORE and without "
                "lockdown"
            )
        head = self._HEADER.unpack(start)
        offset, count = head[5], head[10]
        table = os.pread(self._fd, count * self._SEGMENT.size, offset)
        segments = list(self._SEGMENT.iter_unpack(table))
        self._segments = [
            (vaddr, vaddr + size, at)
            for kind, _, at, vaddr, _, size, _, _ in segments
            if kind == self._LOAD
        ]
        #: By physical address, where the kernel tells it: of memory, and of its own text.
        self._ranges = [
            (paddr, paddr + size, at)
            for kind, _, at, _, paddr, size, _, _ in segments
            if kind == self._LOAD and paddr != self._NOWHERE
        ]
        self._notes = [
            (at, size) for kind, _, at, _, _, size, _, _ in segments if kind == self._NOTE
        ]

    def read(self, address: int, size: int) -> bytes:
        data = self._from(self._segments, address, size)
        if data is None:
            raise ProbeError(f"/proc/kcore does not hold {size} bytes at {address:#x}")
        return data

    def physical(self, address: int, size: int) -> bytes:
        data = self._from(self._ranges, address, size)
        if data is None:
            raise ProbeError(
                f"/proc/kcore does not hold {size} bytes at the physical address {address:#x}"
            )
        return data

    def told(self) -> Dict[str, int]:
        text = b"".join(os.pread(self._fd, size, at) for at, size in self._notes)
        numbers = re.findall(rb"^NUMBER\((\w+)\)=(-?\d+|0x[0-9a-f]+)$", text, re.MULTILINE)
        return {name.decode(): int(value, 0) for name, value in numbers}

    def _from(self, ranges: List[Tuple[int, int, int]], address: int, size: int) -> Optional[bytes]:
        """Some bytes by ranges (start, end, place in the file); None: they are not there."""
        for start, end, at in ranges:
            if start <= address and address + size <= end:
                data = os.pread(self._fd, size, at + address - start)
                while 0 < len(data) < size:
                    more = os.pread(self._fd, size - len(data), at + address - start + len(data))
                    if not more:
                        break
                    data += more
                if len(data) == size:
                    return data
        return None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def check_kprobes() -> str:
    """ "enabled".  Raises ProbeError if the kernel has no kprobes, or has them switched off:
    it would still attach them, and none would ever fire."""
    try:
        with open("/sys/kernel/debug/kprobes/enabled") as file:
            if file.read().strip() != "1":
                raise ProbeError(
                    "kprobes are switched off: write 1 to /sys/kernel/debug/kprobes/enabled"
                )
    except OSError:
        if not os.path.exists("/sys/bus/event_source/devices/kprobe"):
            raise ProbeError(
                "this kernel has no kprobes: use one built with CONFIG_KPROBES=y"
            ) from None
    return "enabled"


def build_id() -> Optional[str]:
    """The kernel's build id (the GNU note in /sys/kernel/notes) in hex, None if absent."""
    try:
        with open("/sys/kernel/notes", "rb") as file:
            notes = file.read()
    except OSError:
        return None
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        name_at = at + 12
        data_at = name_at + (name_size + 3 & ~3)
        if kind == 3 and notes[name_at : name_at + name_size] == b"GNU\0":
            return notes[data_at : data_at + size].hex()
        at = data_at + (size + 3 & ~3)
    return None


def possible_cpus() -> int:
    """One more than the highest CPU number that the kernel may use."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(re.split("[-,]", file.read().strip())[-1]) + 1


def online_cpus() -> Tuple[int, ...]:
    """The numbers of the CPUs that are online."""
    with open("/sys/devices/system/cpu/online") as file:
        spans = [span.split("-") for span in file.read().strip().split(",")]
    return tuple(cpu for span in spans for cpu in range(int(span[0]), int(span[-1]) + 1))
