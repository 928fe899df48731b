# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports what this kernel and host provide and lack, one line each, without tracing anything."""

from __future__ import annotations

import os
import platform
from typing import Any, Callable, Dict, List, Optional

from probes import arch, cli, priority
from probes.btf import Btf
from probes.compiled import Compiled
from probes.errors import ProbeError
from probes.groups import Groups, only
from probes.headers import find_types, read_headers
from probes.kept import COMPILED, directory, find
from probes.kernel import Kcore, Memory, Symbols, check_kprobes, online_cpus, text_start
from probes.layout import Layout, find_layout
from probes.memory import BpfMemory
from probes.plan import Plan, by_trampoline, resolve
from probes.preemption import preempts, unpreempted
from probes.program import NO_BCC, bcc_version
from probes.rights import unreadable
from probes.ring import size_of_each
from probes.snapshot import unpublished
from probes.tracefs import NOT_MOUNTED, TRACEFS
from probes.visible import visible

#: A test returns what it found, and raises ProbeError where something is lacking.
Test = Callable[[], str]
#: What is invisible where recording cannot work at all.
ALL = "anything: recording cannot start"


def doctor(
    given: Optional[str] = None, use_cache: bool = True, groups: Groups = (), as_json: bool = False
) -> int:
    """Print what was found, in lines or AS_JSON.  Returns 0, or 1 if recording cannot work here.

    GIVEN, USE_CACHE: the source of `record`'s compiled programs (--compiled, --no-cache).
    GROUPS: the probes to attach (--only).
    """
    report = Report(as_json, groups)
    _examine(report, Programs(given, use_cache))
    return report.end()


class Report:
    """The results, printed in lines at once, or all together as JSON (docs/json.md)."""

    def __init__(self, as_json: bool, groups: Groups = ()) -> None:
        self._as_json, self._groups = as_json, groups
        self._good = True
        self._checks: List[Dict[str, Any]] = []
        self._plan: Dict[str, Any] = {"counters": [], "probes": [], "missing": []}

    def has(self, name: str, found: str) -> None:
        """Report something that is there."""
        self._check(name, True, found, None)
        self._line(f"ok     {name}: {found}")

    def lacks(self, name: str, why: object, unseen: str, fatal: bool = True) -> None:
        """Report something that is missing; FATAL: recording cannot work without it."""
        self._check(name, False, str(why), unseen)
        self._line(f"LACKS  {name}: {why}; not seen: {unseen}")
        self._good &= not fatal

    def probes(self, layout: Layout, plan: Plan, memory: Optional[Memory] = None) -> None:
        """Report the probes that will be attached, and what is missing."""
        self.has("layout", f"counters {', '.join(layout.counters)}")
        plan = only(plan, self._groups)
        missing = plan.missing + unpublished()
        missing += unreadable(memory, layout) if memory else []
        self._plan = {
            "counters": layout.counters,
            "probes": [probe.as_json() for probe in plan.probes],
            "missing": [gap.as_json() for gap in missing],
        }
        for probe in plan.probes:
            if probe.phase != "return":
                where = f"{probe.function}+{probe.offset:#x}" if probe.offset else probe.function
                self._line(f"ok     {probe.op}: {where} ({probe.attach})")
        for gap in missing:
            self._line(f"LACKS  {gap.op}: {gap}")

    def end(self) -> int:
        """Print what has not been printed.  Returns the exit status."""
        if self._as_json:
            cli.json_result({"good": self._good, "checks": self._checks, **self._plan})
        return 0 if self._good else 1

    def _check(self, name: str, good: bool, found: str, unseen: Optional[str]) -> None:
        self._checks.append({"name": name, "good": good, "found": found, "unseen": unseen})

    def _line(self, text: str) -> None:
        if not self._as_json:
            cli.result(visible(text))


def _examine(report: Report, programs: Programs) -> None:
    _check(report, "machine", _machine)
    _check(report, "root", _root)
    _check(report, "programs", programs.look)
    if programs.made is None:
        _check(report, "bcc", _bcc)
        _check(report, "kernel headers", _headers)
    _check(report, "kprobes", check_kprobes)
    _check(report, "lockdown", _lockdown)
    # Recording works without these; something just stays invisible.
    unseen = "marks of workloads, the counters at them, and what kretprobes record"
    _check(report, "tracefs", _tracefs, unseen)
    _check(report, "huge pages", _huge_pages, "folios other than those of hugetlb")
    _check(report, "ring buffers", _rings)
    _check(report, "priority", _priority, "events that come while the recorder waits for a CPU")
    found: List[Optional[object]] = [None, None]

    def symbols() -> str:
        if programs.made is None:
            found[0] = Symbols()
        else:
            text_start()
        return "/proc/kallsyms shows addresses"

    def types() -> str:
        found[1] = known = find_types()
        if known.enumerators("bpf_map_type").get("BPF_MAP_TYPE_RINGBUF") is None:
            raise ProbeError("this kernel has no BPF ring buffer: use one that has (5.8 and later)")
        return f"from the kernel's {known.source}; it has the BPF ring buffer"

    _check(report, "symbols", symbols)
    memory = _memory(report)
    if programs.made is not None:
        report.probes(programs.made.layout, programs.made.plan, memory)
        return
    _check(report, "types", types)
    if isinstance(found[0], Symbols) and memory is not None and isinstance(found[1], Btf):
        _plan(report, found[0], memory, found[1])


class Programs:
    """Which of the three sources of programs a recording would use."""

    def __init__(self, given: Optional[str], use_cache: bool) -> None:
        self._given, self._use_cache = given, use_cache
        self.made: Optional[Compiled] = None

    def look(self) -> str:
        """The source, as text.  Raises ProbeError."""
        found = find(self._given, self._use_cache)
        if found is None:
            kept = f" and kept in {directory()}" if self._use_cache else ""
            return f"will be {COMPILED}{kept}"
        self.made = found.made
        return f"{found}, by BCC {found.made.bcc}; neither BCC nor headers are needed"


def _check(report: Report, name: str, test: Test, unseen: str = "") -> None:
    """What was found, or what is lacking and therefore UNSEEN (empty: everything)."""
    try:
        report.has(name, test())
    except ProbeError as error:
        report.lacks(name, error, unseen or ALL, fatal=not unseen)


def _memory(report: Report) -> Optional[Memory]:
    """Tell of the kernel's memory.  Returns the way to read it, if there is one."""
    try:
        memory = Kcore()
    except ProbeError as no_kcore:
        try:
            second = BpfMemory()
        except ProbeError as no_bpf:
            report.lacks("memory", f"{no_kcore}; {no_bpf}", ALL)
            return None
        report.lacks("memory", no_kcore, "nothing: memory is read by BPF instead", fatal=False)
        return second
    report.has("memory", "/proc/kcore is readable")
    return memory


def _plan(report: Report, symbols: Symbols, memory: Memory, types: Btf) -> None:
    try:
        layout = find_layout(types, symbols, memory)
        plan = by_trampoline(resolve(types, symbols, memory, layout), types, symbols)
        if preempts():
            plan = unpreempted(plan, types, symbols)
    except ProbeError as error:
        report.lacks("layout", error, ALL)
        return
    report.probes(layout, plan, memory)


def _machine() -> str:
    return f"{arch.name()}, Linux {platform.release()}"


def _root() -> str:
    if os.geteuid() != 0:
        raise ProbeError("not root: run with sudo")
    return "yes"


def _bcc() -> str:
    version = bcc_version()
    if version is None:
        raise ProbeError(NO_BCC)
    return f"python3-bpfcc is installed, {version}"


def _headers() -> str:
    return f"{len(read_headers())} of those that declare the counters"


def _lockdown() -> str:
    try:
        with open("/sys/kernel/security/lockdown") as file:
            text = file.read()
    except OSError:
        return "none"
    mode = text[text.index("[") + 1 : text.index("]")]
    if mode == "confidentiality":
        raise ProbeError("lockdown=confidentiality hides kernel memory from BPF: boot without it")
    return mode


def _tracefs() -> str:
    if not os.path.exists(f"{TRACEFS}/trace_marker"):
        raise ProbeError(NOT_MOUNTED)
    return TRACEFS


def _rings() -> str:
    number = len(online_cpus())
    size = size_of_each(number, None)
    return (
        f"{number} of {size >> 10} KiB each, one for each CPU that is online: "
        f"{number * size >> 20} MiB by default (--buffer)"
    )


def _priority() -> str:
    refused = priority.refusal()
    if refused:
        raise ProbeError(f"the kernel refuses a real-time priority ({refused}): run as root")
    return f"real-time, SCHED_FIFO {priority.PRIORITY}, while recording (--nice: none)"


def _huge_pages() -> str:
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            text = file.read()
    except OSError:
        raise ProbeError("off: use a kernel built with CONFIG_TRANSPARENT_HUGEPAGE=y") from None
    return f"transparent huge pages: {text[text.index('[') + 1 : text.index(']')]}"
