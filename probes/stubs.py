# SPDX-License-Identifier: GPL-2.0-or-later
"""C text from probes: the functions that are attached, which call the probes' handlers.

Probes with the same text share a function: compiling takes most of the time of the first
recording.  The loader writes the probe's id into each loaded copy (probes/loader.py).
"""

from __future__ import annotations

from typing import Dict, List, Sequence

from probes.arch import Arch
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
    argument,
)

#: What a stub is given, as the type of its context.
_CONTEXTS = {
    KPROBE: "struct pt_regs",
    KRETPROBE: "struct pt_regs",
    KRETPROBE_MULTI: "struct pt_regs",
    FENTRY: "void",
    FEXIT: "void",
    RAW_TRACEPOINT: "struct bpf_raw_tracepoint_args",
    TRACEPOINT: "struct trace_fields",
}

#: The fields of perf's record of a tracepoint, by their size (struct trace_fields of bpf/record.h).
FIELDS = {8: "words", 4: "halves"}


def names(probes: Sequence[Probe], arch: Arch) -> Dict[int, str]:
    """Probe id -> the name of its C function."""
    return {probe.id: _name(served) for served in _shared(probes, arch) for probe in served}


def lines(probes: Sequence[Probe], arch: Arch) -> List[str]:
    """The C functions, each after what it is attached to."""
    found = []
    for served in _shared(probes, arch):
        places = dict.fromkeys(f"{probe.function} ({probe.op}, {probe.phase})" for probe in served)
        found += [f"/* {', '.join(places)} */", f"int {_name(served)}{text(served[0], arch)}"]
    return found


def text(probe: Probe, arch: Arch) -> str:
    """A probe's C function, after its name."""
    values = ["ctx", *(_expression(each, probe.attach, arch) for each in probe.values)]
    call = f"{probe.handler}({', '.join(values)})"
    return f"({_CONTEXTS[probe.attach]} *ctx) {{ return {call}; }}"


def _shared(probes: Sequence[Probe], arch: Arch) -> List[List[Probe]]:
    """The probes, those together that have one function."""
    found: Dict[str, List[Probe]] = {}
    for probe in probes:
        found.setdefault(text(probe, arch), []).append(probe)
    return list(found.values())


def _name(served: Sequence[Probe]) -> str:
    return f"probe_{served[0].id}"


def _expression(value: Value, attach: str, arch: Arch) -> str:
    if value.kind == "argument":
        position = int(value.what)
        if attach == KPROBE:
            return f"ctx->{arch.ARGUMENTS[position]}"
        return (
            f"ctx->args[{position}]" if attach == RAW_TRACEPOINT else f"argument(ctx, {position})"
        )
    if value.kind in ("field", "pfn"):
        offset, size = map(int, str(value.what).split())
        text = f"ctx->{FIELDS[size]}[{offset // size}]"
        return f"PAGE({text})" if value.kind == "pfn" else text
    if value.kind == "given":
        if attach == FENTRY:
            return f"given(ctx, {value.what})"
        if attach == KPROBE:
            register = arch.ARGUMENTS[int(value.what)]
            return f"given_at(ctx, __builtin_offsetof({_CONTEXTS[attach]}, {register}))"
        return f"known({_expression(argument(int(value.what)), attach, arch)})"
    if value.kind == "known":
        return f"known({value.what})"
    if value.kind == "register":
        return f"ctx->{value.what}"
    if value.kind == "result":
        return "returned(ctx)" if attach == FEXIT else f"ctx->{arch.RESULT}"
    return str(value.what)
