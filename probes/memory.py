# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's memory: through /proc/kcore or, if that is missing, through a BPF program.

The program is written here instruction by instruction, and run on demand (BPF_PROG_TEST_RUN of
a raw tracepoint's program, 5.10+): it copies the memory at an address into a map.  It needs no
compiler, and reads only what BPF programs may read.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Dict, Tuple

from probes import syscalls
from probes.errors import ProbeError
from probes.kernel import Kcore, Memory

#: Bytes that are copied at one time: the struct pages of a frame.
CHUNK = 32 << 10

_INSN = struct.Struct("<BBhi")
#: enum bpf_map_type, and a flag of BPF_MAP_CREATE
_ARRAY, _MMAPABLE = 2, 1 << 10
#: enum bpf_func_id
_GET_CURRENT_TASK, _PROBE_READ_KERNEL = 35, 113


def _insn(code: int, to: int = 0, from_: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return _INSN.pack(code, from_ << 4 | to, offset, value)


def _copy(map_fd: int) -> bytes:
    """bpf_probe_read_kernel(the map's value, args[1], args[0]), if args[1] is not too large."""
    return b"".join(
        (
            _insn(0x79, 3, 1, 0),  # r3 = *(u64 *)(r1 + 0)
            _insn(0x79, 2, 1, 8),  # r2 = *(u64 *)(r1 + 8)
            _insn(0xB7, 0, value=-1),  # r0 = -1
            _insn(0x25, 2, offset=3, value=CHUNK),  # if r2 > CHUNK goto exit
            *_value(1, map_fd),
            _insn(0x85, value=_PROBE_READ_KERNEL),
            _insn(0x95),  # exit
        )
    )


def _current(map_fd: int) -> bytes:
    """The map's value = the task_struct of the running task."""
    return b"".join(
        (
            _insn(0x85, value=_GET_CURRENT_TASK),
            *_value(1, map_fd),
            _insn(0x7B, 1, 0),  # *(u64 *)(r1 + 0) = r0
            _insn(0xB7, 0),  # r0 = 0
            _insn(0x95),
        )
    )


def _value(register: int, map_fd: int) -> Tuple[bytes, bytes]:
    """register = the address of an array's first value (BPF_PSEUDO_MAP_VALUE)."""
    return _insn(0x18, register, 2, 0, map_fd), _insn(0)


class BpfMemory(Memory):
    """The kernel's memory as BPF programs may read it."""

    def __init__(self) -> None:
        try:
            self._map = syscalls.create_map(_ARRAY, 4, CHUNK, 1, _MMAPABLE, "memory")
            self._room = mmap.mmap(self._map, CHUNK)
            self._copy = self._load(_copy(self._map))
            self._current = self._load(_current(self._map))
            self.current()
        except OSError as error:
            raise ProbeError(
                f"BPF cannot read the kernel's memory either ({error.strerror}): run as root on "
                "a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS, 5.10 or later"
            ) from None

    @staticmethod
    def _load(instructions: bytes) -> int:
        return syscalls.load_program(syscalls.PROG_RAW_TRACEPOINT, instructions, "GPL", "memory")

    def read(self, address: int, size: int) -> bytes:
        found = []
        for at in range(address, address + size, CHUNK):
            part = min(CHUNK, address + size - at)
            if syscalls.run(self._copy, at, part) != 0:
                raise ProbeError(f"the kernel has no {size} bytes at {address:#x}")
            found.append(self._room[:part])
        return b"".join(found)

    def current(self) -> int:
        """The address of the calling task's task_struct."""
        syscalls.run(self._current)
        return int.from_bytes(self._room[:8], "little")


def kernel_memory() -> Memory:
    """/proc/kcore if the kernel has it, else the program.  Raises ProbeError if it has neither."""
    try:
        return Kcore()
    except ProbeError as no_kcore:
        try:
            return BpfMemory()
        except ProbeError as no_bpf:
            raise ProbeError(f"{no_kcore}; {no_bpf}") from None


def marker_ops(memory: BpfMemory, offsets: Dict[str, int]) -> int:
    """The f_op of files opened as trace_marker, read from a file that is opened here.

    ``offsets``: those of Layout.task.  Raises ProbeError if it cannot be found.
    """
    try:
        fd = os.open("/sys/kernel/tracing/trace_marker", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ProbeError(f"cannot open trace_marker: {error.strerror}") from None
    try:
        at = memory.current()
        for name in ("files", "fdt", "fd"):
            at = memory.u64(at + offsets[name])
        return memory.u64(memory.u64(at + 8 * fd) + offsets["f_op"])
    finally:
        os.close(fd)
