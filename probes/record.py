# SPDX-License-Identifier: GPL-2.0-or-later
"""One recording: attach, drain, take snapshots at marks, detach, write the trailer."""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import platform
import signal
import sys
import time
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any, Callable, Dict, List, Optional, Protocol, Set, Tuple

import probes
from probes import cli, priority
from probes.boot import Boot
from probes.clocks import printk_clock
from probes.drain import Drain
from probes.errors import ProbeError
from probes.groups import GROUPS, Groups, left_out, only_programs
from probes.guardian import Guardian
from probes.hold import Freezer, Hold, members
from probes.hooks import COPIES
from probes.kept import GIVEN, Found, find_or_make, make_and_keep
from probes.kernel import Symbols, build_id, check_kprobes, online_cpus, possible_cpus
from probes.kretprobes import ROOM, Kretprobes
from probes.loader import Filters, Program, Refused
from probes.losses import Misses, Outside, Returns, RingLosses
from probes.maps import FRAME_PAGES, MARK_SLOTS, Shape
from probes.memory import kernel_memory
from probes.output import Output, reason
from probes.plan import Missing, Plan
from probes.rights import unreadable
from probes.ring import Rings, size_of_each
from probes.say import say
from probes.snapshot import Snapshots, unpublished
from probes.spaces import TaskList
from probes.tasks import Command, descendants, process_of, running_tasks, state
from probes.tracefile import BlockType, Payload, Writer
from probes.watchset import memory_ranges, sections_of

#: Seconds between looks for marks, and for what ends the recording.
POLL_SECONDS = 0.005
LOSS_SECONDS = 0.1
LIVES_SECONDS = 0.1
MISSES_SECONDS = 1.0
STACKS_SECONDS = 2.0


@dataclass(frozen=True)
class Request:
    """The options of a recording; ``buffer``: bytes of all rings together, None: the default."""

    seconds: Optional[float] = None
    pids: Tuple[int, ...] = ()
    cgroup: Optional[str] = None
    pfns: Tuple[Tuple[int, int], ...] = ()
    min_order: int = 2
    stacks: bool = False
    where: bool = False
    buffer: Optional[int] = None
    nice: bool = False
    only: Groups = ()
    pins: bool = False
    compiled: Optional[str] = None
    cache: bool = True
    command: Tuple[str, ...] = ()

    @property
    def filters(self) -> Filters:
        """The filters for the BPF program."""
        tasks = bool(self.pids or self.command) and not self.pfns and not self.cgroup
        return Filters(self.min_order, tasks, self.cgroup, self.pfns, self.stacks, self.where)


class Sink(Protocol):
    """A receiver of a recording's blocks: a trace file's Writer, or ``top``'s counters."""

    def block(
        self,
        type_: BlockType,
        payload: Payload,
        count: int = 0,
        compress: bool = False,
        *,
        ring: int = 0,
    ) -> None: ...

    def json(
        self, type_: BlockType, value: Any, count: int = 1, compress: bool = False
    ) -> None: ...

    def beat(self) -> None: ...


class Recording:
    """One recording, with everything that it holds open."""

    def __init__(self, request: Request, writer: Sink) -> None:
        self.request = request
        self.writer = writer
        self.end = ""
        self._signal = 0
        self._next_look = 0.0
        self._marks_seen = 0
        self._written_stacks: Set[int] = set()
        self._freezer = Freezer.of(request.cgroup) if request.cgroup else None
        self._symbols: Optional[Symbols] = None

    # -- set-up ----------------------------------------------------------------------

    def prepare(self) -> None:
        """Find or compile the programs, load and attach them, write the header.

        Raises ProbeError.
        """
        # Forked first: it must not inherit the compiler's memory.
        self.guardian = Guardian()
        check_kprobes()
        self.kcore = kernel_memory()
        self._start(find_or_make(self.request.compiled, self.request.cache, self.kcore))
        self.rings = Rings(self.program.rings, self.shape.ring_bytes)
        self.drain = Drain(self.rings, self._write_events)
        self.losses = RingLosses(self.program.counts, self.shape)
        self.watch_set = self.program.watch_set
        self.snapshots = Snapshots(self.kcore, self.layout, self.watch_set, self.listed)
        programs = self.program.program_fds(self.plan)
        made_up = {
            probe.instead: functools.partial(self.program.made_up, probe)
            for probe in self.plan.probes
            if probe.instead in programs
        }
        self.misses = Misses(programs, made_up)
        self.returns = Returns(self.program.kretprobes.missed)
        allocs = [probe.id for probe in self.plan.probes if probe.handler == "on_alloc"]
        self.outside = Outside(self.program.outside, allocs[0] if allocs else -1)
        self._set_filters()
        self.writer.json(BlockType.HEADER, self._header())
        tasks = running_tasks()
        self.writer.json(BlockType.TASKS, tasks, len(tasks), compress=True)
        if self.request.where and self.listed:
            self._write_spaces(self.listed)
        for missing in self.plan.missing:
            if missing not in self._left_out:
                say(f"warning: {missing}")
        for group in left_out(self.request.only):
            say(f"note: probes of group {group} are not attached; not seen: {GROUPS[group]}")

    def _start(self, found: Found) -> None:
        """Load and attach, without fentry and fexit where the kernel refuses them."""
        try:
            self._load(found)
        except Refused as refused:
            if found.way == GIVEN:
                raise
            say(f"warning: {refused}")
            say("warning: the kernel refuses fentry: compiling again with kprobes, which cost more")
            self._load(make_and_keep(self.request.cache, self.kcore, trampolines=False))

    def _load(self, found: Found) -> None:
        """Load and attach the programs, with what this boot and this recording put into them."""
        self.made = found.made
        request = self.request
        made = only_programs(found.made, request.only, where=request.where, pins=request.pins)
        self._left_out = [gap for gap in made.plan.missing if "--only" in gap.reason]
        self.way = found.way
        self.boot = Boot(made, self.kcore)
        self.layout = self.boot.layout
        # A copy: what cannot be attached moves to what is missing.
        self.plan = Plan(list(made.plan.probes), list(made.plan.missing))
        say(f"attaching {len(self.plan.probes)} probes" + (f", {found}" if found.path else ""))
        sections = sections_of(memory_ranges())
        ids = len(self.made.plan.probes)
        online = online_cpus()
        size = size_of_each(len(online), self.request.buffer)
        self.shape = Shape(possible_cpus(), online, sections, size, ids)
        self.plan.missing += self.boot.missing(self.plan) + unpublished()
        self.plan.missing += unreadable(self.kcore, self.layout)
        task = self.boot.task
        self.listed = TaskList(self.kcore, self.layout.task, task) if task else None
        kretprobes = Kretprobes(self.guardian.makes)
        self.program = Program(made, self.shape, self.request.filters, self.boot, kretprobes)
        try:
            self._attach()
        except Refused:
            self.program.detach()
            raise

    def _set_filters(self) -> None:
        self._follow(descendants(self.request.pids))
        for first, last in self.request.pfns:
            self.watch_set.pin(first, last)
        if self.request.cgroup:
            try:
                self._cgroup_fd = os.open(self.request.cgroup, os.O_RDONLY)
            except OSError as error:
                raise ProbeError(
                    f"cannot open cgroup {self.request.cgroup}: {error.strerror}; give its "
                    "directory below /sys/fs/cgroup"
                ) from None
            self.program.follow_cgroup(self._cgroup_fd)

    def _follow(self, pids: List[int]) -> None:
        """Follow processes that are there already, and the memory that they have."""
        for pid in pids:
            self.program.follow_task(pid)
        try:
            mms = self.listed.mms() if pids and self.listed else {}
        except OSError as error:
            mms = {}
            say(
                f"warning: the kernel's list of tasks cannot be read ({error}): what others, like "
                "khugepaged, do to the memory of the traced processes is not seen"
            )
        for pid in pids:
            if mms.get(pid):
                self.program.follow_mm(mms[pid])

    def _write_spaces(self, listed: TaskList) -> None:
        """Which address space each process has; those that come later are named by records."""
        try:
            spaces = sorted((pid, mm) for pid, mm in listed.mms().items() if mm)
        except OSError as error:
            say(
                f"warning: the kernel's list of tasks cannot be read ({error}): processes that "
                "run already are not named where they map pages"
            )
        else:
            self.writer.json(BlockType.SPACES, spaces, len(spaces))

    def _attach(self) -> None:
        """Attach the plan; what the kernel refuses moves to the missing ones."""
        attached = []
        for probe in self.plan.probes:
            where = f"{probe.function}+{probe.offset:#x}" if probe.offset else probe.function
            refused = self.program.attach(probe)
            if refused is None:
                attached.append(probe)
                cli.detail(f"attached {probe.attach} {where}: {probe.op} {probe.phase}")
            else:
                lost = f"its {probe.op} records"
                self.plan.missing.append(Missing(probe.op, (where,), refused, lost))
        for op in ("map", "unmap") if "rmap" not in left_out(self.request.only) else ():
            if not any(probe.op == op for probe in attached):
                why = next((str(gap) for gap in self.plan.missing if gap.op == op), "none planned")
                raise ProbeError(
                    f"no probe of an operation {op} is attached ({why}): see mapcount doctor"
                )
        self.plan.probes = attached
        if not self.plan.sees("dup", COPIES):
            self.program.tell_brackets()

    def _header(self) -> Dict[str, Any]:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot_id = file.read().strip()
        request, uname = self.request, platform.uname()
        return {
            "tool": f"mapcount {probes.__version__}",
            "kernel": {
                "release": uname.release,
                "version": uname.version,
                "machine": uname.machine,
                "build_id": build_id(),
            },
            "boot_id": boot_id,
            "command": list(request.command),
            "nr_cpus": self.shape.cpus,
            "page_size": mmap.PAGESIZE,
            "pmd_order": (FRAME_PAGES - 1).bit_length(),
            "clock": {
                "monotonic_ns": time.monotonic_ns(),
                "realtime_ns": time.time_ns(),
                "printk": self._told("the clock of the kernel's messages", printk_clock),
            },
            "programs": {
                "from": self.way,
                "release": self.made.release,
                "bcc": self.made.bcc,
                "untyped": self.program.untyped,
            },
            "layout": self.layout.as_json(),
            "counters": self.layout.counters,
            # Those that records name: a second program makes the records of the first.
            "plan": [probe.as_json() for probe in self.plan.probes if probe.instead < 0],
            "missing": [missing.as_json() for missing in self.plan.missing],
            "filters": {
                "pids": list(request.pids),
                "cgroup": request.cgroup,
                "pfn": [list(span) for span in request.pfns] or None,
                "min_order": request.min_order,
                "stacks": request.stacks,
                "where": request.where,
                "only": list(request.only) or None,
                "pins": request.pins,
            },
            "ring_bytes": self.shape.all_ring_bytes,
            "rings": self._told("where the rings lie in memory", self.rings.where),
        }

    def _told(self, what: str, ask: Callable[[], Dict[str, Any]]) -> Optional[Dict[str, Any]]:
        """What only a recovery after the kernel's death needs: nothing fails without it."""
        try:
            return ask()
        except OSError as error:
            say(f"note: cannot determine {what} ({error}): `mapcount recover` will lack it")
            return None

    # -- the loop --------------------------------------------------------------------

    def run(self, command: Optional[Command]) -> None:
        """Drain until the command ends, the time is over or a signal arrives."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if command:
            self.program.follow_task(command.pid)
        self._prioritize()
        with self.drain:
            self.program.open()
            self._snapshot("start", command)
            say("recording" + ("" if command or self.request.seconds else ", Ctrl-C ends it"))
            if command:
                command.start()
            self._loop(command)
            self._snapshot("end", command)

    def _prioritize(self) -> None:
        """Before the drain's thread begins, which gets the same priority.  This thread needs it,
        too: the other one waits while this one runs Python code, or would run it."""
        refused = None if self.request.nice else priority.ask()
        if refused:
            say(
                f"note: the kernel refuses a real-time priority ({refused}): where CPUs are busy, "
                "events may be lost; --nice records without asking"
            )

    def _loop(self, command: Optional[Command]) -> None:
        """Look after everything but the rings."""
        deadline = time.monotonic() + (self.request.seconds or float("inf"))
        next_loss = next_misses = next_stacks = 0.0
        while not self.end:
            time.sleep(POLL_SECONDS)
            self.drain.check()
            self._look_for_marks(command)
            now = time.monotonic()
            if now >= next_loss:
                self._write_loss(self.losses.poll())
                next_loss = now + LOSS_SECONDS
            if now >= next_misses:
                self._write_misses()
                self.writer.beat()
                next_misses = now + MISSES_SECONDS
            if self.request.stacks and now >= next_stacks:
                self._write_stacks()
                next_stacks = now + STACKS_SECONDS
            self._look_for_end(command, now, deadline)

    def _look_for_end(self, command: Optional[Command], now: float, deadline: float) -> None:
        status = command.status() if command else None
        if self._signal:
            self.end = signal.Signals(self._signal).name
        elif status is not None:
            self.end = f"command ended with status {status}"
        elif now >= deadline:
            self.end = "time limit"
        elif self.request.pids and now >= self._next_look:
            # Not each time: it reads a file of /proc for each of them.
            self._next_look = now + LIVES_SECONDS
            if not any(map(state, self.request.pids)):
                self.end = "the traced processes ended"

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._signal = number

    def _write_events(self, ring: int, slots: memoryview, count: int) -> None:
        self.writer.block(BlockType.EVENTS, slots, count, ring=ring)

    def _write_loss(self, loss: Optional[Dict[str, Any]]) -> None:
        if loss:
            self.writer.json(BlockType.LOSS, loss, len(loss["lost"]))

    def _write_misses(self) -> None:
        self._write_loss(self.misses.poll())
        self._write_loss(self.returns.poll())
        self._write_loss(self.outside.poll())

    def _write_stacks(self) -> None:
        new = [i for i in self.program.stack_ids() if i not in self._written_stacks]
        if not new:
            return
        self._written_stacks.update(new)
        # Only for this all symbols are needed; to read them takes its time.
        self._symbols = self._symbols or Symbols()
        stacks = {
            str(i): [(self._symbols.locate(at), f"{at:#x}") for at in self._frames(i)] for i in new
        }
        self.writer.json(BlockType.STACKS, stacks, len(stacks), compress=True)

    def _frames(self, stack: int) -> List[int]:
        """The frames from the probed function on: fentry's begin in the probe and its trampoline,
        which are no part of the kernel's text."""
        first = self.boot.start
        end = self.boot.address.get("_etext", 1 << 64)
        return list(dropwhile(lambda at: not first <= at < end, self.program.stack(stack)))

    # -- marks and snapshots ---------------------------------------------------------

    def _traced(self, command: Optional[Command]) -> Set[int]:
        """The processes whose page tables are walked."""
        roots = {*self.request.pids, *([command.pid] if command else [])}
        # Whose parent has ended is no descendant any more, but the program follows it.
        found = set(descendants(roots.union(self.program.followed()) if roots else ()))
        return found.union(members(self.request.cgroup) if self.request.cgroup else ())

    def _hold(self, command: Optional[Command]) -> Hold:
        return Hold(
            tasks=lambda: self._traced(command),
            marked=lambda: {process_of(tid) for tid, _ in self._new_marks()} - {0},
            guardian=self.guardian,
            freezer=self._freezer,
        )

    def _new_marks(self) -> List[Tuple[int, str]]:
        """(tid, name) of the marks that were not served yet, as far as they are kept."""
        count = self.program.marks()
        first = max(self._marks_seen, count - MARK_SLOTS)
        return [self.program.mark(number) for number in range(first, count)]

    def _look_for_marks(self, command: Optional[Command]) -> None:
        """Serve the tasks that named a mark: a snapshot for each while nobody runs."""
        if self.program.marks() == self._marks_seen:
            return
        with self._hold(command) as hold:
            count, marks = self.program.marks(), self._new_marks()
            told = [self._snapshot_of_mark(hold, tid, name) for tid, name in marks]
            late = count - self._marks_seen - len(marks)
        self._marks_seen = count
        for warning in filter(None, told):
            say(warning)
        if late:
            say(
                f"warning: {late} marks followed too closely for a snapshot of each: "
                "let the workload pause between marks"
            )

    def _snapshot_of_mark(self, hold: Hold, tid: int, name: str) -> str:
        """Take it, or say why not: nothing may be printed while its reader may be held."""
        if process_of(tid) not in hold.at_rest:
            return f"warning: mark {name}: task {tid} did not stop, no snapshot"
        self._take(hold, name)
        return ""

    def _snapshot(self, name: str, command: Optional[Command]) -> None:
        with self._hold(command) as hold:
            self._take(hold, name)

    def _take(self, hold: Hold, name: str) -> None:
        """Everything up to the snapshot goes into the file before it, and what was lost: a
        recorder that dies after it leaves no snapshot that a loss explains unseen."""
        self.drain.now()
        payload = self.snapshots.take(name, hold.processes, hold.torn)
        self._write_loss(self.losses.poll())
        self._write_misses()
        self.writer.block(BlockType.TRUTH, payload, compress=True)

    # -- the end ---------------------------------------------------------------------

    @property
    def missed(self) -> int:
        """How often the kernel did not run a program."""
        return self.misses.total + self.returns.total

    def told(self) -> str:
        """The final message: how much was recorded, what was not, and why it ended."""
        missed = f", {self.missed} missed" if self.missed else ""
        return f"{self.drain.events} events, {self.losses.total} lost{missed}; {self.end}"

    def incomplete(self) -> List[str]:
        """Warnings about what was not recorded, by kind, and what to do about it."""
        told = []
        if self.losses.total:
            told.append(
                f"{self.losses.total} events were lost: counts after a loss may differ; "
                f"{cli.fewer_losses(self.shape.all_ring_bytes)}"
            )
        if self.misses.total:
            told.append(cli.skipped(self.misses.total))
        if self.returns.total:
            told.append(
                f"{self.returns.total} returns were missed, as more than {ROOM} tasks were in one "
                "function: later counts may differ; record fewer tasks at a time"
            )
        if self.outside.total:
            told.append(
                f"{self.outside.total} folios lay in memory that came online after recording "
                "began, and were not watched: record again"
            )
        return told

    def finish(self) -> None:
        """Detach, write the remaining records and the trailer."""
        if self.request.stacks:
            self._write_stacks()
        self.program.close()
        self._write_misses()
        for probe, events in self.misses.made_up().items():
            cli.detail(f"probe {probe}: its second program was there for {events} skipped events")
        self.program.detach()
        while self.drain.now():
            pass
        self._write_loss(self.losses.poll())
        self.write_trailer(self.end)
        self.guardian.end()

    def write_trailer(self, end: str) -> None:
        """Write the last block; ``end``: why the recording ended."""
        trailer = {
            "events": self.drain.events,
            "lost": self.losses.total,
            "missed": self.missed,
            "end": end,
            "monotonic_ns": time.monotonic_ns(),
        }
        self.writer.json(BlockType.TRAILER, trailer)


def record(request: Request, output: str, force: bool = False) -> int:
    """Record into the file OUTPUT.  Returns the exit status: 0 recorded, 1 not or not in full.

    The file gets its name, and with FORCE replaces another, when recording begins.  Raises
    ProbeError or OutputError if it cannot.
    """
    # Forked first: it must not inherit the compiler's memory.
    command = Command(list(request.command)) if request.command else None
    recording = None
    try:
        require_root()
        with Output(output, force) as place, Writer(place.part) as writer:
            recording = Recording(request, writer)
            try:
                recording.prepare()
                place.place()
                recording.run(command)
                recording.finish()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                    raise
                return _out_of_space(recording, output, error)
    finally:
        status = command.end() if command else None
    say(f"{recording.told()}; wrote {output} ({writer.size} bytes)")
    for what in recording.incomplete():
        say(f"warning: {what}")
    if sys.stderr is not None and sys.stderr.isatty():
        # Who reads a log later, or the lab, sees the file elsewhere.
        cli.tell("note", cli.page_of(output))
    return end_of(recording, status)


def require_root() -> None:
    """Raise ProbeError for users other than root."""
    if os.geteuid() != 0:
        raise ProbeError("recording needs root: run it with sudo")


def _out_of_space(recording: Recording, output: str, error: OSError) -> int:
    """The disk is full: what is in the file stays; the trailer fits where the block did not."""
    recording.program.detach()
    with contextlib.suppress(OSError):
        recording.write_trailer(f"write error: {error.strerror}")
    say(
        f"error: cannot write {output}, recording ended, {recording.drain.events} events before "
        f"that are readable: {reason(error)}"
    )
    return 1


def end_of(recording: Recording, status: Optional[int]) -> int:
    """The exit status of a recording whose command, if it had one, ended with STATUS."""
    if status and recording.end.startswith("command ended"):
        say(f"warning: the command failed with status {status}; see its output above")
        return 1
    return 0
