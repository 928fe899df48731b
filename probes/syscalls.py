# SPDX-License-Identifier: GPL-2.0-or-later
"""bpf(2) and perf_event_open(2): makes maps, loads programs, attaches them.

Python has neither call; the C library's syscall() makes them, so that nothing needs to be
installed.  Each function raises OSError as Python's own do.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from typing import Optional, Tuple

from probes import arch

# enum bpf_cmd
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_NEXT_KEY, _PROG_LOAD = 0, 1, 2, 4, 5
_PROG_TEST_RUN, _RAW_TRACEPOINT_OPEN, _LINK_CREATE = 10, 17, 28
# enum bpf_prog_type
PROG_KPROBE, PROG_TRACEPOINT, PROG_RAW_TRACEPOINT, PROG_TRACING = 2, 5, 17, 26
# enum bpf_attach_type
TRACE_FENTRY, TRACE_FEXIT, TRACE_KPROBE_MULTI = 24, 25, 42

#: Of union bpf_attr what the calls below set; the kernel takes what is missing for zeros.
_MAP = struct.Struct("=IIIIIIi16s")
_ELEMENT = struct.Struct("=IxxxxQQQ")
_PROGRAM = struct.Struct("=IIQQIIQII16sIIIIQIIQII")
_TRACEPOINT = struct.Struct("=QI")
_MULTI = struct.Struct("=IIIIIIQQQ")
_MULTI_RETURN = 1
_RUN = struct.Struct("=IIIIQQIIIIQQII")
#: struct perf_event_attr up to config2 (PERF_ATTR_SIZE_VER1).
_PERF = struct.Struct("=IIQQQQQIIQQ")

#: struct bpf_insn: code, registers (source and destination), offset, value.
INSN = struct.Struct("<BBhi")
#: The code that adds to a word of memory, and of its value the bit that fetches what was there.
ATOMIC_ADD, FETCH = 0xDB, 1

KPROBE_DEVICE = "/sys/bus/event_source/devices/kprobe"
_PERF_TYPE_TRACEPOINT = 2
_PERF_CLOEXEC = 8
_PERF_ENABLE, _PERF_SET_BPF = 0x2400, 0x40042408
_LOG_BYTES = 1 << 20


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _bpf(command: int, attributes: bytes) -> int:
    size = ctypes.c_long(len(attributes))
    return _call(
        arch.here().BPF, ctypes.c_long(command), ctypes.create_string_buffer(attributes), size
    )


def create_map(
    type_: int, key_size: int, value_size: int, entries: int, flags: int, name: str, inner: int = 0
) -> int:
    """The descriptor of a new map; ``inner``: of a map like those that a map of maps contains."""
    return _bpf(
        _MAP_CREATE,
        _MAP.pack(type_, key_size, value_size, entries, flags, inner, 0, name.encode()[:15]),
    )


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set the value of a map's key."""
    keys, values = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
    _bpf(_MAP_UPDATE, _ELEMENT.pack(fd, ctypes.addressof(keys), ctypes.addressof(values), 0))


def lookup(fd: int, key: bytes, size: int) -> Optional[bytes]:
    """The ``size`` bytes that a map has for a key, None if it has none."""
    keys, values = ctypes.create_string_buffer(key), ctypes.create_string_buffer(size)
    return _found(_MAP_LOOKUP, fd, keys, values)


def next_key(fd: int, key: Optional[bytes], size: int) -> Optional[bytes]:
    """The key of ``size`` bytes after ``key`` (None: the first), None after the last."""
    keys = ctypes.create_string_buffer(key) if key is not None else None
    return _found(_MAP_NEXT_KEY, fd, keys, ctypes.create_string_buffer(size))


def _found(
    command: int,
    fd: int,
    key: "Optional[ctypes.Array[ctypes.c_char]]",
    room: "ctypes.Array[ctypes.c_char]",
) -> Optional[bytes]:
    at = ctypes.addressof(key) if key is not None else 0
    try:
        _bpf(command, _ELEMENT.pack(fd, at, ctypes.addressof(room), 0))
    except FileNotFoundError:
        return None
    return room.raw


def load_program(
    type_: int, instructions: bytes, licence: str, name: str, hook: Tuple[int, int] = (0, 0)
) -> int:
    """The descriptor of a loaded program.

    ``hook``: for PROG_TRACING the attach type and the BTF id of the function.  If the verifier
    rejects the program, the error has its last message.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    terms = ctypes.create_string_buffer(licence.encode())

    def load(log: "Optional[ctypes.Array[ctypes.c_char]]") -> int:
        room = (1, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
        return _bpf(
            _PROG_LOAD,
            _PROGRAM.pack(
                *(type_, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(terms)),
                *(*room, 0, 0, name.encode()[:15], 0, hook[0], 0, 0, 0, 0, 0, 0, 0, hook[1]),
            ),
        )

    try:
        return load(None)
    except OSError as refused:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return load(log)
        except OSError:
            said = [line for line in log.value.decode(errors="replace").splitlines() if line]
            # The last line but the statistics says what is wrong.
            told = [line for line in said if not line.startswith(("processed ", "verification "))]
            why = f"{refused.strerror}: {told[-1]}" if told else refused.strerror
            raise OSError(refused.errno, why) from None


def fetches() -> bool:
    """Whether the kernel has atomic fetch-and-add in BPF programs."""
    one, store, add, result, leave = (
        (0xB7, 1, 0, 1),  # r1 = 1
        (0x7B, 0x1A, -8, 0),  # *(u64 *)(r10 - 8) = r1
        (ATOMIC_ADD, 0x1A, -8, FETCH),
        (0xB7, 0, 0, 0),
        (0x95, 0, 0, 0),
    )
    code = b"".join(INSN.pack(*each) for each in (one, store, add, result, leave))
    try:
        os.close(load_program(PROG_RAW_TRACEPOINT, code, "GPL", "fetches"))
    except OSError:
        return False
    return True


def run(program: int, *arguments: int) -> int:
    """Run a raw tracepoint's program now, as the calling task.  Returns what it returned."""
    context = ctypes.create_string_buffer(struct.pack(f"={len(arguments)}Q", *arguments))
    size = 8 * len(arguments)
    attributes = ctypes.create_string_buffer(
        _RUN.pack(
            *(program, 0, 0, 0, 0, 0, 0, 0),
            *(size, 0, ctypes.addressof(context) if size else 0, 0, 0, 0),
        ),
        _RUN.size,
    )
    _call(arch.here().BPF, ctypes.c_long(_PROG_TEST_RUN), attributes, ctypes.c_long(_RUN.size))
    (returned,) = struct.unpack_from("=i", attributes, 4)
    return int(returned)


def membarrier(number: int, command: int) -> None:
    """Order memory accesses, by a MEMBARRIER_CMD_*."""
    _call(number, ctypes.c_long(command), ctypes.c_long(0), ctypes.c_long(0))


def attach_tracing(program: int, tracepoint: Optional[str] = None) -> int:
    """Attach to a raw tracepoint, or (None) to the function that the program was loaded for."""
    name = ctypes.create_string_buffer(tracepoint.encode()) if tracepoint else None
    at = ctypes.addressof(name) if name is not None else 0
    return _bpf(_RAW_TRACEPOINT_OPEN, _TRACEPOINT.pack(at, program))


def attach_return(program: int, function: str) -> int:
    """Attach to the return of a kernel function as one of several functions."""
    name = ctypes.create_string_buffer(function.encode())
    names = ctypes.c_void_p(ctypes.addressof(name))
    at = ctypes.addressof(names)
    return _bpf(
        _LINK_CREATE,
        _MULTI.pack(program, 0, TRACE_KPROBE_MULTI, 0, _MULTI_RETURN, 1, at, 0, 0),
    )


def attach_kprobe(program: int, function: str, offset: int) -> int:
    """Attach to an instruction of a kernel function."""
    with open(f"{KPROBE_DEVICE}/type") as file:
        type_ = int(file.read())
    name = ctypes.create_string_buffer(function.encode())
    return _attach_event(program, type_, 0, ctypes.addressof(name), offset)


def attach_tracepoint(program: int, number: int) -> int:
    """Attach to a tracepoint by perf's number of its event."""
    return _attach_event(program, _PERF_TYPE_TRACEPOINT, number, 0, 0)


def _attach_event(program: int, type_: int, config: int, config1: int, config2: int) -> int:
    attributes = _PERF.pack(type_, _PERF.size, config, 1, 0, 0, 0, 1, 0, config1, config2)
    # Of any task; the program runs on each CPU, whichever its event is opened on.
    where = (ctypes.c_long(-1), ctypes.c_long(0), ctypes.c_long(-1), ctypes.c_long(_PERF_CLOEXEC))
    number = arch.here().PERF_EVENT_OPEN
    event = _call(number, ctypes.create_string_buffer(attributes, len(attributes)), *where)
    try:
        fcntl.ioctl(event, _PERF_SET_BPF, program)
        fcntl.ioctl(event, _PERF_ENABLE, 0)
    except OSError:
        os.close(event)
        raise
    return event
