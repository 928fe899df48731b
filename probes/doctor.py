# SPDX-License-Identifier: GPL-2.0-or-later
"""Says what this kernel and host offer and lack, one line each, before anything is traced."""

from __future__ import annotations

import importlib.util
import os
import platform
from typing import Callable, List, Optional

from probes.btf import Btf
from probes.errors import ProbeError
from probes.headers import find_types, read_headers
from probes.kernel import Kcore, Symbols, check_kprobes
from probes.layout import find_layout
from probes.plan import by_trampoline, resolve

#: A test returns what it found, and raises ProbeError where something is lacking.
Test = Callable[[], str]
#: What is invisible where recording cannot work at all.
ALL = "anything, recording cannot begin"


def doctor() -> int:
    """Print the findings.  Returns 0, or 1 if recording cannot work here."""
    good = True
    for name, test in (
        ("machine", _machine),
        ("root", _root),
        ("bcc", _bcc),
        ("kernel headers", _headers),
        ("kprobes", check_kprobes),
        ("lockdown", _lockdown),
    ):
        good &= _print(name, test, ALL)
    # Recording works without these; something just stays invisible.
    _print("tracefs", _tracefs, "the marks of workloads, and the counters at them")
    _print("huge pages", _huge_pages, "folios but those of hugetlb: there are none")
    found: List[Optional[object]] = [None, None, None]

    def symbols() -> str:
        found[0] = Symbols()
        return "/proc/kallsyms shows addresses"

    def memory() -> str:
        found[1] = Kcore()
        return "/proc/kcore is readable"

    def types() -> str:
        found[2] = known = find_types()
        if known.enumerators("bpf_map_type").get("BPF_MAP_TYPE_RINGBUF") is None:
            raise ProbeError("this kernel has no BPF ring buffer: use one that has (5.8 and later)")
        return f"from the kernel's {known.source}; it has the BPF ring buffer"

    for name, test in (("symbols", symbols), ("memory", memory), ("types", types)):
        good &= _print(name, test, ALL)
    if isinstance(found[0], Symbols) and isinstance(found[1], Kcore) and isinstance(found[2], Btf):
        good &= _print_plan(found[0], found[1], found[2])
    return 0 if good else 1


def _print(name: str, test: Test, lost: str) -> bool:
    """One line: what was found, or what is lacking and therefore not seen."""
    try:
        print(f"ok     {name}: {test()}")
    except ProbeError as error:
        print(f"LACKS  {name}: {error}; not seen: {lost}")
        return False
    return True


def _print_plan(symbols: Symbols, kcore: Kcore, types: Btf) -> bool:
    try:
        layout = find_layout(types, symbols, kcore)
        plan = by_trampoline(resolve(types, symbols, kcore, layout), types)
    except ProbeError as error:
        print(f"LACKS  layout: {error}; not seen: {ALL}")
        return False
    print(f"ok     layout: counters {', '.join(layout.counters)}")
    for probe in plan.probes:
        if probe.phase != "return":
            where = f"{probe.function}+{probe.offset:#x}" if probe.offset else probe.function
            print(f"ok     {probe.op}: {where} ({probe.attach})")
    for missing in plan.missing:
        print(f"LACKS  {missing.op}: {missing}")
    return True


def _machine() -> str:
    if platform.machine() != "x86_64":
        raise ProbeError(f"{platform.machine()} is not known to mapcount: use an x86-64 machine")
    return f"{platform.machine()}, Linux {platform.release()}"


def _root() -> str:
    if os.geteuid() != 0:
        raise ProbeError("not root: run with sudo")
    return "yes"


def _bcc() -> str:
    if importlib.util.find_spec("bcc") is None:
        raise ProbeError(
            "python3-bpfcc is missing: apt install python3-bpfcc, and use the system's python3"
        )
    return "python3-bpfcc is installed"


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
