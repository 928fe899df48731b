# SPDX-License-Identifier: GPL-2.0-or-later
"""Says what this kernel and host offer and lack, one line each, before anything is traced."""

from __future__ import annotations

import os
import platform
from typing import Callable, List, Optional

from probes import arch, cli
from probes.btf import Btf
from probes.compiled import Compiled
from probes.errors import ProbeError
from probes.headers import find_types, read_headers
from probes.kept import COMPILED, directory, find
from probes.kernel import Kcore, Memory, Symbols, check_kprobes, text_start
from probes.layout import Layout, find_layout
from probes.memory import BpfMemory
from probes.plan import Plan, by_trampoline, resolve
from probes.program import NO_BCC, bcc_version
from probes.snapshot import unpublished
from probes.visible import visible

#: A test returns what it found, and raises ProbeError where something is lacking.
Test = Callable[[], str]
#: What is invisible where recording cannot work at all.
ALL = "anything, recording cannot begin"


def doctor(given: Optional[str] = None, use_cache: bool = True) -> int:
    """Print the findings.  Returns 0, or 1 if recording cannot work here.

    GIVEN, USE_CACHE: where `record` would be told to take its compiled programs from.
    """
    good = _print("machine", _machine, ALL) & _print("root", _root, ALL)
    programs = Programs(given, use_cache)
    good &= _print("programs", programs.look, ALL)
    if programs.made is None:
        good &= _print("bcc", _bcc, ALL) & _print("kernel headers", _headers, ALL)
    good &= _print("kprobes", check_kprobes, ALL) & _print("lockdown", _lockdown, ALL)
    # Recording works without these; something just stays invisible.
    _print("tracefs", _tracefs, "the marks of workloads, and the counters at them")
    _print("huge pages", _huge_pages, "folios but those of hugetlb: there are none")
    found: List[Optional[object]] = [None, None, None]

    def symbols() -> str:
        if programs.made is None:
            found[0] = Symbols()
        else:
            text_start()
        return "/proc/kallsyms shows addresses"

    def types() -> str:
        found[2] = known = find_types()
        if known.enumerators("bpf_map_type").get("BPF_MAP_TYPE_RINGBUF") is None:
            raise ProbeError("this kernel has no BPF ring buffer: use one that has (5.8 and later)")
        return f"from the kernel's {known.source}; it has the BPF ring buffer"

    good &= _print("symbols", symbols, ALL)
    found[1] = _print_memory()
    good &= found[1] is not None
    if programs.made is not None:
        _print_probes(programs.made.layout, programs.made.plan)
        return 0 if good else 1
    good &= _print("types", types, ALL)
    if isinstance(found[0], Symbols) and isinstance(found[1], Memory) and isinstance(found[2], Btf):
        good &= _print_plan(found[0], found[1], found[2])
    return 0 if good else 1


class Programs:
    """By which of the three ways a recording would come to its programs."""

    def __init__(self, given: Optional[str], use_cache: bool) -> None:
        self._given, self._use_cache = given, use_cache
        self.made: Optional[Compiled] = None

    def look(self) -> str:
        """The way, as a line tells it.  Raises ProbeError."""
        found = find(self._given, self._use_cache)
        if found is None:
            kept = f" and kept in {directory()}" if self._use_cache else ""
            return f"will be {COMPILED}{kept}"
        self.made = found.made
        return f"{found}, by BCC {found.made.bcc}; neither BCC nor headers are needed"


def _line(text: str) -> None:
    cli.result(visible(text))


def _print(name: str, test: Test, lost: str) -> bool:
    """One line: what was found, or what is lacking and therefore not seen."""
    try:
        _line(f"ok     {name}: {test()}")
    except ProbeError as error:
        _line(f"LACKS  {name}: {error}; not seen: {lost}")
        return False
    return True


def _print_memory() -> Optional[Memory]:
    """The line about the kernel's memory.  Returns the way to read it, if there is one."""
    try:
        memory = Kcore()
    except ProbeError as no_kcore:
        try:
            second = BpfMemory()
        except ProbeError as no_bpf:
            _line(f"LACKS  memory: {no_kcore}; {no_bpf}; not seen: {ALL}")
            return None
        _line(f"LACKS  memory: {no_kcore}; not seen: nothing, BPF reads the memory instead")
        return second
    _line("ok     memory: /proc/kcore is readable")
    return memory


def _print_plan(symbols: Symbols, kcore: Memory, types: Btf) -> bool:
    try:
        layout = find_layout(types, symbols, kcore)
        plan = by_trampoline(resolve(types, symbols, kcore, layout), types)
    except ProbeError as error:
        _line(f"LACKS  layout: {error}; not seen: {ALL}")
        return False
    _print_probes(layout, plan)
    return True


def _print_probes(layout: Layout, plan: Plan) -> None:
    _line(f"ok     layout: counters {', '.join(layout.counters)}")
    for probe in plan.probes:
        if probe.phase != "return":
            where = f"{probe.function}+{probe.offset:#x}" if probe.offset else probe.function
            _line(f"ok     {probe.op}: {where} ({probe.attach})")
    for missing in plan.missing + unpublished():
        _line(f"LACKS  {missing.op}: {missing}")


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
    if not os.path.exists("/sys/kernel/tracing/trace_marker"):
        raise ProbeError("not mounted: mount -t tracefs tracefs /sys/kernel/tracing")
    return "/sys/kernel/tracing"


def _huge_pages() -> str:
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            text = file.read()
    except OSError:
        raise ProbeError("off: use a kernel built with CONFIG_TRANSPARENT_HUGEPAGE=y") from None
    return f"transparent huge pages: {text[text.index('[') + 1 : text.index(']')]}"
