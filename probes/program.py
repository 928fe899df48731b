# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles the BPF program with BCC and attaches it: the only module that imports bcc."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import signal
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

from probes import events
from probes.errors import ProbeError
from probes.hooks import MARK_OPS
from probes.kernel import Symbols
from probes.layout import Layout
from probes.plan import (
    ARGUMENTS,
    FENTRY,
    FEXIT,
    KPROBE,
    KRETPROBE,
    RAW_TRACEPOINT,
    Plan,
    Probe,
)

SOURCES = ("record.h", "folio.h", "watch.h", "handlers.h")
FRAME_PAGES = 512
#: struct frame: one state byte per page, the time of the last free, a mark.
FRAME_BYTES = FRAME_PAGES + 16
MARK_SLOTS = 16
#: Records of one CPU that may wait beside the ring (struct spill of bpf/record.h).
SPILL_SLOTS = 256
SPILL_BYTES = 24 + SPILL_SLOTS * events.RECORD_SIZE
CONTROL_BYTES = 16 + MARK_SLOTS * (4 + events.TEXT_SIZE)
MARK_PREFIX = b"mapcount: "
STACK_SLOTS = 16384
MIGRATE_MOVABLE = 1


@dataclass(frozen=True)
class Filters:
    """Which folios get watched.  An empty filter lets everything pass."""

    min_order: int = 2
    tasks: bool = False
    cgroup: Optional[str] = None
    pfns: Tuple[Tuple[int, int], ...] = ()
    stacks: bool = False


@dataclass(frozen=True)
class Shape:
    """Sizes of the maps shared with the kernel."""

    cpus: int
    frames: int
    ring_bytes: int
    probes: int

    @property
    def count_words(self) -> int:
        """u64 words of one CPU's counts: its sequence number, then the lost ones by probe;
        the last is for records with text (marks and tasks)."""
        return 1 + self.probes + 1


def source(plan: Plan, layout: Layout, filters: Filters, shape: Shape, symbols: Symbols) -> str:
    """The BPF program's C text: constants of this kernel, the fixed part, one stub per probe."""
    address = symbols.address.get
    constants: Dict[str, Optional[int]] = {
        "TEXT_SIZE": events.TEXT_SIZE,
        "NR_PROBES": shape.probes + 1,
        "LOST_TEXT": shape.probes,
        "MAX_CPUS": shape.cpus,
        "NR_FRAMES": shape.frames,
        "SPILL_SLOTS": SPILL_SLOTS,
        **_reads(layout),
        "RING_PAGES": shape.ring_bytes // mmap.PAGESIZE,
        "STRUCT_PAGE": layout.struct_page,
        "VMEMMAP": layout.vmemmap,
        "TAIL_HOLDS_MASK": int(layout.tail_holds_mask),
        "OFF_FLAGS": layout.fields["flags"],
        "OFF_COMPOUND_HEAD": layout.fields["compound_head"],
        "OFF_MAPPING": layout.fields["mapping"],
        "OFF_MAPCOUNT": layout.fields["mapcount"],
        "OFF_REFCOUNT": layout.fields["refcount"],
        "OFF_ENTIRE": layout.fields["entire"],
        "OFF_NR_MAPPED": layout.fields["nr_mapped"],
        "OFF_LARGE": layout.fields["large"],
        "OFF_ORDER": layout.fields["order"],
        "OFF_DTOR": layout.fields["dtor"],
        "OFF_VM_MM": layout.task["vm_mm"],
        "OFF_MM_OWNER": layout.task["owner"],
        "OFF_TASK_MM": layout.task["mm"],
        "OFF_TASK_PID": layout.task["pid"],
        "OFF_TASK_TGID": layout.task["tgid"],
        "OFF_TASK_COMM": layout.task["comm"],
        "PG_HEAD": layout.bits["head"],
        "PG_DOUBLE_MAP": layout.bits["double_map"],
        "HUGETLB_DTOR": layout.bits["hugetlb_dtor"],
        "HUGETLB_PAGE_TYPE": layout.bits["hugetlb_type"],
        "HUGE_ZERO": address("huge_zero_folio", address("huge_zero_page")),
        "OFF_FILE_F_OP": layout.task["f_op"],
        "TRACE_MARKER_OPS": address(MARK_OPS, 0),
        "MIN_ORDER": filters.min_order,
        "FILTER_TASKS": 1 if filters.tasks else None,
        "FILTER_CGROUP": 1 if filters.cgroup else None,
        "FILTER_PFN": 1 if filters.pfns else None,
        "WITH_STACKS": 1 if filters.stacks else None,
        "WITH_TRAMPOLINES": 1 if any(p.attach in (FENTRY, FEXIT) for p in plan.probes) else None,
        "STACK_SLOTS": STACK_SLOTS,
        "NO_STACK": events.NO_STACK,
        "MIGRATE_MOVABLE": MIGRATE_MOVABLE,
        "MARK_SLOTS": MARK_SLOTS,
        "MARK_PREFIX_SIZE": len(MARK_PREFIX),
        "MARK_PREFIX": int.from_bytes(MARK_PREFIX[:8], "little"),
        "SIGSTOP": int(signal.SIGSTOP),
        "SELF": os.getpid(),
        "LEVEL_SHIFT": events.LEVEL_SHIFT,
        **{k: v for k, v in vars(events).items() if k.startswith("BIT_")},
        "MARK_NAMED": events.MARK_NAMED,
        "TASK_NEW": events.TASK_NEW,
        "TASK_RENAME": events.TASK_RENAME,
        "TASK_EXIT": events.TASK_EXIT,
    }
    lines = ["#include <uapi/linux/ptrace.h>"]
    for name, value in constants.items():
        if value is not None:
            suffix = "ULL" if value > 0x7FFFFFFF else ""
            lines.append(f"#define {name} ({value}{suffix})")
    folder = os.path.join(os.path.dirname(__file__), "bpf")
    for name in SOURCES:
        with open(os.path.join(folder, name)) as file:
            lines.append(file.read())
    for probe in plan.probes:
        lines.append(f"/* {probe.function} ({probe.op}, {probe.phase}) */")
        lines.append(_stub_source(probe))
    return "\n".join(lines) + "\n"


def _reads(layout: Layout) -> Dict[str, Optional[int]]:
    """How many bytes of a struct page have the fields of interest: whole words from 0 on."""
    field = layout.fields.get

    def words(*offsets: Optional[int]) -> int:
        return max(offset // 8 + 1 for offset in offsets if offset is not None) * 8

    second_flags = None
    if layout.bits["double_map"] is not None:
        second_flags = layout.struct_page + words(field("flags")) - 8
    page = words(*map(field, ("flags", "compound_head", "mapping", "mapcount", "refcount")))
    folio = words(second_flags, *map(field, ("entire", "nr_mapped", "large", "order", "dtor")))
    return {
        "LINK_BYTES": words(field("flags"), field("compound_head")),
        "PAGE_BYTES": page,
        "FOLIO_BYTES": folio,
    }


#: The head of a stub, how it gets at argument {n}, and at the result.  What fentry and fexit
#: attach to is in the stub's name, which BCC's macros make: not every BCC makes the same.
_HEADS = {
    KPROBE: ("int {stub}(struct pt_regs *ctx)", "a{n} = ctx->{register}", ""),
    KRETPROBE: ("int {stub}(struct pt_regs *ctx)", "", "result = ctx->ax"),
    FENTRY: ("KFUNC_PROBE({function})", "a{n} = argument(ctx, {n})", ""),
    FEXIT: ("KRETFUNC_PROBE({function})", "", "result = returned(ctx)"),
    RAW_TRACEPOINT: ("int {stub}(struct bpf_raw_tracepoint_args *ctx)", "", ""),
}


def _stub_source(probe: Probe) -> str:
    """The C function that is attached: it names the values that the probe's call uses."""
    head, argument, result = _HEADS[probe.attach]
    values = [
        argument.format(n=n, register=register)
        for n, register in enumerate(ARGUMENTS)
        if re.search(rf"\ba{n}\b", probe.call)
    ]
    if re.search(r"\bresult\b", probe.call):
        values.append(result)
    declared = f"u64 {', '.join(values)}; " if values else ""
    head = head.format(stub=_stub(probe), function=probe.function)
    return f"{head} {{ {declared}return {probe.call}; }}"


def _stub(probe: Probe) -> str:
    return f"probe_{probe.id}"


def _compile(text: str) -> Any:
    """A bcc.BPF.  Raises ProbeError where there is no bcc or it cannot compile the text."""
    try:
        from bcc import BPF
    except ImportError:
        raise ProbeError(
            "python3-bpfcc is missing: apt install python3-bpfcc, and use the system's python3"
        ) from None
    try:
        # Old headers redefine what a newer clang defines; that says nothing of the probes.
        return BPF(text=text.encode(), cflags=["-Wno-macro-redefined"])
    except Exception as error:  # bcc raises plain Exception
        raise ProbeError(
            f"BCC cannot compile the probes ({error}): are the headers of the running "
            "kernel installed (apt install linux-headers-$(uname -r))?"
        ) from None


@contextlib.contextmanager
def loaded(text: str) -> Iterator[int]:
    """The descriptor of a program of the one function ``types``, attached nowhere."""
    bpf = _compile(text)
    try:
        try:
            program = bpf.load_func(b"types", type(bpf).KPROBE)
        except Exception as error:  # bcc raises plain Exception
            raise ProbeError(f"the kernel refuses BPF programs ({error}): run as root") from None
        yield program.fd
    finally:
        bpf.cleanup()


class Program:
    """The loaded program and its maps."""

    def __init__(self, text: str, shape: Shape) -> None:
        self.shape = shape
        self._bpf = _compile(text)
        self.ring_fd: int = self._bpf["ring"].map_fd
        self._counts = self._map("cpu_counts", shape.cpus * shape.count_words * 8)
        self._spills = self._map("spills", shape.cpus * SPILL_BYTES)
        self._frames = self._map("frames", shape.frames * FRAME_BYTES)
        self._control = self._map("controls", CONTROL_BYTES)

    def _map(self, name: str, size: int) -> mmap.mmap:
        rounded = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self._bpf[name].map_fd, rounded)

    @property
    def frames(self) -> memoryview:
        """The watch set: FRAME_BYTES per 2 MiB frame (struct frame of bpf/watch.h)."""
        return memoryview(self._frames)[: self.shape.frames * FRAME_BYTES]

    @property
    def counts(self) -> memoryview:
        """u64 counters: per CPU its sequence number, then what was lost per probe."""
        return memoryview(self._counts).cast("Q")

    @property
    def spills(self) -> memoryview:
        """What the ring refused: SPILL_BYTES per CPU (struct spill of bpf/record.h)."""
        return memoryview(self._spills)[: self.shape.cpus * SPILL_BYTES]

    def open(self) -> None:
        """From now on wanted folios are watched."""
        self._control[0] = 1

    def close(self) -> None:
        """From now on nothing is watched.  Detaching takes seconds, in which nobody drains."""
        self._control[0] = 0
        self._frames[:] = bytes(len(self._frames))

    def marks(self) -> int:
        """How many marks workloads have named so far."""
        return int.from_bytes(self._control[8:16], "little")

    def mark(self, number: int) -> Tuple[int, str]:
        """(tid, name) of a mark; the last MARK_SLOTS are kept."""
        slot = number % MARK_SLOTS
        tid_at = 16 + 4 * slot
        name_at = 16 + 4 * MARK_SLOTS + events.TEXT_SIZE * slot
        name = self._control[name_at : name_at + events.TEXT_SIZE].split(b"\0")[0]
        tid = int.from_bytes(self._control[tid_at : tid_at + 4], "little")
        return tid, name.split(b"\n")[0].decode(errors="replace")

    def follow_task(self, pid: int) -> None:
        """Watch the folios of a process, and of the children it will have."""
        table = self._bpf["tasks"]
        table[table.Key(pid)] = table.Leaf(1)

    def followed(self) -> List[int]:
        """The processes whose folios are watched, children that were born meanwhile included."""
        return [key.value for key in self._bpf["tasks"]]

    def follow_cgroup(self, fd: int) -> None:
        """Watch the folios of the tasks in a cgroup (a directory's descriptor)."""
        table = self._bpf["cgroup"]
        table[table.Key(0)] = table.Leaf(fd)

    def stack(self, id_: int) -> List[int]:
        """The kernel addresses of one recorded stack, innermost first."""
        return list(self._bpf["stacks"].walk(id_))

    def stack_ids(self) -> List[int]:
        """The stacks recorded so far."""
        return [key.value for key in self._bpf["stacks"]]

    def attach(self, probe: Probe) -> Optional[str]:
        """Attach one probe.  Returns None, or why the kernel refused it."""
        name = _stub(probe).encode()
        event = probe.function.encode()
        try:
            if probe.attach == KPROBE:
                self._bpf.attach_kprobe(event=event, event_off=probe.offset, fn_name=name)
            elif probe.attach == KRETPROBE:
                self._bpf.attach_kretprobe(event=event, fn_name=name)
            elif probe.attach not in (FENTRY, FEXIT):  # BCC has attached those itself
                self._bpf.attach_raw_tracepoint(tp=event, fn_name=name)
        except Exception as error:  # bcc raises plain Exception
            return str(error).split(",")[0] or "the kernel refused it"
        return None

    def program_fds(self, plan: Plan) -> Dict[int, int]:
        """Probe id -> file descriptor of its loaded BPF program."""
        fds = {}
        for probe in plan.probes:
            prefix = {FENTRY: "kfunc__", FEXIT: "kretfunc__"}.get(probe.attach)
            names = [_stub(probe)]
            if prefix:
                names = [prefix + probe.function, f"{prefix}vmlinux__{probe.function}"]
            for name in names:
                if name.encode() in self._bpf.funcs:
                    fds[probe.id] = self._bpf.funcs[name.encode()].fd
        return fds

    def detach(self) -> None:
        """Detach every probe and unload; what is mapped stays readable, the stacks do not."""
        self._bpf.cleanup()
