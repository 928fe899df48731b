# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels between those that are at hand: layout and plan by what their types would tell."""

import re
from dataclasses import replace

import pytest

import probes.layout
from probes.errors import ProbeError
from probes.kernel import Symbols
from probes.layout import find_layout
from probes.plan import resolve
from probes.probe import given, known, number
from probes.source import source
from tests import eras
from tests.eras import ERAS

by_era = pytest.mark.parametrize("era", ERAS, ids=lambda era: era.release)
#: Operations on map counts, each of which the plan has to see.
COUNTED = ("map", "unmap", "split_pmd", "split_folio", "deferred_split", "dup", "fork")


class EraTypes:
    source = "btf"
    unknown_function = "BTF does not know its arguments"

    def __init__(self, era):
        self.era = era

    def size(self, struct):
        return 64 if struct in self.era.types else None

    def offset(self, struct, field):
        # Structs that have nothing to do with map counts have every field.
        return self.era.types[struct].get(field) if struct in self.era.types else 16

    def enumerators(self, enum):
        return self.era.enums.get(enum, {})

    def enumerator(self, name):
        return None

    def parameters(self, function):
        return self.era.functions.get(function)


class EraKcore:
    def u64(self, address):
        return 0xFFFFEA0000000000

    def read(self, address, size):
        # lock incl 0x30(%rax): fork's copy of a PTE
        return b"\xf0\xff\x40\x30".ljust(size, b"\x90")


@pytest.fixture
def symbols_of(tmp_path):
    def make(era):
        path = tmp_path / "kallsyms"
        names = ["vmemmap_base", *era.functions, "smp_call_function_many", "the_end"]
        lines = (f"{0x1000 + 0x100 * i:016x} t {name}\n" for i, name in enumerate(names))
        path.write_text("".join(lines))
        symbols = Symbols(str(path))
        # The machine's own tracefs must not have a say in this test.
        symbols._traceable, symbols._blacklist = None, set()
        return symbols

    return make


@pytest.fixture(autouse=True)
def with_page_counts(monkeypatch):
    monkeypatch.setattr(probes.layout, "built_with", lambda option: False)


@pytest.fixture
def layout_of(symbols_of):
    return lambda era: find_layout(EraTypes(era), symbols_of(era), EraKcore())


@pytest.fixture
def plan_of(symbols_of, layout_of):
    return lambda era: resolve(EraTypes(era), symbols_of(era), EraKcore(), layout_of(era))


def calls(plan, function):
    return [probe.values for probe in plan.probes if probe.function == function]


@by_era
def test_layout_when_the_era_is_between(layout_of, era):
    # GIVEN the types of an era WHEN its layout is looked for
    layout = layout_of(era)
    # THEN each counter is where the era has it, and no other is
    assert {name: layout.fields[name] for name in era.fields} == era.fields
    assert layout.counters == era.counters
    # AND a hugetlb folio is told in the era's way alone
    told = {name: bit for name, bit in layout.bits.items() if name.startswith("hugetlb")}
    assert {name: bit for name, bit in told.items() if bit is not None} == era.hugetlb
    assert layout.bits["double_map"] is None


@by_era
def test_layout_when_the_era_lacks_a_field(layout_of, era):
    # GIVEN an era without one of the fields that hold its counters THEN the error names it
    for struct, name in (("page", "compound_mapcount"), ("folio", "_entire_mapcount"),
                         ("folio", "_total_mapped_pages")):  # fmt: skip
        if name in era.types[struct]:
            fields = {k: v for k, v in era.types[struct].items() if k != name}
            with pytest.raises(ProbeError, match=name):
                layout_of(replace(era, **{struct: fields}))


@by_era
def test_plan_when_the_era_is_between(plan_of, era):
    # GIVEN the functions of an era WHEN the plan is made
    plan = plan_of(era)
    # THEN every change of a map count is seen, a change of the whole by its own function
    assert {probe.op for probe in plan.probes} >= set(COUNTED)
    assert not [str(lack) for lack in plan.missing if lack.op in ("map", "unmap", "split_folio")]
    assert [p.function for p in plan.probes if p.op == "split_folio"] == [era.splits] * 2
    # AND no PMD split declares a change: what it does are rmap calls
    assert {probe.delta for probe in plan.probes if probe.op == "split_pmd"} == {0}


def test_plan_when_file_pages_are_mapped_in_batches(plan_of):
    # GIVEN folio_add_file_rmap_range(), which page_add_file_rmap() only calls
    plan = plan_of(eras.BATCHED)
    # THEN it alone is attached, once, with its number of pages where it maps by PTEs
    assert not calls(plan, "page_add_file_rmap")
    assert calls(plan, "folio_add_file_rmap_range") == [
        (given(1), given(3), given(2), given(4), number(0xFF), known(0))
    ]
    (probe,) = [p for p in plan.probes if p.function == "folio_add_file_rmap_range"]
    assert probe.handler == "on_point_by_flags"


@pytest.mark.parametrize(
    "era, takes", [(eras.SUBPAGES, "page"), (eras.IN_FOLIO, "folio"), (eras.BATCHED, "folio")]
)
def test_plan_when_hugetlb_functions_got_a_folio(plan_of, era, takes):
    # GIVEN a function that took a page, and then a folio, under one name
    assert era.functions["hugepage_add_new_anon_rmap"][0] == takes
    # THEN it is attached by what it takes
    assert len(calls(plan_of(era), "hugepage_add_new_anon_rmap")) == 1


def test_plan_when_nothing_counts_pages(plan_of):
    # GIVEN the announced kernel THEN it is told why the pages have no counts
    (told,) = [str(lack) for lack in plan_of(eras.ANNOUNCED).missing if lack.op == "counters"]
    assert "no folio._nr_pages_mapped" in told
    assert "operations alone" in told


def test_layout_when_the_kernel_has_no_hugetlb(layout_of):
    # GIVEN destructors without that of hugetlb (CONFIG_HUGETLB_PAGE=n) THEN none is told
    enums = {**eras.SUBPAGES.enums, "compound_dtor_id": {"COMPOUND_PAGE_DTOR": 1}}
    bits = layout_of(replace(eras.SUBPAGES, enums=enums)).bits
    assert {bit for name, bit in bits.items() if name.startswith("hugetlb")} == {None}


def test_layout_when_nothing_tells_hugetlb(layout_of):
    # GIVEN types that know no way to tell it, and none of the era of macros
    era = replace(eras.LARGE, enums={"pageflags": {"PG_head": 6}})
    # THEN the error names them
    with pytest.raises(ProbeError, match="PG_hugetlb nor HUGETLB_PAGE_DTOR nor PGTY_hugetlb"):
        layout_of(era)


@by_era
def test_program_when_the_era_is_between(layout_of, plan_of, era):
    # GIVEN layout and plan of an era WHEN the program is written
    plan = plan_of(era)
    text = source(plan, layout_of(era))
    constants = dict(re.findall(r"^#define (\w+) \((\d+)(?:ULL)?\)$", text, re.MULTILINE))
    # THEN it has the place of each counter, and reads as far as the last of them
    places = [at for name, at in era.fields.items() if at is not None]
    assert int(constants["FOLIO_BYTES"]) >= max(places) + 4
    wanted = {f"OFF_{name.upper()}" for name, at in era.fields.items() if at is not None}
    assert {
        name for name in constants if name in {f"OFF_{n.upper()}" for n in era.fields}
    } == wanted
    # AND what tells hugetlb
    assert {name for name in constants if "HUGETLB" in name and "BIT" not in name} == {
        {"hugetlb_flag": "PG_HUGETLB"}.get(name, name.upper()) for name in era.hugetlb
    }
