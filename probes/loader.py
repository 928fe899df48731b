# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads compiled programs into the kernel and attaches them: maps, constants, descriptors.

All programs are loaded here, whenever and wherever they were compiled.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import struct
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Tuple

from probes import events, syscalls, tracefs
from probes.boot import Boot
from probes.compiled import Compiled, Function, Map
from probes.errors import ProbeError
from probes.fence import fence
from probes.kretprobes import Kretprobes
from probes.maps import (
    CONTROL_BYTES,
    FRAME_BYTES,
    MADE_UP_AT,
    MARK_SLOTS,
    MAX_TASKS,
    MM_HINT_SHIFT,
    MM_HINTS,
    SECTIONS,
    STACK_SLOTS,
    Shape,
)
from probes.plan import Plan
from probes.preemption import EVENTS
from probes.probe import (
    FENTRY,
    FEXIT,
    KPROBE,
    KRETPROBE,
    KRETPROBE_MULTI,
    RAW_TRACEPOINT,
    TRACEPOINT,
    Probe,
)
from probes.source import ENTRIES
from probes.watchset import WatchSet, table

#: struct bpf_insn of a 64-bit constant, which takes two: code, registers, offset, value.
_INSN = struct.Struct("<BBhI")
#: The add is the instruction behind the two that load its step.
_ADD = 2
#: The source register of a constant that is a map's descriptor.
_MAP_FD = 1 << 4
#: The same of one that is the address of the only entry of a map.
_MAP_VALUE = 2 << 4
#: The same of one that is the address of a variable of the kernel, of which it is told the BTF id.
_VARIABLE = 3 << 4
#: program type and attach type by the way of attaching
_TYPES = {
    KPROBE: (syscalls.PROG_KPROBE, 0),
    KRETPROBE: (syscalls.PROG_KPROBE, 0),
    KRETPROBE_MULTI: (syscalls.PROG_KPROBE, syscalls.TRACE_KPROBE_MULTI),
    FENTRY: (syscalls.PROG_TRACING, syscalls.TRACE_FENTRY),
    FEXIT: (syscalls.PROG_TRACING, syscalls.TRACE_FEXIT),
    RAW_TRACEPOINT: (syscalls.PROG_RAW_TRACEPOINT, 0),
    TRACEPOINT: (syscalls.PROG_TRACEPOINT, 0),
}
#: Ways in whose place a kprobe may do.
TRAMPOLINES = (FENTRY, FEXIT, KRETPROBE_MULTI)
_U64 = struct.Struct("=Q")
_U32 = struct.Struct("=I")


@dataclass(frozen=True)
class Filters:
    """Which folios are watched.  An empty filter accepts all."""

    min_order: int = 2
    tasks: bool = False
    cgroup: Optional[str] = None
    pfns: Tuple[Tuple[int, int], ...] = ()
    stacks: bool = False
    where: bool = False

    @property
    def constants(self) -> Dict[str, int]:
        """The filters as constants of the programs."""
        return {
            "MIN_ORDER": self.min_order,
            "FILTER_TASKS": int(self.tasks),
            "FILTER_CGROUP": int(bool(self.cgroup)),
            "FILTER_PFN": int(bool(self.pfns)),
            "WITH_STACKS": int(self.stacks),
            "WITH_WHERE": int(self.where),
        }


def patched(function: Function, maps: Dict[str, int], constants: Dict[str, int]) -> bytes:
    """A program's instructions with the descriptors of the maps, and the constants.

    A map that this recording does not need has no descriptor: a constant makes the code that
    uses it unreachable, and the verifier, which rejects any other use of a 0, removes it.
    """
    code = bytearray(function.code)

    def put(place: int, value: int, kind: int) -> None:
        at = place * _INSN.size
        opcode, registers, offset, _ = _INSN.unpack_from(code, at)
        _INSN.pack_into(code, at, opcode, registers & 0xF | kind, offset, value & 0xFFFFFFFF)
        _INSN.pack_into(code, at + _INSN.size, 0, 0, 0, value >> 32)

    for place, name in function.maps:
        if name in maps:
            put(place, maps[name], _MAP_FD)
        else:
            put(place, 0, 0)
    for place, name in function.constants:
        if name == "PROG_ACTIVE":
            put(place, function.btf_id, _VARIABLE)
        elif name in ENTRIES:
            put(place, maps[ENTRIES[name]], _MAP_VALUE)
        else:
            put(place, constants[name], 0)
        if name == "STEP" and constants["FETCHES"]:
            at = (place + _ADD) * _INSN.size
            opcode, registers, offset, value = _INSN.unpack_from(code, at)
            assert opcode == syscalls.ATOMIC_ADD
            _INSN.pack_into(code, at, opcode, registers, offset, value | syscalls.FETCH)
    return bytes(code)


def _created(map_: Map, entries: int, inner: int = 0) -> int:
    """The descriptor of a map as it was compiled for, of another size."""
    what = (map_.type, map_.key_size, map_.value_size, entries, map_.flags, map_.name)
    return syscalls.create_map(*what, inner)


class Refused(ProbeError):
    """The kernel refuses fentry or fexit at a function where a kprobe may be possible."""


def _refusal(probe: Probe, error: OSError) -> str:
    return (
        f"the kernel refuses {probe.attach} of {probe.function} ({error.strerror}): run as root, "
        "and report it with the kernel's release"
    )


class Program:
    """The loaded programs and their maps.  Raises ProbeError if the kernel refuses one."""

    def __init__(
        self,
        made: Compiled,
        shape: Shape,
        filters: Filters,
        boot: Boot,
        kretprobes: Kretprobes,
    ) -> None:
        self.shape = shape
        self.kretprobes = kretprobes
        self._boot = boot
        self._links: List[int] = []
        self._programs: Dict[int, int] = {}
        self._maps: Dict[str, int] = {}
        self._rings: List[int] = []
        #: The functions whose arguments the verifier does not know as we need them.
        self.untyped: List[str] = []
        # Before 5.11 maps count as locked memory, of which an ordinary session has little.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
        try:
            self._make_maps(made, filters)
            numbering = {"STEP": 1, "FETCHES": int(syscalls.fetches())}
            self._load(made, {**boot.constants, **filters.constants, **numbering})
        except BaseException:
            self.detach()
            raise
        self._counts = self._mapped("cpu_counts", shape.cpus * shape.count_words * 8)
        self._frames = self._mapped("frames", shape.frames * FRAME_BYTES)
        self._control = self._mapped("controls", CONTROL_BYTES)
        self._mapped("sections", SECTIONS * 4)[:] = table(shape.sections)
        self._tasks = self._mapped("tasks", MAX_TASKS)
        self._mm_hints = self._mapped("mm_hints", MM_HINTS)

    def _make_maps(self, made: Compiled, filters: Filters) -> None:
        shape = self.shape
        sizes = {
            "ring": shape.ring_bytes,
            "rings": shape.cpus,
            "cpu_counts": shape.cpus,
            "frames": shape.frames,
            "stacks": STACK_SLOTS if filters.stacks else 0,
            "cgroup": 1 if filters.cgroup else 0,
        }
        # By name: what stands for a ring comes before the map of them.
        for each in sorted(made.maps, key=lambda each: each.name):
            entries = sizes.get(each.name, each.entries)
            if not entries:
                continue
            try:
                if each.name == "ring":
                    for _ in shape.online:
                        self._rings.append(_created(each, entries))
                elif each.name == "rings":
                    self._maps[each.name] = _created(each, entries, self._rings[0])
                else:
                    self._maps[each.name] = _created(each, entries)
            except OSError as error:
                raise ProbeError(
                    f"the kernel refuses the BPF map {each.name} ({error.strerror}): run as root, "
                    "with memory for --buffer"
                ) from None
        for cpu in range(shape.cpus):
            ring = self._rings[shape.ring_of(cpu)]
            syscalls.update(self._maps["rings"], _U32.pack(cpu), _U32.pack(ring))

    def _load(self, made: Compiled, constants: Dict[str, int]) -> None:
        probes = {probe.id: probe for probe in made.plan.probes}
        for function in made.functions:
            probe = probes[function.probe]
            try:
                self._programs[probe.id] = self._load_one(made, probe, function, constants)
            except OSError as error:
                kind = Refused if probe.attach in TRAMPOLINES else ProbeError
                raise kind(_refusal(probe, error)) from None

    def _load_one(
        self, made: Compiled, probe: Probe, function: Function, constants: Dict[str, int]
    ) -> int:
        """Load a program, with fields copied by a helper where the verifier does not let it load
        them through the function's arguments: it knows another type of one.

        Raises OSError.
        """
        type_, attach = _TYPES[probe.attach]
        named = probe.instead if probe.instead >= 0 else probe.id
        constants = {**constants, "PROBE": named, "ENTRY": probe.entry}
        at = function.btf_id if probe.attach in (FENTRY, FEXIT) else 0
        name, place = f"probe_{probe.id}", (attach, at)
        typed = (1, 0) if any(each == "TYPED" for _, each in function.constants) else (0,)
        for each in typed:
            code = patched(function, self._maps, {**constants, "TYPED": each})
            try:
                return syscalls.load_program(type_, code, made.licence, name, place)
            except OSError:
                if not each:
                    raise
                self.untyped.append(probe.function)
        raise AssertionError("the last try returns or raises")

    def _mapped(self, name: str, size: int) -> mmap.mmap:
        rounded = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self._maps[name], rounded)

    @property
    def watch_set(self) -> WatchSet:
        """The watch set of the recording."""
        frames = memoryview(self._frames)[: self.shape.frames * FRAME_BYTES]
        return WatchSet(frames, self.shape.sections)

    @property
    def counts(self) -> memoryview:
        """u64 counters: per CPU its sequence number, then what was lost per probe."""
        return memoryview(self._counts).cast("Q")

    @property
    def rings(self) -> Tuple[int, ...]:
        """The descriptors of the rings, in the order of the CPUs that are online."""
        return tuple(self._rings)

    def open(self) -> None:
        """Begin to watch wanted folios."""
        self._control[0] = 1

    def close(self) -> None:
        """Stop watching.  Detaching takes seconds, during which the rings are not drained."""
        self._control[0] = 0
        self._frames[:] = bytes(len(self._frames))

    def tell_brackets(self) -> None:
        """Record all brackets from now on, also those without a watched page in them."""
        self._control[8] = 1

    def outside(self) -> int:
        """How many wanted folios were in memory that came online after recording began."""
        return int.from_bytes(self._control[16:24], "little")

    def made_up(self, second: Probe) -> int:
        """For how many events a second program made the record because the first was skipped."""
        at = MADE_UP_AT + 8 * int(second.values[0].what)
        return int.from_bytes(self._control[at : at + 8], "little")

    def marks(self) -> int:
        """How many marks workloads have set so far."""
        return int.from_bytes(self._control[24:32], "little")

    def mark(self, number: int) -> Tuple[int, str]:
        """(tid, name) of a mark that marks() counted; the last MARK_SLOTS are kept."""
        # The program fills the slot, takes and releases locks to signal and to record, and counts.
        fence()
        slot = number % MARK_SLOTS
        tid_at = 32 + 4 * slot
        name_at = 32 + 4 * MARK_SLOTS + events.TEXT_SIZE * slot
        name = self._control[name_at : name_at + events.TEXT_SIZE].split(b"\0")[0]
        tid = int.from_bytes(self._control[tid_at : tid_at + 4], "little")
        return tid, name.split(b"\n")[0].decode(errors="replace")

    def follow_task(self, pid: int) -> None:
        """Watch the folios of a process, and of its future children."""
        self._tasks[pid] = 1

    def followed(self) -> List[int]:
        """The processes whose folios are watched, their children included."""
        tasks = self._tasks[:]  # bytes, in which to find is faster
        found, at = [], tasks.find(1)
        while at >= 0:
            found.append(at)
            at = tasks.find(1, at + 1)
        return found

    def follow_mm(self, address: int) -> None:
        """Watch the folios of an address space (a struct mm_struct), also for other tasks."""
        # In this order: see bpf/watch.h.
        self._mm_hints[(address >> MM_HINT_SHIFT) % MM_HINTS] = 1
        syscalls.update(self._maps["mms"], _U64.pack(address), b"\1")

    def follow_cgroup(self, fd: int) -> None:
        """Watch the folios of the tasks in a cgroup (a directory's descriptor)."""
        syscalls.update(self._maps["cgroup"], _U32.pack(0), _U32.pack(fd))

    def stack(self, id_: int) -> List[int]:
        """The kernel addresses of one recorded stack, innermost first."""
        depth = 127  # PERF_MAX_STACK_DEPTH
        found = syscalls.lookup(self._maps["stacks"], _U32.pack(id_), depth * 8) or b""
        addresses = list(memoryview(found).cast("Q"))
        return addresses[: addresses.index(0)] if 0 in addresses else addresses

    def stack_ids(self) -> List[int]:
        """The stacks recorded so far."""
        return [_U32.unpack(key)[0] for key in self._keys("stacks")]

    def _keys(self, name: str) -> Iterator[bytes]:
        key = syscalls.next_key(self._maps[name], None, _U32.size)
        while key is not None:
            yield key
            key = syscalls.next_key(self._maps[name], key, _U32.size)

    def attach(self, probe: Probe) -> Optional[str]:
        """Attach one probe.  Returns None, or why it cannot be attached.

        Raises Refused if a kprobe may be possible instead.
        """
        program = self._programs[probe.id]
        if probe.code and not self._boot.has_site(probe):
            return "its inlined counter update is not where it was when this was compiled"
        try:
            if probe.attach == KPROBE:
                link = syscalls.attach_kprobe(program, probe.function, probe.offset)
            elif probe.attach == KRETPROBE:
                link = self.kretprobes.attach(program, probe.id, probe.function)
            elif probe.attach == TRACEPOINT:
                number = tracefs.number(EVENTS[probe.function][0])
                link = syscalls.attach_tracepoint(program, number)
            elif probe.attach == KRETPROBE_MULTI:
                link = syscalls.attach_return(program, probe.function)
            elif probe.attach == RAW_TRACEPOINT:
                link = syscalls.attach_tracing(program, probe.function)
            else:
                link = syscalls.attach_tracing(program)
        except OSError as error:
            if probe.attach in TRAMPOLINES:
                raise Refused(_refusal(probe, error)) from None
            return f"the kernel refused it ({error.strerror})"
        self._links.append(link)
        return None

    def program_fds(self, plan: Plan) -> Dict[int, int]:
        """Probe id -> file descriptor of its loaded BPF program; second programs are left out."""
        return {probe.id: self._programs[probe.id] for probe in plan.probes if probe.instead < 0}

    def detach(self) -> None:
        """Detach every probe and unload; the mapped rings stay readable, the stacks do not."""
        every = (*self._links, *self._programs.values(), *self._maps.values(), *self._rings)
        for fd in every:
            os.close(fd)
        self._links, self._programs, self._maps, self._rings = [], {}, {}, []
        self.kretprobes.remove()
