# SPDX-License-Identifier: GPL-2.0-or-later
"""Says what this kernel and host offer and lack, one line each, before anything is traced."""

from __future__ import annotations

import importlib.util
import os
import platform
from typing import Callable, List, Optional, Tuple

from probes.btf import Btf
from probes.errors import ProbeError
from probes.kernel import Kcore, Symbols, check_kprobes
from probes.layout import find_layout
from probes.plan import resolve

#: (name, test) in the order in which they matter; a test returns what it found, and
#: raises ProbeError where recording cannot work without it.
Check = Tuple[str, Callable[[], str]]


def doctor() -> int:
    """Print the findings.  Returns 0, or 1 if recording cannot work here."""
    checks: List[Check] = [
        ("machine", _machine),
        ("root", _root),
        ("bcc", _bcc),
        ("kernel headers", _headers),
        ("kprobes", check_kprobes),
        ("lockdown", _lockdown),
    ]
    good = True
    for name, check in checks:
        good &= _print(name, check)
    # Recording works without these; something just stays invisible.
    for name, check in (("tracefs", _tracefs), ("huge pages", _huge_pages)):
        _print(name, check)
    found: List[Optional[object]] = [None, None, None]

    def symbols() -> str:
        found[0] = Symbols()
        return "/proc/kallsyms shows addresses"

    def memory() -> str:
        found[1] = Kcore()
        return "/proc/kcore is readable"

    def types() -> str:
        found[2] = btf = Btf()
        if btf.enumerators("bpf_map_type").get("BPF_MAP_TYPE_RINGBUF") is None:
            raise ProbeError("this kernel has no BPF ring buffer: use one that has (5.8 and later)")
        return "BTF is there, with the BPF ring buffer"

    for name, check in (("symbols", symbols), ("memory", memory), ("types", types)):
        good &= _print(name, check)
    if isinstance(found[0], Symbols) and isinstance(found[1], Kcore) and isinstance(found[2], Btf):
        good &= _print_plan(found[0], found[1], found[2])
    return 0 if good else 1


def _print(name: str, check: Callable[[], str]) -> bool:
    try:
        print(f"ok     {name}: {check()}")
    except ProbeError as error:
        print(f"LACKS  {name}: {error}")
        return False
    return True


def _print_plan(symbols: Symbols, kcore: Kcore, btf: Btf) -> bool:
    try:
        layout = find_layout(btf, symbols, kcore)
        plan = resolve(btf, symbols, kcore, layout)
    except ProbeError as error:
        print(f"LACKS  layout: {error}")
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
    given = os.environ.get("BCC_KERNEL_SOURCE")
    places = [given] if given else [f"/lib/modules/{platform.release()}/build"]
    for place in places:
        if os.path.exists(os.path.join(place, "include", "linux")) or os.path.exists(
            os.path.join(place, "arch", "x86", "include")
        ):
            return place
    if os.path.exists("/sys/kernel/kheaders.tar.xz"):
        return "/sys/kernel/kheaders.tar.xz"
    raise ProbeError(
        f"no headers in {places[0]}: apt install linux-headers-$(uname -r), or set "
        "BCC_KERNEL_SOURCE to a built kernel tree"
    )


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
        raise ProbeError(
            "not mounted, marks are not seen: mount -t tracefs tracefs /sys/kernel/tracing"
        )
    return "/sys/kernel/tracing"


def _huge_pages() -> str:
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            text = file.read()
    except OSError:
        raise ProbeError(
            "this kernel is built without CONFIG_TRANSPARENT_HUGEPAGE: only hugetlb is seen"
        ) from None
    return f"transparent huge pages: {text[text.index('[') + 1 : text.index(']')]}"
