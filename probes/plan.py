# SPDX-License-Identifier: GPL-2.0-or-later
"""Resolves the catalogue against the running kernel: what to attach, what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Tuple

from probes import arch
from probes.btf import Btf
from probes.hooks import HOOKS, MARK_FUNCTION, MARK_OPS, SITES, TRACEPOINTS, Candidate, Hook, Site
from probes.kernel import Memory, Symbols
from probes.layout import Layout

#: How the kernel attaches a stub.
KPROBE, KRETPROBE, RAW_TRACEPOINT = "kprobe", "kretprobe", "raw_tracepoint"
#: The cheaper way into a whole function, and out of it.
FENTRY, FEXIT = "fentry", "fexit"

#: What is lost where marks are not seen.
MARKS = "marks of the workload"


@dataclass(frozen=True)
class Probe:
    """One BPF stub and where it is attached.  ``id`` is what its records carry.

    call: of its handler, in C, where a0 to a5 are the function's arguments and ``result`` is
          what it returned.
    """

    id: int
    function: str
    attach: str
    offset: int
    call: str
    op: str
    phase: str
    group: str
    delta: int = 0
    after: bool = False
    #: The bytes of the instruction, where it is an inlined update, in hex.
    code: str = ""

    def as_json(self) -> Dict[str, Any]:
        """The probe as the trace header's plan holds it."""
        return {
            "id": self.id,
            "function": self.function,
            "op": self.op,
            "phase": self.phase,
            "delta": self.delta,
            "after": self.after,
            "group": self.group,
            "attach": self.attach,
            "site": f"+{self.offset:#x}" if self.offset else None,
        }


@dataclass(frozen=True)
class Missing:
    """An operation that cannot be observed, and what becomes invisible by that."""

    op: str
    functions: Tuple[str, ...]
    reason: str
    lost: str

    def as_json(self) -> Dict[str, Any]:
        """The gap as the trace header holds it."""
        return {
            "op": self.op,
            "functions": list(self.functions),
            "reason": self.reason,
            "lost": self.lost,
        }

    def __str__(self) -> str:
        return f"{'/'.join(self.functions)}: {self.reason}; not seen: {self.lost}"


@dataclass
class Plan:
    """The probes to attach, in the order of their ids, and what is missing."""

    probes: List[Probe] = field(default_factory=list)
    missing: List[Missing] = field(default_factory=list)

    def add(self, **what: Any) -> int:
        """Append a probe with the next id.  Returns the id."""
        self.probes.append(Probe(id=len(self.probes), **what))
        return len(self.probes) - 1


def by_trampoline(plan: Plan, btf: Btf) -> Plan:
    """The same probes through fentry and fexit, which cost less, where the kernel has them.

    BTF must describe the function; one with more arguments than registers is refused by most
    kernels, one with a variable number (which has no name) by all.  A function has one stub of
    each kind, and its name is the function's.
    """
    probes, taken = [], set()
    helpers = btf.enumerators("bpf_func_id")
    usable = {"BPF_FUNC_get_func_arg", "BPF_FUNC_get_func_ret"} <= set(helpers)
    for probe in plan.probes:
        attach = {KPROBE: FENTRY, KRETPROBE: FEXIT}.get(probe.attach)
        parameters = btf.parameters(probe.function)
        if (
            usable
            and attach
            and not probe.offset
            and parameters is not None
            and len(parameters) <= len(arch.here().ARGUMENTS)
            and "" not in parameters
            and (probe.function, attach) not in taken
        ):
            taken.add((probe.function, attach))
            probe = replace(probe, attach=attach)
        probes.append(probe)
    return Plan(probes, plan.missing)


class _Unfit(Exception):
    """Why a candidate cannot be used on this kernel."""


def resolve(btf: Btf, symbols: Symbols, kcore: Memory, layout: Layout) -> Plan:
    """The plan for the running kernel.

    A function that is absent, or whose arguments are not known, becomes a Missing.
    """
    plan = Plan()
    taken: Dict[Tuple[str, str], bool] = {}
    for hook in HOOKS:
        _resolve_hook(plan, hook, taken, btf, symbols, layout)
    _resolve_sites(plan, symbols, kcore, layout)
    if not layout.page_counts:
        plan.missing += _without_page_counts(layout)
    for point in TRACEPOINTS:
        plan.add(
            function=point.name,
            attach=RAW_TRACEPOINT,
            offset=0,
            call=point.call.format(probe=len(plan.probes)),
            op=point.op,
            phase="point",
            group="life",
        )
    if MARK_OPS in symbols.address or "fdt" in layout.task:
        plan.add(
            function=MARK_FUNCTION,
            attach=KPROBE,
            offset=0,
            call="on_mark(a0, a1, a2)",
            op="mark",
            phase="point",
            group="life",
        )
    else:
        plan.missing.append(Missing("mark", (MARK_OPS,), "no such symbol", MARKS))
    return plan


def _resolve_hook(
    plan: Plan,
    hook: Hook,
    taken: Dict[Tuple[str, str], bool],
    btf: Btf,
    symbols: Symbols,
    layout: Layout,
) -> None:
    reasons = []
    for candidate in hook.candidates:
        names = symbols.functions(candidate.function)
        if not names:
            reasons.append("no such symbol")
            continue
        if taken.get((hook.op, candidate.function)):
            return
        refused = [reason for reason in map(symbols.unprobed, names) if reason]
        if refused:
            reasons.append(refused[0])
            continue
        try:
            arguments = _Arguments(candidate, _parameters(btf, candidate, names))
        except _Unfit as unfit:
            reasons.append(str(unfit))
            continue
        for name in names:
            _add(plan, hook, candidate, name, arguments, layout)
        taken[hook.op, candidate.function] = True
        return
    if not hook.optional:
        functions = tuple(dict.fromkeys(c.function for c in hook.candidates))
        telling = [r for r in reasons if r != "no such symbol"] or reasons
        plan.missing.append(Missing(hook.op, functions, telling[0], hook.lost))


def _parameters(btf: Btf, candidate: Candidate, names: List[str]) -> List[str]:
    """Names of a candidate's parameters.  Raises _Unfit where it needs them and has none."""
    found = btf.parameters(candidate.function)
    # gcc may have changed the arguments of a renamed copy: then nothing is known of it.
    if found is None and btf.source == "headers" and names == [candidate.function]:
        found = list(candidate.known) or None
    if found is None and (candidate.page or candidate.pmd):
        raise _Unfit(btf.unknown_function)
    return found or []


class _Arguments:
    """The C expressions for a candidate's parameters.  Raises _Unfit where one is missing."""

    def __init__(self, candidate: Candidate, parameters: List[str]) -> None:
        self._parameters = parameters[: len(arch.here().ARGUMENTS)]
        self.page = self._get(candidate.page)
        self.pmd = self._get(candidate.pmd)
        self.only = self._get(candidate.only)
        self.nr = self._get(candidate.nr) if candidate.nr else "1"
        self.vma = "0"
        for name in ("vma", "src_vma", "dst_vma"):
            if name in self._parameters:
                self.vma = self._get(name)
                break
        self.level = self._level(candidate.level)

    def _get(self, name: str) -> str:
        if not name:
            return "0"
        if name not in self._parameters:
            raise _Unfit(f"it has no argument {name}")
        return f"a{self._parameters.index(name)}"

    def _level(self, level: str) -> str:
        if level == "folio":
            return "BY_FOLIO"
        if ":" not in level:
            return level.upper()
        name, mask = level.split(":")
        if name == "flags" and "compound" in self._parameters:
            name, mask = "compound", "0xff"
        # Of a bool only the low 8 bits of the register are defined.
        return f"({self._get(name)} & {mask}) ? PMD : PTE"


def _add(
    plan: Plan, hook: Hook, candidate: Candidate, name: str, args: _Arguments, layout: Layout
) -> None:
    probe = len(plan.probes)
    common = {"function": name, "offset": 0, "op": hook.op, "group": hook.group}
    if hook.kind == "point":
        nr = args.nr
        if candidate.level in ("pmd", "pud"):
            nr = "0"
        elif ":" in candidate.level:
            nr = f"({args.level}) == PTE"  # a PMD mapping covers the whole folio: 0
            if candidate.nr:
                nr = f"({nr}) ? {args.nr} : 0"
        plan.add(
            attach=KPROBE,
            call=f"on_point(ctx, {probe}, {args.page}, {args.vma}, {nr}, {args.level})",
            phase="point",
            delta=hook.delta,
            **common,
        )
        return
    if hook.kind == "once":
        plan.add(
            attach=KPROBE,
            call=f"on_bracket({probe}, take_stack(ctx))",
            phase="point",
            **common,
        )
        return
    if hook.kind == "mm_free":
        plan.add(attach=KPROBE, call="on_mm_free(a0)", phase="point", **common)
        return
    enter, leave = {
        "folio": (
            f"on_enter(ctx, {probe}, {args.page}, {args.vma}, 0, PTE)",
            f"on_return(result, {probe}, {probe + 1}, PTE, 0)",
        ),
        "pmd": (
            f"on_pmd_enter(ctx, {probe}, {args.pmd}, {args.vma}, {args.only})",
            f"on_return(result, {probe}, {probe + 1}, PMD, {int(hook.op == 'split_pmd')})",
        ),
        "read": (
            f"on_read(ctx, {probe}, {args.page}, {_within(plan, hook)})",
            f"on_return(result, {probe}, {probe + 1}, PTE, 0)",
        ),
        "bracket": (
            f"on_bracket_enter(ctx, {probe}, {args.vma}, {int(hook.anybody)})",
            f"on_bracket_return(result, {probe}, {probe + 1})",
        ),
    }[hook.kind]
    on_enter = hook.where == "enter" or (
        hook.where == "doublemap" and layout.bits["double_map"] is not None
    )
    on_return = hook.where == "return"
    plan.add(
        attach=KPROBE,
        call=enter,
        phase="enter",
        delta=hook.delta if on_enter else 0,
        **common,
    )
    plan.add(
        attach=KRETPROBE,
        call=leave,
        phase="return",
        delta=hook.delta if on_return else 0,
        after=on_return,
        **common,
    )


def _within(plan: Plan, hook: Hook) -> int:
    """The bracket in which a reader's function counts, -1 for anywhere."""
    for probe in plan.probes:
        if hook.within and probe.function == hook.within:
            return probe.id
    return -1


def _resolve_sites(plan: Plan, symbols: Symbols, kcore: Memory, layout: Layout) -> None:
    empty: Dict[Tuple[str, str], List[Site]] = {}
    seen = set()
    for site in SITES:
        names = symbols.functions(site.function)
        if _add_sites(plan, site, names, symbols, kcore, layout):
            seen.add((site.op, site.instead))
        elif not site.optional:
            plan.missing.append(_no_site([site], bool(names)))
        elif names:
            empty.setdefault((site.op, site.instead), []).append(site)
    for (op, instead), sites in empty.items():
        if (op, instead) not in seen and not any(p.function == instead for p in plan.probes):
            plan.missing.append(_no_site(sites, True))


def _without_page_counts(layout: Layout) -> List[Missing]:
    """What a kernel that does not count the pages of a large folio leaves invisible."""
    reason = "the kernel is built with CONFIG_NO_PAGE_MAPCOUNT"
    if layout.fields.get("nr_mapped") is None:
        reason = "the kernel has no folio._nr_pages_mapped: it counts no pages of a large folio"
    elif layout.page_counts is None:
        reason = "neither the kernel's configuration nor a huge page tells whether it keeps them"
    lost = "map counts of a large folio's pages; they come from the operations alone"
    found = [Missing("counters", ("_mapcount", "_nr_pages_mapped"), reason, lost)]
    for site in SITES:
        if site.field == "mapcount":
            lost = f"{site.lost}, of large folios"
            found.append(Missing(site.op, (site.function,), reason, lost))
    return found


def _no_site(sites: List[Site], exists: bool) -> Missing:
    reason = "its inlined counter update was not found in the kernel's text"
    functions = tuple(site.function for site in sites)
    return Missing(sites[0].op, functions, reason if exists else "no such symbol", sites[0].lost)


def _add_sites(
    plan: Plan, site: Site, names: List[str], symbols: Symbols, kcore: Memory, layout: Layout
) -> int:
    """Plan a probe at each update in these functions.  Returns how many there are."""
    offset = layout.fields[site.field]
    if offset is None:
        return 0
    machine = arch.here()
    before = len(plan.probes)
    nr = 1 if site.level == "pte" else 0
    need = "BIT_HUGETLB" if site.hugetlb else "0"
    for name in names:
        start = symbols.address[name]
        text = kcore.read(start, symbols.end_of(name) - start)
        for at, page in machine.updates(text, offset, site.delta):
            plan.add(
                function=name,
                attach=KPROBE,
                offset=at,
                call=f"on_site(ctx, {len(plan.probes)}, ctx->{page}, {nr}, "
                f"{site.level.upper()}, {need})",
                op=site.op,
                phase="point",
                group="dup" if site.op == "dup" else "rmap",
                delta=site.delta,
                code=machine.instruction(text, at).hex(),
            )
    return len(plan.probes) - before
