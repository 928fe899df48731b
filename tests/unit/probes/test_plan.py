# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan: which functions are attached on which kernel, and what is named as missing."""

from dataclasses import replace

import pytest

from probes import arch, limits, x86_64
from probes.errors import ProbeError
from probes.events import PIN_OPS
from probes.hooks import COPIES, HOOKS, SITES
from probes.kernel import Symbols
from probes.layout import Layout
from probes.plan import FTRACE_ENTRY, Plan, by_trampoline, resolve
from probes.probe import (
    FENTRY,
    FEXIT,
    KPROBE,
    KRETPROBE,
    RESULT,
    argument,
    constant,
    given,
    known,
    number,
    register,
)

OLD = {
    "page_add_anon_rmap": ["page", "vma", "address", "flags"],
    "page_add_new_anon_rmap": ["page", "vma", "address"],
    "page_add_file_rmap": ["page", "vma", "compound"],
    "page_remove_rmap": ["page", "vma", "compound"],
    "copy_huge_pmd": ["dst_mm", "src_mm", "dst_pmd", "src_pmd", "addr", "dst_vma", "src_vma"],
    "__split_huge_pmd": ["vma", "pmd", "address", "freeze", "folio"],
    "copy_page_range": ["dst_vma", "src_vma"],
    "kpagecount_read": ["file", "buf", "count", "ppos"],
    "__page_mapcount": ["page"],
}
NEW = {
    "folio_add_anon_rmap_ptes": ["folio", "page", "nr_pages", "vma", "address", "flags"],
    "folio_add_anon_rmap_pmd": ["folio", "page", "vma", "address", "flags"],
    "folio_remove_rmap_ptes": ["folio", "page", "nr_pages", "vma"],
    "folio_remove_rmap_pmd": ["folio", "page", "vma"],
    "__split_huge_pmd": ["vma", "pmd", "address", "freeze"],
}


#: Functions that take and drop pins, as 7.2 has them, and older ones; and what they return.
PINS = {
    "try_grab_folio": ["folio", "refs", "flags"],
    "try_grab_folio_fast": ["page", "refs", "flags"],
    "folio_add_pin": ["folio"],
    "folio_add_pins": ["folio", "pins"],
    "gup_put_folio": ["folio", "refs", "flags"],
    "unpin_user_page": ["page"],
    "unpin_user_folio": ["folio", "npages"],
}
OLD_PINS = {
    "try_grab_folio": ["page", "refs", "flags"],
    "try_grab_page": ["page", "flags"],
    "gup_put_folio": ["folio", "refs", "flags"],
}
RETURNS = {
    **{"try_grab_folio": "int", "try_grab_folio_fast": "pointer", "try_grab_page": "bool"},
    **{"folio_add_pin": "void", "folio_add_pins": "int"},
}

HELPERS = {"BPF_FUNC_get_func_arg": 183, "BPF_FUNC_get_func_ret": 184}


class FakeBtf:
    source = "btf"
    unknown_function = "BTF does not know its arguments"

    def __init__(self, functions, helpers=HELPERS):
        self.functions = functions
        self.helpers = helpers

    def enumerators(self, enum):
        return self.helpers if enum == "bpf_func_id" else {}

    def parameters(self, function):
        return self.functions.get(function)

    def returns(self, function):
        return RETURNS.get(function, "")


class FakeKcore:
    def read(self, address, size):
        return b"\xf0\xff\x40\x30".ljust(size, b"\x90")


def symbols_of(tmp_path, names, smp=True):
    path = tmp_path / "kallsyms"
    names = [*names, *["smp_call_function_many"] * smp]
    path.write_text("".join(f"{0x1000 + i * 0x100:016x} t {n}\n" for i, n in enumerate(names)))
    symbols = Symbols(str(path))
    # The machine's own tracefs must not have a say in this test.
    symbols._traceable, symbols._blacklist = None, set()
    return symbols


def layout_of(double_map, page_counts=True):
    fields = {"mapcount": 48, "entire": 84}
    bits = {"double_map": double_map, "foll_pin": 0x80000}
    return Layout("btf", 64, 0, fields, bits, False, {}, page_counts)


def plan_of(tmp_path, functions, double_map=6, more=()):
    symbols = symbols_of(tmp_path, [*functions, *more])
    return resolve(FakeBtf(functions), symbols, FakeKcore(), layout_of(double_map))


def calls(plan, function):
    return [(p.handler, p.values) for p in plan.probes if p.function == function]


def test_plan_when_the_kernel_has_the_page_functions(tmp_path):
    # GIVEN the functions of the compound_mapcount era
    plan = plan_of(tmp_path, OLD)
    # THEN a PMD mapping is told by the function's own argument
    assert calls(plan, "page_remove_rmap") == [
        ("on_point_by_flags", (given(0), given(1), known(1), given(2), number(0xFF), known(0)))
    ]
    assert calls(plan, "page_add_anon_rmap")[0][1][-3:-1] == (given(3), number(2))
    # AND the address is an argument, or follows from the folio's index (0)
    assert calls(plan, "page_add_anon_rmap")[0][1][-1] == given(2)
    # AND one function that serves several operations is attached once
    assert len(calls(plan, "page_add_anon_rmap")) == 1
    # AND the PMD split declares its own change
    split = [p for p in plan.probes if p.op == "split_pmd"]
    assert [(p.attach, p.phase, p.delta) for p in split] == [
        (KPROBE, "enter", -1),
        (KRETPROBE, "return", 0),
    ]


def test_plan_when_the_kernel_has_the_folio_functions(tmp_path):
    # GIVEN the functions of the _large_mapcount era
    plan = plan_of(tmp_path, NEW, double_map=None)
    # THEN batches carry their number of pages
    assert calls(plan, "folio_remove_rmap_ptes") == [
        ("on_point", (given(1), given(3), given(2), constant("PTE"), known(0)))
    ]
    # AND the PMD split declares nothing: its parts are records of their own
    assert [p.delta for p in plan.probes if p.op == "split_pmd"] == [0, 0]


@pytest.mark.parametrize(
    ("inner", "probed"),
    [
        ({}, ["__split_huge_pmd", "split_huge_pmd_locked"]),
        ({"__split_huge_pmd_locked": ["vma", "pmd", "haddr"]}, ["__split_huge_pmd_locked"]),
    ],
)
def test_plan_when_reclaim_splits_pmds_itself(tmp_path, inner, probed):
    # GIVEN a kernel where reclaim calls split_huge_pmd_locked(), whose inner function the compiler
    # put into its callers, or did not
    functions = NEW | {"split_huge_pmd_locked": ["vma", "address", "pmd", "freeze", "folio"]}
    plan = plan_of(tmp_path, functions | inner, double_map=None)
    # THEN each split is told: by both callers, or by the function that both call
    entries = [p for p in plan.probes if p.op == "split_pmd" and p.phase == "enter"]
    assert [p.function for p in entries] == probed
    # AND none declares a change
    assert {p.delta for p in entries} == {0}


@pytest.mark.parametrize(("smp", "at"), [(True, 0), (False, 1)])
def test_plan_when_the_kernel_is_built_for_one_cpu(tmp_path, smp, at):
    # GIVEN a kernel with CONFIG_SMP, and one without, in which no update is locked
    symbols = symbols_of(tmp_path, OLD, smp)
    plan = resolve(FakeBtf(OLD), symbols, FakeKcore(), layout_of(6))
    # THEN fork's copy is probed where its instruction begins
    sites = [probe for probe in plan.probes if probe.handler == "on_site"]
    assert {(site.function, site.offset) for site in sites} == {("copy_page_range", at)}


def test_plan_when_a_reader_counts_only_inside_its_bracket(tmp_path):
    # GIVEN kpagecount_read and __page_mapcount
    plan = plan_of(tmp_path, OLD)
    bracket = next(p.id for p in plan.probes if p.function == "kpagecount_read")
    # THEN the second refers to the first one's entry, and its own return to its own
    entered, returned = (p for p in plan.probes if p.function == "__page_mapcount")
    assert (entered.handler, entered.values) == ("on_read", (given(0), number(1)))
    assert (entered.entry, returned.entry) == (bracket, entered.id)


def test_plan_when_walks_of_page_tables_ask_for_map_counts(tmp_path):
    # GIVEN a kernel in which smaps, pagemap and the reader of kpagecount call __page_mapcount()
    plan = plan_of(tmp_path, OLD, more=("smaps_pte_range", "pagemap_pmd_range"))
    asks = [probe for probe in plan.probes if probe.handler == "on_ask"]
    # THEN each has a probe of its own there, inside its bracket
    assert [probe.within for probe in asks] == ["smaps_pte_range", "pagemap_pmd_range"]
    assert [plan.probes[probe.entry].function for probe in asks] == [p.within for p in asks]
    assert {probe.function for probe in asks} == {"__page_mapcount"}
    assert [p.as_json()["within"] for p in asks] == ["smaps_pte_range", "pagemap_pmd_range"]
    # AND the brackets are told of only where something is found
    assert all(calls(plan, probe.within)[0][1][-1] == number(1) for probe in asks)
    # AND a kernel that asks inline has neither, and lacks nothing
    newer = plan_of(tmp_path, NEW, more=("smaps_pte_range",), double_map=None)
    assert not [probe for probe in newer.probes if probe.function == "smaps_pte_range"]
    assert not [gap for gap in newer.missing if gap.op == "ask"]


def test_plan_when_the_bracket_of_a_reader_is_missing(tmp_path):
    # GIVEN a kernel without /proc/kpagecount, in which zapping calls __page_mapcount()
    functions = {name: given for name, given in OLD.items() if name != "kpagecount_read"}
    plan = plan_of(tmp_path, functions)
    # THEN it is not taken for a reader, and the gap is told
    assert not [probe for probe in plan.probes if probe.function == "__page_mapcount"]
    gaps = [gap for gap in plan.missing if "__page_mapcount" in gap.functions]
    assert [gap.reason for gap in gaps] == ["no probe on kpagecount_read, which calls it"]


def test_plan_when_operations_lie_in_a_deferred_bracket(tmp_path):
    # GIVEN fork's copies of PMDs, inside its bracket
    plan = plan_of(tmp_path, OLD, more=("copy_huge_pmd",))
    bracket = next(p.id for p in plan.probes if p.function == "copy_page_range")
    # THEN the bracket waits for one of them, which tells of it; a reader's does not wait
    assert calls(plan, "copy_page_range")[0][1][-1] == number(1)
    assert calls(plan, "kpagecount_read")[0][1][-1] == number(0)
    assert calls(plan, "copy_huge_pmd")[0][1][-1] == number(1)
    entries = [p.entry for p in plan.probes if p.function == "copy_huge_pmd"]
    assert entries[0] == bracket


def test_plan_when_functions_are_missing(tmp_path):
    # GIVEN a kernel without stable_page_flags and copy_hugetlb_page_range
    plan = plan_of(tmp_path, OLD)
    # THEN each is named, with what becomes invisible
    told = {str(m) for m in plan.missing}
    assert any(t.startswith("stable_page_flags: no such symbol; not seen: readers") for t in told)
    assert any(t.startswith("copy_hugetlb_page_range: no such symbol") for t in told)
    # AND an optional one is not
    assert not any("folio_remove_rmap_pud" in t for t in told)


@pytest.mark.parametrize(
    ("more", "task", "planned"),
    [
        (("tracing_mark_fops",), {}, True),
        ((), {"files": 8, "fdt": 16, "fd": 24}, True),  # found at the boot
        ((), {}, False),
    ],
)
def test_plan_when_the_marks_operations_have_no_symbol(tmp_path, more, task, planned):
    # GIVEN a kernel that names what tells a mark, or lets it be found, or neither
    symbols = symbols_of(tmp_path, ["vfs_write", *more])
    layout = replace(layout_of(6), task=task)
    # WHEN the plan is made
    plan = resolve(FakeBtf(["vfs_write"]), symbols, FakeKcore(), layout)
    # THEN marks are looked for unless there is no way, which is told
    assert [probe.op for probe in plan.probes if probe.function == "vfs_write"] == (
        ["mark"] if planned else []
    )
    assert any(missing.op == "mark" for missing in plan.missing) == (not planned)


def test_plan_when_btf_does_not_know_a_function(tmp_path):
    # GIVEN a symbol whose arguments BTF does not list
    plan = plan_of(tmp_path, OLD, more=["stable_page_flags"])
    # THEN it is missing, not guessed
    assert not calls(plan, "stable_page_flags")
    assert any("BTF does not know its arguments" in str(m) for m in plan.missing)


def test_plan_when_a_static_function_is_in_no_header(tmp_path):
    # GIVEN headers instead of BTF, and a static function whose first parameter is known
    types = FakeBtf(OLD)
    types.source, types.unknown_function = "headers", "no header declares its arguments"
    symbols = symbols_of(tmp_path, [*OLD, "get_kpage_count", "stable_page_flags"])
    plan = resolve(types, symbols, FakeKcore(), layout_of(6))
    # THEN it is attached by what is known
    handler, values = calls(plan, "get_kpage_count")[0]
    assert handler == "on_read" and values[0] == given(0)
    # AND one of which nothing is known is missing
    assert any("no header declares its arguments" in str(m) for m in plan.missing)


def test_plan_when_gcc_renamed_a_static_function(tmp_path):
    # GIVEN headers instead of BTF, and a renamed copy of a static function
    types = FakeBtf(OLD)
    types.source = "headers"
    symbols = symbols_of(tmp_path, [*OLD, "get_kpage_count.isra.0"])
    # THEN its arguments may be others: it is not attached
    plan = resolve(types, symbols, FakeKcore(), layout_of(6))
    assert not calls(plan, "get_kpage_count.isra.0")


@pytest.mark.parametrize(
    "variant, attached",
    [
        ("isra.0", True),
        ("llvm.10993924852687019446", True),
        ("part.0", False),
        ("cold", False),
        ("llvm.10993924852687019446.cold", False),
    ],
)
def test_plan_when_the_compiler_renamed_a_function(tmp_path, variant, attached):
    # GIVEN a function that exists only as a variant of itself
    functions = {**OLD}
    parameters = functions.pop("page_remove_rmap")
    btf = FakeBtf({**functions, "page_remove_rmap": parameters})
    symbols = symbols_of(tmp_path, [*functions, f"page_remove_rmap.{variant}"])
    plan = resolve(btf, symbols, FakeKcore(), layout_of(6))
    # THEN whole copies are attached, parts never
    assert bool(calls(plan, f"page_remove_rmap.{variant}")) == attached


def test_plan_when_an_inlined_update_is_in_the_text(tmp_path):
    # GIVEN lock incl 0x30(%rax) at the start of copy_page_range
    plan = plan_of(tmp_path, OLD, more=["zzz_next"])
    sites = [p for p in plan.probes if p.op == "dup" and p.phase == "point"]
    # THEN it is probed there, with the page in that register
    assert [(p.function, p.offset) for p in sites] == [("copy_page_range", 0)]
    assert sites[0].handler == "on_site" and sites[0].values[0] == register("ax")


@pytest.mark.parametrize(
    ("name", "handlers"),
    [
        ("folio_try_dup_anon_rmap_ptes", ["on_copy", "on_copy_refused"]),
        ("__folio_dup_file_rmap", ["on_site"]),
    ],
)
def test_plan_when_the_compiler_emitted_an_inline_function(tmp_path, name, handlers):
    # GIVEN a kernel whose copy_page_range() calls a function that is inline in others
    symbols = symbols_of(tmp_path, [*OLD, name, "zzz_next"])
    kcore = CallingKcore(symbols, {"copy_page_range": name})
    plan = resolve(FakeBtf(OLD), symbols, kcore, layout_of(6))
    # THEN the call is probed, with its page and number of pages, inside the bracket of fork
    bracket = next(p.id for p in plan.probes if p.function == "copy_page_range")
    made = [p for p in plan.probes if p.entry == bracket and p.handler in handlers]
    assert [(p.handler, p.op, p.delta, p.offset) for p in made] == [
        (handlers[0], "dup", 1, 0),
        *[(handler, "unmap", -1, 5) for handler in handlers[1:]],
    ]
    assert made[0].values[:2] == (argument(1), argument(2))
    # AND where it may refuse, that is the next probe
    assert [p.id for p in made] == list(range(made[0].id, made[0].id + len(made)))
    assert not [m for m in plan.missing if name in m.functions]


@pytest.mark.parametrize(("times", "reason"), [(1, "no call of it"), (2, "several functions")])
def test_plan_when_an_emitted_function_cannot_be_followed(tmp_path, times, reason):
    # GIVEN an inline function that the compiler emitted, of which no call is found, or several
    name = "__folio_dup_file_rmap"
    symbols = symbols_of(tmp_path, [*OLD, *[name] * times, "zzz_next"])
    plan = resolve(FakeBtf(OLD), symbols, FakeKcore(), layout_of(6))
    # THEN it is told, and fork's brackets are all recorded
    assert [str(m) for m in plan.missing if name in m.functions and reason in str(m)]
    assert not plan.sees("dup", COPIES)


@pytest.mark.parametrize(
    ("function", "name", "op", "delta"),
    [
        ("hugetlb_fault", "hugetlb_add_file_rmap", "map", 1),
        ("copy_hugetlb_page_range", "hugetlb_add_file_rmap", "dup", 1),
        ("hugetlb_wp", "hugetlb_remove_rmap", "unmap", -1),
    ],
)
def test_plan_when_the_compiler_emitted_an_update_of_hugetlb(tmp_path, function, name, op, delta):
    # GIVEN a kernel in which hugetlb calls a function that is inline in others
    symbols = symbols_of(tmp_path, [*OLD, function, name, "zzz_next"])
    kcore = CallingKcore(symbols, {function: name})
    plan = resolve(FakeBtf(OLD), symbols, kcore, layout_of(6))
    # THEN the call is probed, with its folio, and the folio has to be of hugetlb
    made = [p for p in plan.probes if p.function == function and p.op == op]
    assert [(p.handler, p.delta, p.offset) for p in made] == [("on_site", delta, 0)]
    assert made[0].values[:4] == (
        *(argument(0), number(0)),
        *(constant("PMD"), constant("BIT_HUGETLB")),
    )
    assert not [m for m in plan.missing if name in m.functions]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["hugetlb_add_file_rmap"] * 2, {"map": "several functions", "dup": "several functions"}),
        (["hugetlb_remove_rmap"] * 2, {"unmap": "several functions"}),
        (["hugetlb_remove_rmap"], {"unmap": "no call of it"}),
        (["hugetlb_try_dup_anon_rmap"], {"dup": "its result is not looked at"}),
    ],
)
def test_plan_when_an_emitted_update_of_hugetlb_cannot_be_followed(tmp_path, names, told):
    # GIVEN such a function of which there are several, or no call is found, or that may refuse
    symbols = symbols_of(tmp_path, [*OLD, *names, "zzz_next"])
    plan = resolve(FakeBtf(OLD), symbols, FakeKcore(), layout_of(6))
    # THEN it is told, for each operation that it makes
    missing = {m.op: m.reason for m in plan.missing if names[0] in m.functions}
    assert set(missing) == set(told) and all(told[op] in missing[op] for op in told)
    # AND if it is a copy, fork's brackets are all recorded
    assert plan.sees("dup", COPIES) == ("dup" not in told)


@pytest.mark.parametrize("page_counts", [False, None])
def test_plan_when_single_pages_are_not_counted(tmp_path, page_counts):
    # GIVEN a kernel that does not count the pages of a large folio, or of which that is unknown
    symbols = symbols_of(tmp_path, NEW)
    layout = layout_of(None, page_counts)
    told = {m.op: str(m) for m in resolve(FakeBtf(NEW), symbols, FakeKcore(), layout).missing}
    # THEN it is told where the counts come from, and that fork's copies are not seen
    assert "_mapcount" in told["counters"] and "operations alone" in told["counters"]
    assert "PTE mappings copied by fork, of large folios" in told["dup"]


def test_ids_when_the_plan_is_complete(tmp_path):
    # GIVEN a plan, THEN ids count from 0, as the kernel side's arrays do
    plan = plan_of(tmp_path, OLD)
    assert [p.id for p in plan.probes] == list(range(len(plan.probes)))


class Traced:
    """Symbols of a kernel whose functions can be traced at their entries, unless ENTRY is None."""

    def __init__(self, entry=FTRACE_ENTRY):
        self.address = {entry: 0}


def test_attachment_when_the_kernel_has_fentry(tmp_path):
    # GIVEN a plan of kprobes
    plan = plan_of(tmp_path, OLD)
    # WHEN the kernel offers fentry and fexit
    other = by_trampoline(plan, FakeBtf(OLD), Traced())
    # THEN whole functions are entered and left by them
    attach = {(p.function, p.phase): p.attach for p in other.probes if not p.offset}
    assert attach["page_remove_rmap", "point"] == FENTRY
    assert attach["kpagecount_read", "return"] == FEXIT
    # AND one with more arguments than registers is not, nor is an instruction inside one
    assert attach["copy_huge_pmd", "enter"] == KPROBE
    assert attach["copy_huge_pmd", "return"] == KRETPROBE
    assert [p.attach for p in other.probes if p.op == "dup" and p.phase == "point"] == [KPROBE]
    # AND the records are the same
    assert [(p.id, p.handler, p.values) for p in other.probes] == [
        (p.id, p.handler, p.values) for p in plan.probes
    ]


def test_attachment_when_a_function_takes_any_number_of_arguments(tmp_path):
    # GIVEN panic(), whose last parameter is "..." and has no name THEN a kprobe stays
    types = {**OLD, "panic": ["fmt", ""]}
    plan = by_trampoline(plan_of(tmp_path, types), FakeBtf(types), Traced())
    assert [p.attach for p in plan.probes if p.function == "panic"] == [KPROBE]


def test_attachment_when_the_kernel_cannot_give_a_trampolines_arguments(tmp_path):
    # GIVEN a kernel without bpf_get_func_arg() THEN kprobes stay
    plan = plan_of(tmp_path, OLD)
    assert by_trampoline(plan, FakeBtf(OLD, {}), Traced()).probes == plan.probes


def test_attachment_when_the_kernel_has_no_dynamic_ftrace(tmp_path):
    # GIVEN a kernel that has fentry's helpers, and no code for its functions' entries to call
    plan = plan_of(tmp_path, OLD)
    # THEN kprobes stay: it would refuse each fentry
    assert by_trampoline(plan, FakeBtf(OLD), Traced(None)).probes == plan.probes


def test_catalogue_when_read():
    # GIVEN every row, THEN it says what its absence hides
    assert all(row.lost for row in (*HOOKS, *SITES))


def test_plan_when_no_trace_takes_more():
    # GIVEN a plan of as many probes as a trace's header may name
    plan = Plan()
    what = {"function": "f", "attach": KPROBE, "offset": 0, "op": "map"}
    for _ in range(limits.PROBES):
        plan.add(**what, handler="on_point", values=(), phase="point", group="rmap")
    # WHEN one more is added THEN nothing is recorded that no reader would take
    with pytest.raises(ProbeError, match="more than 4096 probes"):
        plan.add(**what, handler="on_point", values=(), phase="point", group="rmap")


class CallingKcore(FakeKcore):
    """Text of functions at which nothing is but a call of another; ``calls``: by address."""

    def __init__(self, symbols, calls):
        self.target = {symbols.address[a]: symbols.address[b] for a, b in calls.items()}

    def read(self, address, size):
        if address not in self.target:
            return super().read(address, size)
        distance = self.target[address] - (address + 5)
        return (b"\xe8" + distance.to_bytes(4, "little", signed=True)).ljust(size, b"\x90")


def pins_of(tmp_path, functions, **calls_of):
    symbols = symbols_of(tmp_path, functions)
    kcore = CallingKcore(symbols, calls_of)
    plan = resolve(FakeBtf(functions), symbols, kcore, layout_of(None))
    return plan, [probe for probe in plan.probes if probe.group == "pins"]


def test_pins_when_the_kernel_inlines_nothing(tmp_path, monkeypatch):
    # GIVEN functions that call those which take and drop pins
    monkeypatch.setattr(arch, "here", lambda: x86_64)
    plan, probes = pins_of(
        tmp_path, PINS, folio_add_pins="try_grab_folio", unpin_user_page="gup_put_folio",
        unpin_user_folio="gup_put_folio",
    )  # fmt: skip
    # THEN these alone are attached; what was asked for is told at the return, if it was had
    assert [(p.function, p.handler, p.phase, p.after) for p in probes] == [
        ("try_grab_folio", "on_grab", "enter", False),
        ("try_grab_folio", "on_grabbed", "point", True),
        ("try_grab_folio_fast", "on_grab", "enter", False),
        ("try_grab_folio_fast", "on_grabbed", "point", True),
        ("folio_add_pin", "on_grab", "enter", False),
        ("folio_add_pin", "on_grabbed", "point", True),
        ("gup_put_folio", "on_unpin", "point", False),
    ]
    assert [p.entry for p in probes if p.handler == "on_grabbed"] == [0, 2, 4]
    # AND each is asked by what it returns
    returns = [p.values[1].what for p in probes if p.handler == "on_grabbed"]
    assert returns == ["RETURNS_INT", "RETURNS_POINTER", "RETURNS_VOID"]
    # AND where nothing says whether it is a pin, it is one
    assert probes[4].values == (given(0), known(1), constant("GUP_PIN"))
    assert probes[6].values == (given(0), given(1), argument(2))
    assert not any(gap.op in PIN_OPS for gap in plan.missing)


def test_pins_when_the_kernel_inlines_some(tmp_path, monkeypatch):
    # GIVEN callers that have a copy of them instead
    monkeypatch.setattr(arch, "here", lambda: x86_64)
    plan, probes = pins_of(
        tmp_path, {**PINS, "memfd_pin_folios": ["memfd"]}, unpin_user_page="gup_put_folio"
    )
    # THEN they are attached themselves
    attached = {(probe.function, probe.handler) for probe in probes}
    assert ("folio_add_pins", "on_grabbed") in attached
    assert ("unpin_user_folio", "on_unpin") in attached
    assert ("unpin_user_page", "on_unpin") not in attached
    # AND the one that pins many folios at once is named
    (gap,) = (gap for gap in plan.missing if gap.op == "pin")
    assert gap.functions == ("memfd_pin_folios",) and "inlined" in gap.reason


def test_pins_when_the_kernel_is_older(tmp_path, monkeypatch):
    # GIVEN functions by their former names
    monkeypatch.setattr(arch, "here", lambda: x86_64)
    _, probes = pins_of(tmp_path, OLD_PINS)
    found = [(p.function, p.values[1].what) for p in probes if p.handler == "on_grabbed"]
    # THEN each is attached once, and asked by what it returned then
    assert [name for name, _ in found] == ["try_grab_page", "try_grab_folio"]
    assert found[0][1] == "RETURNS_BOOL"


@pytest.mark.parametrize(
    ("more", "attached"),
    [
        ({}, "unpin_user_page"),
        ({"unpin_user_page_range_dirty_lock": ["page"]}, "put_compound_head"),
    ],
)
def test_unpins_when_a_function_is_not_for_all_of_them(tmp_path, monkeypatch, more, attached):
    # GIVEN put_compound_head(), which drops the pins of all only from some version on
    monkeypatch.setattr(arch, "here", lambda: x86_64)
    functions = {"put_compound_head": ["page", "refs", "flags"], "unpin_user_page": ["page"]}
    _, probes = pins_of(tmp_path, functions | more)
    # THEN what else the kernel has decides
    assert [probe.function for probe in probes] == [attached]


def test_pins_when_types_do_not_tell_the_flag(tmp_path):
    # GIVEN a kernel of which FOLL_PIN is not known
    layout = replace(layout_of(None), bits={"double_map": None})
    plan = resolve(FakeBtf(PINS), symbols_of(tmp_path, PINS), FakeKcore(), layout)
    # THEN no pin can be told from a reference, and that is said
    assert not any(probe.op in PIN_OPS for probe in plan.probes)
    assert {gap.op for gap in plan.missing} >= set(PIN_OPS)
    assert any("FOLL_PIN" in gap.reason for gap in plan.missing)


@pytest.mark.parametrize(
    ("returns", "result"), [("void", number(0)), ("int", RESULT)], ids=["void", "int"]
)
def test_moves_when_a_function_returns_nothing(tmp_path, monkeypatch, returns, result):
    # GIVEN functions by which a migration unmaps and moves a folio
    functions = {"try_to_migrate": ["folio", "flags"], "move_to_new_folio": ["dst", "src", "mode"]}
    monkeypatch.setitem(RETURNS, "try_to_migrate", returns)
    _, probes = pins_of(tmp_path, functions)
    by_function = {
        name: [(p.handler, p.values[0]) for p in probes if p.function == name] for name in functions
    }
    # THEN the folio is the one that is to go, and what returns nothing has no result
    assert by_function["try_to_migrate"] == [("on_enter", given(0)), ("on_return", result)]
    assert by_function["move_to_new_folio"] == [("on_enter", given(1)), ("on_return", RESULT)]
