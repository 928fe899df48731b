# SPDX-License-Identifier: GPL-2.0-or-later
"""Resolves the catalogue against the running kernel: what to attach, what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from probes import arch, limits
from probes.btf import Btf
from probes.errors import ProbeError
from probes.hooks import (
    HOOKS,
    HUGETLB_REFUSING,
    INLINE_COPIES,
    LOST_COPIES,
    LOST_HUGETLB_COPIES,
    MARK_FUNCTION,
    MARK_OPS,
    MEMFD,
    SITES,
    TRACEPOINTS,
    Candidate,
    Copy,
    Hook,
    Site,
)
from probes.kernel import Memory, Symbols
from probes.layout import MOVE_CONTROL, Layout
from probes.probe import (
    FENTRY,
    FEXIT,
    KPROBE,
    KRETPROBE,
    RAW_TRACEPOINT,
    RESULT,
    Probe,
    Value,
    argument,
    constant,
    given,
    known,
    number,
    register,
)

#: Why an operation is not seen that this kernel has not.
NO_SYMBOL = "no such symbol"
NO_UPDATE = "its inlined counter update was not found in the kernel's text"
AMBIGUOUS = "several functions of the kernel have this name"
NO_CALL = "no call of it was found in the kernel's text"
MAY_REFUSE = "the compiler made a function of it, and its result is not looked at"
#: What a traced function calls at its entry, with CONFIG_DYNAMIC_FTRACE alone: x86-64's
#: arch/x86/kernel/ftrace_64.S, arm64's entry-ftrace.S.
FTRACE_ENTRY = "ftrace_caller"
#: What a kernel with CONFIG_SMP has, in kernel/smp.c.
SMP_FUNCTION = "smp_call_function_many"
#: What is lost where marks are not seen.
MARKS = "marks of the workload"

#: Values of handlers' arguments: no folio and no PMD is known; a question is answered by no.
NONE = NO = number(0)
PTE, PMD, PUD = map(constant, ("PTE", "PMD", "PUD"))


@dataclass(frozen=True)
class Missing:
    """An operation that cannot be observed, and what is not seen because of that."""

    op: str
    functions: Tuple[str, ...]
    reason: str
    lost: str

    def as_json(self) -> Dict[str, Any]:
        """The gap for the trace header."""
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
        """Append a probe with the next id.  Returns the id; ProbeError if there are too many."""
        if len(self.probes) == limits.PROBES:
            raise ProbeError(f"more than {limits.PROBES} probes are planned: report this kernel")
        self.probes.append(Probe(id=len(self.probes), **what))
        return len(self.probes) - 1

    def sees(self, op: str, functions: Sequence[str]) -> bool:
        """Whether no probe of this operation is missing at any of these functions."""
        return not any(
            name.split("+")[0] in functions
            for gap in self.missing
            if gap.op == op and gap.reason != NO_SYMBOL
            for name in gap.functions
        )


def by_trampoline(plan: Plan, btf: Btf, symbols: Symbols) -> Plan:
    """The same probes by fentry and fexit, which cost less, where the kernel has them.

    A kernel without CONFIG_DYNAMIC_FTRACE refuses all of them.  BTF must describe the function;
    one with more arguments than registers is refused by most kernels, one with a variable number
    (which has no name) by all.  A function has one stub of each kind, and its name is the
    function's.
    """
    probes, taken = [], set()
    needed = {"BPF_FUNC_get_func_arg", "BPF_FUNC_get_func_ret"}
    usable = FTRACE_ENTRY in symbols.address and needed <= set(btf.enumerators("bpf_func_id"))
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
    taken: Dict[Tuple[str, str, str], bool] = {}
    for hook in HOOKS:
        _resolve_hook(plan, hook, taken, btf, symbols, kcore, layout)
    if _has_inlined(MEMFD, symbols, kcore):
        reason = f"{MEMFD.inlines} is inlined in it"
        lost = "pins of memory files' folios (udmabuf, iommufd)"
        plan.missing.append(Missing("pin", (MEMFD.function,), reason, lost))
    _resolve_sites(plan, symbols, kcore, layout)
    _resolve_copies(plan, symbols, kcore)
    if not layout.page_counts:
        plan.missing += _without_page_counts(layout)
    for point in TRACEPOINTS:
        plan.add(
            function=point.name,
            attach=RAW_TRACEPOINT,
            offset=0,
            handler=point.handler,
            values=point.values,
            op=point.op,
            phase="point",
            group="life",
        )
    if MARK_OPS in symbols.address or "fdt" in layout.task:
        plan.add(
            function=MARK_FUNCTION,
            attach=KPROBE,
            offset=0,
            handler="on_mark",
            values=(argument(0), argument(1), argument(2)),
            op="mark",
            phase="point",
            group="life",
        )
    else:
        plan.missing.append(Missing("mark", (MARK_OPS,), NO_SYMBOL, MARKS))
    return plan


def _resolve_hook(
    plan: Plan,
    hook: Hook,
    taken: Dict[Tuple[str, str, str], bool],
    btf: Btf,
    symbols: Symbols,
    kcore: Memory,
    layout: Layout,
) -> None:
    reasons = []
    for candidate in hook.candidates:
        names = symbols.functions(candidate.function)
        if not names or (candidate.beside and not symbols.functions(candidate.beside)):
            reasons.append(NO_SYMBOL)
            continue
        if taken.get((hook.op, candidate.function, hook.within)):
            return
        if candidate.inlines and not _has_inlined(candidate, symbols, kcore):
            return
        # Whoever else calls it may hold a reference, or have unmapped the page just now.
        if hook.kind in ("read", "ask") and hook.within and _bracket(plan, hook.within) < 0:
            reasons.append(f"no probe on {hook.within}, which calls it")
            continue
        refused = [reason for reason in map(symbols.unprobed, names) if reason]
        if refused:
            reasons.append(refused[0])
            continue
        try:
            arguments = _Arguments(candidate, _parameters(btf, candidate, names))
            if len(candidate.moves) == 1 and not set(MOVE_CONTROL) <= set(layout.task):
                raise _Unfit("struct pagetable_move_control has other fields")
            returned = _returned(hook, candidate, btf, layout)
        except _Unfit as unfit:
            reasons.append(str(unfit))
            continue
        for name in names:
            _add(plan, hook, candidate, name, arguments, layout, returned)
        taken[hook.op, candidate.function, hook.within] = True
        return
    if not hook.optional:
        functions = tuple(dict.fromkeys(c.function for c in hook.candidates))
        telling = [r for r in reasons if r != NO_SYMBOL] or reasons
        plan.missing.append(Missing(hook.op, functions, telling[0], hook.lost))


def _has_inlined(candidate: Candidate, symbols: Symbols, kcore: Memory) -> bool:
    """Whether a function of the kernel has a copy of the one that it ``inlines``, which the kernel
    has, too: then it does not call it."""
    machine = arch.here()
    inlined = symbols.functions(candidate.inlines)
    for name in symbols.functions(candidate.function) if inlined else ():
        start, text = _text(symbols, kcore, name)
        if not any(machine.calls(text, start, symbols.address[each]) for each in inlined):
            return True
    return False


def _parameters(btf: Btf, candidate: Candidate, names: List[str]) -> List[str]:
    """Names of a candidate's parameters.  Raises _Unfit where it needs them and has none."""
    found = btf.parameters(candidate.function)
    # gcc may have changed the arguments of a renamed copy: then nothing is known of it.
    if found is None and btf.source == "headers" and names == [candidate.function]:
        found = list(candidate.known) or None
    if found is None and (candidate.page or candidate.pmd or candidate.moves):
        raise _Unfit(btf.unknown_function)
    return found or []


class _Arguments:
    """Where a candidate's handler gets its values.  Raises _Unfit where one is missing."""

    def __init__(self, candidate: Candidate, parameters: List[str]) -> None:
        self._parameters = parameters[: len(arch.here().ARGUMENTS)]
        self.page = self._given(candidate.page)
        self.pmd = self._get(candidate.pmd)
        self.only = self._get(candidate.only)
        self.moves = tuple(map(self._get, candidate.moves))
        self.nr = self._given(candidate.nr) if candidate.nr else known(1)
        self.vma = self._first("vma", "src_vma", "dst_vma")
        #: For which mapping it maps, where it copies from another.
        #: One vma beside two address spaces is the one that it copies from.
        copies_from_vma = self._is("dst_mm") and not self._is("dst_vma")
        self.owner = known(0) if copies_from_vma else self._first("dst_vma", "vma")
        #: Where in the mapping the page, or the PMD, is; 0: the folio's index tells it.
        self.address = self._first("address", "addr", "haddr")
        self.level, self.flags = self._level(candidate.level)
        self.foll = self._get(candidate.flags) if candidate.flags else constant("GUP_PIN")
        if self.level in (PMD, PUD):
            self.nr = known(0)  # the whole folio

    def _first(self, *names: str) -> Value:
        return next((self._given(name) for name in names if name in self._parameters), known(0))

    def _given(self, name: str) -> Value:
        return given(int(self._get(name).what)) if name else known(0)

    def _is(self, name: str) -> bool:
        return name in self._parameters

    def _get(self, name: str) -> Value:
        if not name:
            return NONE
        if name not in self._parameters:
            raise _Unfit(f"it has no argument {name}")
        return argument(self._parameters.index(name))

    def _level(self, level: str) -> Tuple[Value, Tuple[Value, ...]]:
        """The level, or else the flags that tell it: their value, and the bits that mean a PMD."""
        if level == "folio":
            return constant("BY_FOLIO"), ()
        if ":" not in level:
            return constant(level.upper()), ()
        name, bits = level.split(":")
        if name == "flags" and "compound" in self._parameters:
            name, bits = "compound", "0xff"
        # Of a bool only the low 8 bits of the register are defined.
        return NONE, (self._given(name), number(int(bits, 0)))


def _returned(hook: Hook, candidate: Candidate, btf: Btf, layout: Layout) -> str:
    """What the return of a function that takes pins is told by, "" of another.

    Raises _Unfit where it cannot be told.
    """
    if hook.kind not in ("pin", "unpin"):
        return btf.returns(candidate.function) if hook.group == "pins" else ""
    if layout.bits.get("foll_pin") is None:
        raise _Unfit(f"the kernel's {btf.source} do not tell FOLL_PIN")
    told = btf.returns(candidate.function)
    if hook.kind == "pin" and not told:
        raise _Unfit("what it returns is not known")
    return told


def _add(
    plan: Plan,
    hook: Hook,
    candidate: Candidate,
    name: str,
    args: _Arguments,
    layout: Layout,
    returned: str,
) -> None:
    common = {"function": name, "offset": 0, "op": hook.op, "group": hook.group}
    if hook.kind == "point":
        seen = (args.page, args.vma, args.nr)
        plan.add(
            attach=KPROBE,
            handler="on_point_by_flags" if args.flags else "on_point",
            values=(*seen, *(args.flags or (args.level,)), args.address),
            phase="point",
            delta=hook.delta,
            **common,
        )
        return
    if hook.kind in ("once", "mm_free"):
        values = (argument(0),) if hook.kind == "mm_free" else ()
        plan.add(attach=KPROBE, handler=f"on_{hook.kind}", values=values, phase="point", **common)
        return
    if hook.kind == "ask":
        plan.add(
            attach=KPROBE,
            handler="on_ask",
            values=(args.page,),
            phase="point",
            entry=_bracket(plan, hook.within),
            within=hook.within,
            **common,
        )
        return
    if hook.kind in ("pin", "unpin"):
        _add_pin(plan, hook, args, common, returned)
        return
    entered = len(plan.probes)
    if hook.kind == "move":
        handler = "on_move_enter_by" if len(args.moves) == 1 else "on_move_enter"
        plan.add(attach=KPROBE, handler=handler, values=args.moves, phase="enter", **common)
        plan.add(
            attach=KRETPROBE,
            handler="on_move_return",
            values=(RESULT,),
            phase="return",
            entry=entered,
            **common,
        )
        return
    owner = args.owner if hook.op in ("dup", "fork") else known(0)
    bracket = _bracket(plan, hook.within)
    within = number(int(bracket >= 0))
    enter, leave = {
        "folio": (
            ("on_enter", args.page, args.vma),
            ("on_return", NONE if returned == "void" else RESULT, PTE, NO),
        ),
        "pmd": (
            ("on_pmd_enter", args.pmd, args.vma, args.only, owner, args.address, within),
            ("on_return", RESULT, PMD, number(int(hook.op == "split_pmd"))),
        ),
        "read": (
            ("on_read", args.page, within),
            ("on_return", RESULT, PTE, NO),
        ),
        "bracket": (
            (
                *("on_bracket_enter", args.vma, owner),
                *(number(int(hook.anybody)), number(int(hook.deferred))),
            ),
            ("on_bracket_return", RESULT),
        ),
    }[hook.kind]
    on_enter = hook.where == "enter" or (
        hook.where == "doublemap" and layout.bits["double_map"] is not None
    )
    on_return = hook.where == "return"
    plan.add(
        attach=KPROBE,
        handler=enter[0],
        values=enter[1:],
        phase="enter",
        delta=hook.delta if on_enter else 0,
        entry=bracket,
        within=hook.within if hook.kind == "read" else "",
        **common,
    )
    plan.add(
        attach=KRETPROBE,
        handler=leave[0],
        values=leave[1:],
        phase="return",
        delta=hook.delta if on_return else 0,
        entry=entered,
        after=on_return,
        **common,
    )


def _add_pin(
    plan: Plan, hook: Hook, args: _Arguments, common: Dict[str, Any], returned: str
) -> None:
    """A record of references that were taken is made at the return, with what was given at the
    entry; of those that go, at the entry."""
    asked = (args.page, args.nr, args.foll)
    if hook.kind == "unpin":
        plan.add(attach=KPROBE, handler="on_unpin", values=asked, phase="point", **common)
        return
    entered = len(plan.probes)
    plan.add(attach=KPROBE, handler="on_grab", values=asked, phase="enter", **common)
    plan.add(
        attach=KRETPROBE,
        handler="on_grabbed",
        values=(RESULT, constant(f"RETURNS_{returned.upper()}")),
        phase="point",
        after=True,
        entry=entered,
        **common,
    )


def _bracket(plan: Plan, function: str) -> int:
    """The entry of a function's bracket, -1 if there is none."""
    entries = (p.id for p in plan.probes if p.handler == "on_bracket_enter")
    return next((number for number in entries if plan.probes[number].function == function), -1)


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
    plan.missing += _not_followed(plan, symbols)


def _not_followed(plan: Plan, symbols: Symbols) -> Iterator[Missing]:
    """Updates of hugetlb that the compiler made functions of, and whose calls are not probed."""
    for inline in dict.fromkeys(site.inline for site in SITES if site.inline):
        sites = [site for site in SITES if site.inline == inline]
        callers = {name for site in sites for name in symbols.functions(site.function)}
        sited = [p for p in plan.probes if p.handler == "on_site" and p.function in callers]
        called = any(not p.code for p in sited)
        for name in symbols.functions(inline):
            if name in symbols.ambiguous or not called:
                reason = AMBIGUOUS if name in symbols.ambiguous else NO_CALL
                for op, lost in dict.fromkeys((site.op, site.lost) for site in sites):
                    yield Missing(op, (name,), reason, lost)
    for name in symbols.functions(HUGETLB_REFUSING):
        yield Missing("dup", (name,), MAY_REFUSE, LOST_HUGETLB_COPIES)


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
    reason = NO_UPDATE if exists else NO_SYMBOL
    functions = tuple(site.function for site in sites)
    return Missing(sites[0].op, functions, reason, sites[0].lost)


def _add_sites(
    plan: Plan, site: Site, names: List[str], symbols: Symbols, kcore: Memory, layout: Layout
) -> int:
    """Plan a probe at each update in these functions.  Returns how many there are."""
    offset = layout.fields[site.field]
    if offset is None:
        return 0
    machine = arch.here()
    before = len(plan.probes)
    nr = number(1 if site.level == "pte" else 0)
    need = constant("BIT_HUGETLB") if site.hugetlb else NONE
    smp = bool(symbols.functions(SMP_FUNCTION))
    bracket = _bracket(plan, site.within or site.function)
    within = number(int(bracket >= 0))
    inlined = [] if not site.inline else symbols.functions(site.inline)
    emitted = [each for each in inlined if each not in symbols.ambiguous]
    for name in names:
        start, text = _text(symbols, kcore, name)
        places = [
            (at, register(page), machine.instruction(text, at).hex())
            for at, page in machine.updates(text, offset, site.delta, smp)
        ]
        for each in emitted:
            calls = machine.calls(text, start, symbols.address[each])
            places += [(at, argument(0), "") for at, _ in calls]
        for at, page, code in places:
            plan.add(
                function=name,
                attach=KPROBE,
                offset=at,
                handler="on_site",
                values=(page, nr, constant(site.level.upper()), need, within),
                op=site.op,
                phase="point",
                group="dup" if site.op == "dup" else "rmap",
                delta=site.delta,
                entry=bracket,
                code=code,
            )
    return len(plan.probes) - before


def _resolve_copies(plan: Plan, symbols: Symbols, kcore: Memory) -> None:
    """Fork's copies by functions that are inline in the source, and that the compiler emitted."""
    for copy in INLINE_COPIES:
        for name in symbols.functions(copy.function):
            if name in symbols.ambiguous:
                plan.missing.append(Missing("dup", (name,), AMBIGUOUS, LOST_COPIES))
            elif not _add_calls(plan, copy, name, symbols, kcore):
                plan.missing.append(Missing("dup", (name,), NO_CALL, LOST_COPIES))


def _add_calls(plan: Plan, copy: Copy, name: str, symbols: Symbols, kcore: Memory) -> int:
    """Plan a probe at each call, and one where it returns if it may fail.  Returns how many calls
    there are."""
    machine = arch.here()
    bracket = _bracket(plan, "copy_page_range")
    within = number(int(bracket >= 0))
    page, nr = argument(copy.page), number(1) if copy.nr is None else argument(copy.nr)
    common = {"attach": KPROBE, "phase": "point", "group": "dup", "entry": bracket}
    made: Dict[str, Any] = {"handler": "on_site", "values": (page, nr, PTE, NONE, within)}
    if copy.fails:
        made = {"handler": "on_copy", "values": (page, nr, within)}
    found = 0
    for caller in symbols.functions("copy_page_range"):
        start, text = _text(symbols, kcore, caller)
        for at, back in machine.calls(text, start, symbols.address[name]):
            if back is None:
                continue
            found += 1
            plan.add(function=caller, offset=at, op="dup", delta=1, **made, **common)
            if copy.fails:
                # The handler relies on the place beside the one before: see bpf/handlers.h.
                plan.add(
                    function=caller,
                    offset=back,
                    op="unmap",
                    delta=-1,
                    after=True,
                    handler="on_copy_refused",
                    values=(RESULT, within),
                    **common,
                )
    return found


def _text(symbols: Symbols, kcore: Memory, name: str) -> Tuple[int, bytes]:
    """Where a function begins, and its instructions."""
    start = symbols.address[name]
    return start, kcore.read(start, symbols.end_of(name) - start)
