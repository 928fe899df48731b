# SPDX-License-Identifier: GPL-2.0-or-later
"""`record --only`: fewer probes, and the trace tells what is invisible for that."""

from dataclasses import replace

import pytest

import mapcount
from analysis.doubt import BOOKED
from probes.groups import (
    ALWAYS,
    GROUPS,
    PINS,
    WHERE,
    groups_option,
    left_out,
    only,
    only_programs,
)
from probes.hooks import HOOKS
from probes.plan import KPROBE, Missing, Plan
from probes.record import Recording, Request
from tests.unit.probes.programs import compiled
from tests.unit.probes.test_record import FakeProgram


def plan_of(*probes):
    plan = Plan()
    for op, function, group in probes:
        plan.add(
            function=function, attach=KPROBE, offset=0, handler="on_point", values=(),
            op=op, phase="point", group=group,
        )  # fmt: skip
    return plan


PLAN = (
    ("map", "page_add_anon_rmap", "rmap"), ("unmap", "page_remove_rmap", "rmap"),
    ("dup", "copy_huge_pmd", "dup"), ("dup", "copy_huge_pmd", "dup"),
    ("fork", "copy_page_range", "dup"), ("split_pmd", "__split_huge_pmd", "split"),
    ("alloc", "mm_page_alloc", "life"),
)  # fmt: skip


def test_each_probe_of_the_catalogue_has_a_group_that_can_be_chosen():
    # GIVEN the catalogue THEN its groups are those of --only, the one that always is, and those of
    # --where and of --pins
    assert {hook.group for hook in HOOKS} == {ALWAYS, WHERE, PINS, *GROUPS}


def test_all_probes_when_no_group_is_chosen():
    # GIVEN a plan WHEN nothing is chosen THEN it stays as it is
    plan = only(plan_of(*PLAN), ())
    assert len(plan.probes) == len(PLAN) and not plan.missing and not left_out(())


def test_some_probes_when_groups_are_chosen():
    # GIVEN a plan WHEN some groups are chosen
    plan = only(plan_of(*PLAN), ("rmap", "readers"))
    # THEN their probes and those of folios' lives are left, with their ids
    assert [(probe.id, probe.op) for probe in plan.probes] == [
        (0, "map"),
        (1, "unmap"),
        (6, "alloc"),
    ]
    # AND what else there was is missing, each operation once, with what is invisible
    gaps = {gap.op: gap for gap in plan.missing}
    assert set(gaps) == {"dup", "fork", "split_pmd"} and len(plan.missing) == 3
    assert gaps["dup"].functions == ("copy_huge_pmd",)
    assert "--only leaves dup out" in gaps["dup"].reason and gaps["dup"].lost == GROUPS["dup"]
    # AND the audit doubts what it cannot explain without them
    assert {"dup", "split_pmd"} <= set(BOOKED)


def test_programs_when_groups_are_chosen():
    # GIVEN compiled programs of two groups WHEN one is chosen THEN only its are loaded
    made = only_programs(compiled(), ("dup",))
    assert [function.probe for function in made.functions] == [1]
    assert [probe.id for probe in made.plan.probes] == [1]
    assert [gap.op for gap in made.plan.missing] == ["read", "unmap"]


@pytest.mark.parametrize("groups", [("split",), ("readers", "dup")])
def test_recording_when_mappings_are_not_chosen(groups):
    # GIVEN a recording without the probes of mappings WHEN it attaches THEN that is no error
    recording = Recording(Request(only=groups), writer=None)
    recording.plan = only(plan_of(*PLAN), groups)
    recording.program = FakeProgram()
    recording._attach()
    assert all(probe.group in (*groups, ALWAYS) for probe in recording.plan.probes)


@pytest.mark.parametrize("text", ["bogus", "rmap,bogus", "", "life"])
@pytest.mark.parametrize("command", ["record", "top", "doctor"])
def test_an_unknown_group_is_refused_in_one_line(text, command, capsys):
    # GIVEN a name that is no group WHEN a command gets it THEN a line lists the groups
    with pytest.raises(SystemExit) as ended:
        mapcount.main([command, f"--only={text}"])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and ", ".join(GROUPS) in err


def test_groups_when_there_is_a_blank_between_them():
    assert groups_option("rmap, dup") == ("rmap", "dup")


PINNED = (
    ("map", "page_add_anon_rmap", "rmap"), ("pin", "try_grab_folio", "pins"),
    ("move", "move_to_new_folio", "pins"),
)  # fmt: skip


@pytest.mark.parametrize(("pins", "ops"), [(False, ["map"]), (True, ["map", "pin", "move"])])
@pytest.mark.parametrize("groups", [(), ("rmap",)])
def test_probes_of_pins_when_they_are_asked_for(groups, pins, ops):
    # GIVEN a plan with probes of pins, of which one is missing
    plan = plan_of(*PINNED)
    plan.missing.append(Missing("unpin", ("gup_put_folio",), "no such symbol", "pins dropped"))
    # WHEN they are asked for, or not
    chosen = only(plan, groups, pins)
    # THEN they are attached for that alone, whatever groups there are
    assert [probe.op for probe in chosen.probes] == ops
    # AND nobody misses what was not asked for
    assert [gap.op for gap in chosen.missing] == ["unpin"] * pins


@pytest.mark.parametrize("pins", [False, True])
@pytest.mark.parametrize("where", [False, True])
def test_programs_when_places_or_pins_are_asked_for(where, pins):
    # GIVEN compiled programs, one for places alone and one for pins alone
    made = compiled()
    first, second = made.plan.probes
    made.plan.probes[:] = [
        replace(first, group=WHERE, op="moved"),
        replace(second, group=PINS, op="pin"),
    ]
    # WHEN either is asked for, or both THEN each is loaded for its own option
    chosen = only_programs(made, (), where=where, pins=pins)
    asked = [first.id] * where + [second.id] * pins
    assert [function.probe for function in chosen.functions] == asked
