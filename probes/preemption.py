# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes whose programs are not preempted, on kernels that preempt kernel code.

The kernel skips a program that is active on its CPU.  A preempted program stays active until its
task runs again, which on a busy CPU takes a tenth of a second: for so long the probe does not run
in any other task of that CPU.  fentry, fexit and raw tracepoints only disable migration; kprobes
and perf's tracepoints disable preemption.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Tuple

from probes import tracefs
from probes.btf import Btf
from probes.kconfig import built_with
from probes.kernel import Symbols
from probes.plan import Plan
from probes.probe import (
    FENTRY,
    FEXIT,
    KPROBE,
    KRETPROBE,
    KRETPROBE_MULTI,
    RAW_TRACEPOINT,
    TRACEPOINT,
    Probe,
    Value,
    event_field,
    number,
)
from probes.stubs import FIELDS

#: A kernel with one of these preempts what runs in it, unless it is told not to at boot.
REAL_TIME = "CONFIG_PREEMPT_RT"
PREEMPTING = ("CONFIG_PREEMPT", "CONFIG_PREEMPT_LAZY", REAL_TIME)

#: What is not 0 while a program of a kprobe or of perf runs on a CPU: any other one is skipped.
ACTIVE = "bpf_prog_active"

#: What the kernel has with CONFIG_FPROBE alone, which KRETPROBE_MULTI needs.
MULTI = "bpf_kprobe_multi_link"

#: The tracepoints that all memory passes: perf's event, and its fields as the handler takes them.
EVENTS = {
    "mm_page_alloc": ("kmem/mm_page_alloc", ("pfn", "order", "migratetype")),
    "mm_page_free": ("kmem/mm_page_free", ("pfn", "order")),
}

#: Tracepoints whose events lack what the handler takes, a struct task_struct: the function that
#: runs beside it, for the same tasks, with the same first arguments.
FUNCTIONS = {
    "task_newtask": "wake_up_new_task",
    "task_rename": "__set_task_comm",
    "sched_process_exit": "taskstats_exit",
}


def preempts() -> bool:
    """Whether this kernel was built to preempt kernel code."""
    return any(map(built_with, PREEMPTING))


def unpreempted(plan: Plan, btf: Btf, symbols: Symbols) -> Plan:
    """The same probes, attached so that their programs are not preempted."""
    # The functions of the reverse map run under a page table's lock: a spinlock, but there.
    locked = not built_with(REAL_TIME)
    probes = [_held(probe, btf, locked) for probe in plan.probes]
    if _tells_active(btf, symbols):
        by_perf = [probe.id for probe in probes if probe.attach == TRACEPOINT]
        probes += [
            _second(plan.probes[first], len(probes) + nth, nth) for nth, first in enumerate(by_perf)
        ]
    return Plan(probes, plan.missing)


def _tells_active(btf: Btf, symbols: Symbols) -> bool:
    """Whether a program can read ACTIVE.  BTF gives the variable's type, and the kernel looks for
    its address among the symbols, which has none of data without CONFIG_KALLSYMS_ALL."""
    named = bool(btf.variable_id(ACTIVE)) and ACTIVE in symbols.address
    return named and "BPF_FUNC_this_cpu_ptr" in btf.enumerators("bpf_func_id")


def _second(probe: Probe, id_: int, nth: int) -> Probe:
    """A program that sees what the first one is skipped for: an interrupt, in which nothing is
    preempted, inside of a program that counts as active.  Its own count is another."""
    return replace(
        probe,
        id=id_,
        handler=f"{probe.handler}_instead",
        values=(number(nth), *probe.values),
        instead=probe.id,
    )


def _held(probe: Probe, btf: Btf, locked: bool) -> Probe:
    if probe.attach == RAW_TRACEPOINT and _may_be_preempted(btf):
        return _held_tracepoint(probe, btf)
    if probe.group == "rmap" and locked:
        return probe
    if probe.attach == FENTRY:
        return replace(probe, attach=KPROBE)
    if probe.attach == FEXIT:
        plain = btf.size(MULTI) is None or _has_little_room(btf)
        return replace(probe, attach=KRETPROBE if plain else KRETPROBE_MULTI)
    return probe


def _held_tracepoint(probe: Probe, btf: Btf) -> Probe:
    """Where there is no other way, what is skipped is counted, as everywhere."""
    function = FUNCTIONS.get(probe.function, "")
    if function and btf.parameters(function):
        return replace(probe, function=function, attach=KPROBE)
    if probe.function in EVENTS:
        with contextlib.suppress(OSError, KeyError):
            return replace(probe, attach=TRACEPOINT, values=_values(probe.function))
    return probe


def _has_little_room(btf: Btf) -> bool:
    """Before commit 4346ba160409 ("fprobe: Rewrite fprobe on function-graph tracer") (in v6.14)
    kretprobe_multi has room for twice as many tasks as CPUs, and no count of others is told."""
    return btf.offset("fprobe", "rethook") is not None


def _may_be_preempted(btf: Btf) -> bool:
    """Commit "tracing: Guard __DECLARE_TRACE() use of __DO_TRACE_CALL() with SRCU-fast" (in v7.0):
    a tracepoint itself no longer holds preemption off."""
    return btf.offset("tp_transition_snapshot", "srcu_gp") is not None


def _values(tracepoint: str) -> Tuple[Value, ...]:
    event, names = EVENTS[tracepoint]
    fields = tracefs.fields(event)
    if not {fields[name][1] for name in names} <= set(FIELDS):
        raise KeyError(f"{event} has fields of another size")
    return tuple(event_field(*fields[name], is_pfn=name == "pfn") for name in names)
