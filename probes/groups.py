# SPDX-License-Identifier: GPL-2.0-or-later
"""The groups of probes that `record --only` and `--pins` select, and what is not seen without."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Dict, List, Tuple

from probes.compiled import Compiled
from probes.events import PIN_OPS
from probes.places import MOVED, unplaced
from probes.plan import Missing, Plan

#: Allocation, free, tasks and marks: without them no record belongs to a folio's life.
ALWAYS = "life"
#: What only `record --where` attaches.
WHERE = "where"
GROUPS = {
    "rmap": "mappings added and removed",
    "dup": "mappings copied by fork",
    "split": "splits of PMD mappings and of folios",
    "collapse": "collapses by khugepaged and MADV_COLLAPSE",
    "migrate": "migrations of pages",
    "readers": "readers of /proc/kpageflags and /proc/kpagecount",
    "crash": "oopses and panics",
}

#: Attached for `record --pins` alone, with the operations that they tell of.
PINS = "pins"
OF_PINS = (*PIN_OPS, "unmap_to_move", "move")

Groups = Tuple[str, ...]


def groups_option(text: str) -> Groups:
    """The groups of a command line, GROUP[,GROUP...]."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in GROUPS:
            raise argparse.ArgumentTypeError(
                f"{name!r} is not a group of probes: write some of {', '.join(GROUPS)}"
            )
    return names


def left_out(groups: Groups) -> List[str]:
    """The groups that are not attached; without a selection all are."""
    return [name for name in GROUPS if groups and name not in groups]


def only(plan: Plan, groups: Groups, pins: bool = False) -> Plan:
    """The plan with the probes of some groups; others are missing.  Without ``pins`` the probes
    of pins are left out, and not listed as missing."""
    if not pins:
        probes = [probe for probe in plan.probes if probe.group != PINS]
        plan = Plan(probes, [gap for gap in plan.missing if gap.op not in OF_PINS])
    out = left_out(groups)
    functions: Dict[Tuple[str, str], List[str]] = {}
    for probe in plan.probes:
        if probe.group in out:
            functions.setdefault((probe.op, probe.group), []).append(probe.function)
    missing = [
        Missing(op, tuple(dict.fromkeys(names)), f"--only leaves {group} out", GROUPS[group])
        for (op, group), names in functions.items()
    ]
    kept = [probe for probe in plan.probes if probe.group not in out]
    return Plan(kept, [*plan.missing, *missing])


def only_programs(
    made: Compiled, groups: Groups, where: bool = False, pins: bool = False
) -> Compiled:
    """The compiled programs of some groups; their probes keep their ids.

    WHERE: with the probes that record where pages are mapped, and a list of those missing for it.
    PINS: with the probes of pins.
    """
    plan = only(made.plan, groups, pins)
    if where:
        plan.missing += unplaced(plan, made.layout)
    else:
        kept = [probe for probe in plan.probes if probe.group != WHERE]
        plan = Plan(kept, [gap for gap in plan.missing if gap.op != MOVED])
    ids = {probe.id for probe in plan.probes}
    functions = tuple(each for each in made.functions if each.probe in ids)
    return replace(made, plan=plan, functions=functions)
