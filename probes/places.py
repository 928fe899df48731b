# SPDX-License-Identifier: GPL-2.0-or-later
"""What `record --where` lacks on a kernel: functions whose arguments do not give the address."""

from __future__ import annotations

from typing import List

from probes.layout import Layout
from probes.plan import NONE, Missing, Plan
from probes.probe import Probe, known

#: The operation of the probe that sees page-table entries moved.
MOVED = "moved"
LOST = "for which address space, and where in it"
#: Where the values of a handler have the mapping.
_VMA = {"on_point": 1, "on_point_by_flags": 1, "on_pmd_enter": 1}


def unplaced(plan: Plan, layout: Layout) -> List[Missing]:
    """The operations on mappings of a plan that have no place record."""
    probes = [probe for probe in plan.probes if probe.op in ("map", "unmap", "dup", "split_pmd")]
    needed = {"vm_start", "vm_pgoff"} <= set(layout.task)
    if layout.fields.get("index") is None or not needed:
        reason = "neither struct folio nor struct page has a field index"
        return [_missing(probe.op, probe.function, reason) for probe in probes[:1]]
    found = [
        _missing(probe.op, probe.function, reason)
        for probe in probes
        for reason in [_why_not(probe)]
        if reason
    ]
    return list(dict.fromkeys(found))


def _missing(op: str, function: str, reason: str) -> Missing:
    return Missing(op, (function,), reason, LOST)


def _why_not(probe: Probe) -> str:
    """Why a probe cannot tell the address space that it is on; hugetlb's are not asked for."""
    values = probe.values
    if probe.handler in ("on_site", "on_copy", "on_copy_refused"):
        hugetlb = probe.handler == "on_site" and values[3] != NONE
        return "" if hugetlb or probe.entry >= 0 else "nothing tells whom it is for"
    if probe.handler == "on_pmd_enter" and probe.op == "dup":
        return "" if values[3] != known(0) else "it has no argument dst_vma"
    at = _VMA.get(probe.handler)
    return "it has no argument vma" if at is not None and values[at] == known(0) else ""
