# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the compiled programs of the running kernel: symbols, types, plan, text, BCC."""

from __future__ import annotations

import platform
import struct
from dataclasses import replace
from typing import Dict, List, Tuple

from probes import arch, stubs
from probes.btf import Btf
from probes.compiled import INSN_SIZE, Compiled, Function, Map
from probes.digest import sources
from probes.headers import find_types
from probes.hooks import MARK_OPS
from probes.kernel import Memory, Symbols, build_id
from probes.layout import find_layout
from probes.plan import by_trampoline, resolve
from probes.preemption import ACTIVE, preempts, unpreempted
from probes.probe import FENTRY, FEXIT, Probe
from probes.program import bcc_version, compiled
from probes.say import say
from probes.source import PATCH_MARK, WRITTEN, source

#: Symbols whose addresses a recording needs, where the kernel has them.
SYMBOLS = ("_etext", "huge_zero_folio", "huge_zero_page", MARK_OPS, "init_task")
#: What the kernel's maps of cgroups call: it is there with CONFIG_CGROUPS alone.
CGROUP_MAPS = "cgroup_get_from_fd"
#: The instruction that loads a 64-bit constant takes the place of two.
_LOAD_64 = 0x18
_MAP_FD = 1
_INSN = struct.Struct("<BBhI")


def make(kcore: Memory, trampolines: bool = True) -> Compiled:
    """Compile for the running kernel.  Raises ProbeError.

    TRAMPOLINES: use fentry and fexit where the kernel provides them, not only kprobes.
    """
    say("reading the kernel's symbols and types")
    symbols = Symbols()
    types = find_types()
    if types.source != "btf":
        say("the kernel has no BTF: taking the layout from its headers")
    layout = find_layout(types, symbols, kcore)
    plan = resolve(types, symbols, kcore, layout)
    if trampolines:
        plan = by_trampoline(plan, types, symbols)
    if preempts():
        plan = unpreempted(plan, types, symbols)
    say(f"compiling {len(plan.probes)} probes")
    text = source(plan, layout, cgroups=CGROUP_MAPS in symbols.address)
    names = stubs.names(plan.probes, arch.here())
    code, maps, licence = compiled(text, sorted(set(names.values())))
    start = symbols.address["_stext"]
    wanted = {
        *SYMBOLS,
        *arch.here().SYMBOLS,
        *(probe.function for probe in plan.probes if probe.code),
    }
    return Compiled(
        build_id=build_id() or "",
        release=platform.release(),
        bcc=bcc_version() or "",
        sources=sources(),
        licence=licence,
        symbols={
            name: symbols.address[name] - start
            for name in sorted(wanted)
            if name in symbols.address
        },
        layout=replace(layout, vmemmap=0),
        plan=plan,
        maps=tuple(maps.values()),
        functions=tuple(
            _function(probe, code[names[probe.id]], maps, types) for probe in plan.probes
        ),
    )


def _function(probe: Probe, code: bytes, maps: Dict[int, Map], types: Btf) -> Function:
    named, constants = references(code, maps)
    btf_id = types.function_id(probe.function) if probe.attach in (FENTRY, FEXIT) else 0
    return Function(
        probe=probe.id,
        code=code,
        maps=tuple(named),
        constants=tuple(constants),
        btf_id=types.variable_id(ACTIVE) if probe.instead >= 0 else btf_id,
    )


def references(
    code: bytes, maps: Dict[int, Map]
) -> Tuple[List[Tuple[int, str]], List[Tuple[int, str]]]:
    """The instructions that hold a map's descriptor, and those with a constant of the loader's."""
    named, constants = [], []
    place = 0
    while place < len(code) // INSN_SIZE:
        opcode, registers, _, low = _INSN.unpack_from(code, place * INSN_SIZE)
        if opcode != _LOAD_64:
            place += 1
            continue
        *_, high = _INSN.unpack_from(code, (place + 1) * INSN_SIZE)
        if registers >> 4 == _MAP_FD:
            named.append((place, maps[low].name))
        elif high == PATCH_MARK:
            constants.append((place, WRITTEN[low]))
        place += 2
    return named, constants
