# SPDX-License-Identifier: GPL-2.0-or-later
"""`record --where`: where a mapping's address comes from, what cannot tell it, what is attached."""

from dataclasses import replace

import pytest

from probes.groups import WHERE, only_programs
from probes.layout import MOVE_CONTROL
from probes.places import LOST, unplaced
from probes.plan import resolve
from probes.probe import RESULT, argument, given, known
from tests.unit.probes.programs import compiled
from tests.unit.probes.test_plan import (
    NEW,
    OLD,
    FakeBtf,
    FakeKcore,
    calls,
    layout_of,
    plan_of,
    symbols_of,
)

PLACES = {"vm_start": 0, "vm_pgoff": 120}
#: As on 5.10: rmap's functions do not get the mapping, and fork's has that of the parent alone.
WITHOUT_VMA = {
    "page_add_file_rmap": ["page", "compound"],
    "page_remove_rmap": ["page", "compound"],
    "copy_huge_pmd": ["dst_mm", "src_mm", "dst_pmd", "src_pmd", "addr", "vma"],
    "copy_page_range": ["dst_vma", "src_vma"],
}
BY_CONTROL = {"move_page_tables": ["pmc"]}
BY_ARGUMENTS = {
    "move_page_tables": ["vma", "old_addr", "new_vma", "new_addr", "len", "need_rmap_locks"]
}


def layout_with(task, index=32):
    layout = layout_of(6)
    return replace(layout, fields={**layout.fields, "index": index}, task=task)


def reasons(plan, layout):
    return {gap.functions[0]: gap.reason for gap in unplaced(plan, layout)}


def test_plan_when_an_argument_has_the_address(tmp_path):
    # GIVEN functions that get the address, and some that do not
    plan = plan_of(tmp_path, NEW)
    # THEN it is given to the handler, or else 0
    assert calls(plan, "folio_add_anon_rmap_ptes")[0][1][-1] == given(4)
    assert calls(plan, "folio_remove_rmap_ptes")[0][1][-1] == known(0)
    # AND fork's copy is in the child's mapping, at the address that fork is at
    copies = calls(plan_of(tmp_path, OLD), "copy_huge_pmd")[0][1]
    assert copies[3:5] == (given(5), given(4))


def test_nothing_is_missing_when_each_function_has_a_mapping(tmp_path):
    # GIVEN kernels whose functions get the mapping THEN nothing is said to be missing
    for functions in (OLD, NEW):
        assert reasons(plan_of(tmp_path, functions), layout_with(PLACES)) == {}


def test_missing_when_functions_have_no_mapping(tmp_path):
    # GIVEN a kernel as 5.10 THEN each function that cannot tell is named, once, and why
    plan = plan_of(tmp_path, WITHOUT_VMA)
    assert reasons(plan, layout_with(PLACES)) == {
        "page_add_file_rmap": "it has no argument vma",
        "page_remove_rmap": "it has no argument vma",
        "copy_huge_pmd": "it has no argument dst_vma",
    }
    assert {gap.lost for gap in unplaced(plan, layout_with(PLACES))} == {LOST}


@pytest.mark.parametrize("task, index", [(PLACES, None), ({}, 32)])
def test_missing_when_the_kernel_has_no_index(tmp_path, task, index):
    # GIVEN a kernel whose folios, or mappings, do not say what lies where THEN that is said, once
    assert len(reasons(plan_of(tmp_path, NEW), layout_with(task, index))) == 1


@pytest.mark.parametrize(
    "functions, task, enter",
    [
        (BY_ARGUMENTS, {}, ("on_move_enter", (argument(0), argument(1), argument(3)))),
        (BY_CONTROL, MOVE_CONTROL, ("on_move_enter_by", (argument(0),))),
        (BY_CONTROL, {}, None),
    ],
)
def test_plan_when_page_tables_are_moved(tmp_path, functions, task, enter):
    # GIVEN the arguments of move_page_tables(), or the structure that has them, known or not
    symbols = symbols_of(tmp_path, functions)
    layout = replace(layout_of(6), task=dict.fromkeys(task, 0))
    plan = resolve(FakeBtf(functions), symbols, FakeKcore(), layout)
    # THEN its entry tells from where and where to, its return how much; or it is missing
    found = calls(plan, "move_page_tables")
    assert found == ([enter, ("on_move_return", (RESULT,))] if enter else [])
    missing = [gap for gap in plan.missing if gap.op == "moved"]
    assert bool(missing) == (enter is None)


@pytest.mark.parametrize("where", [False, True])
def test_programs_when_places_are_asked_for(where):
    # GIVEN compiled programs, one of them of the group that only --where needs
    made = compiled()
    first, *others = made.plan.probes
    made.plan.probes[:] = [replace(first, group=WHERE, op="moved"), *others]
    # THEN it is loaded only then, and what else cannot be told is said only then
    chosen = only_programs(made, (), where)
    assert (first.id in [function.probe for function in chosen.functions]) == where
    assert any(gap.lost == LOST for gap in chosen.plan.missing) == where
