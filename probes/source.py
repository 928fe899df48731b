# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the BPF program's C text, which depends on the kernel's build alone.

Addresses that depend on the boot, the user's options, and the probe for which a function is
loaded are constants of the loaded program: the text has a marked instruction for each, into
which the loader writes.
"""

from __future__ import annotations

import mmap
import os
import signal
from typing import Dict, Optional

from probes import arch, events, limits, stubs
from probes.counters import COUNTERS, FOLIO
from probes.layout import MOVE_CONTROL, Layout
from probes.maps import (
    CONTROL_BYTES,
    FRAME_BYTES,
    FRAME_PAGES,
    MARK_SLOTS,
    MAX_TASKS,
    MM_HINT_SHIFT,
    MM_HINTS,
    SECOND_PROGRAMS,
    SECTION_FRAMES,
    SECTIONS,
    count_words,
)
from probes.plan import Plan
from probes.probe import FENTRY, FEXIT

#: In the order of their use; "" stands for that of the machine.  What they include is for editors.
SOURCES = ("record.h", "given.h", "folio.h", "", "watch.h", "handlers.h", "pins.h")
MARK_PREFIX = b"mapcount: "
MIGRATE_MOVABLE = 1

#: The constants that the loader knows, in the order of their numbers.
PATCHED = (
    "VMEMMAP",
    "HUGE_ZERO",  # address of the variable that holds the huge zero page, 0: there is none
    "TRACE_MARKER_OPS",
    "SELF",  # the recorder's pid
    "MIN_ORDER",
    "FILTER_TASKS",
    "FILTER_CGROUP",
    "FILTER_PFN",
    "WITH_STACKS",
    "WITH_WHERE",
    "FETCHES",  # the kernel's BPF has an add that fetches
    "TYPED",  # whether the program is to load fields through its arguments (bpf/given.h)
    "CONTROL",
    "TASKS",
    "HINTS",
    "FIRST_FRAMES",
    "PROBE",  # for which a function is loaded that several share (probes/stubs.py)
    "ENTRY",  # the probe at the entry that this one refers to
    "PROG_ACTIVE",  # the kernel's variable of that name, by its id in BTF
)
#: All that the loader writes, by number; the last is in the text of next_number() (bpf/record.h).
WRITTEN = (*PATCHED, "STEP")
#: Of these constants, each of which is the address of a map's only entry: the map.
ENTRIES = {
    "CONTROL": "controls",
    "TASKS": "tasks",
    "HINTS": "mm_hints",
    "FIRST_FRAMES": "sections",
}
#: The upper half of a marked instruction's value; the lower is the constant's number.
PATCH_MARK = 0x1DEA5EED


def source(plan: Plan, layout: Layout, cgroups: bool = True) -> str:
    """The C text: constants of this kernel's build, the fixed part, the stubs.

    CGROUPS: the kernel has maps of them.
    """
    places = {"vm_start", "vm_pgoff"} <= set(layout.task)
    constants: Dict[str, Optional[int]] = {
        "RECORD_SIZE": events.RECORD_SIZE,
        "TEXT_OFFSET": events.TEXT_OFFSET,
        "TEXT_SIZE": events.TEXT_SIZE,
        "NR_PROBES": count_words(len(plan.probes)) - 1,
        "LOST_TEXT": len(plan.probes),
        "PAGE_BITS": (mmap.PAGESIZE - 1).bit_length(),
        "FRAME_SHIFT": (FRAME_PAGES - 1).bit_length(),
        "FRAME_BYTES": FRAME_BYTES,
        "SECTION_FRAMES": SECTION_FRAMES,
        "SECTIONS": SECTIONS,
        "CONTROL_BYTES": CONTROL_BYTES,
        "SECOND_PROGRAMS": SECOND_PROGRAMS,
        "WITH_SECOND_PROGRAMS": 1 if any(probe.instead >= 0 for probe in plan.probes) else None,
        "MAX_TASKS": MAX_TASKS,
        "MM_HINTS": MM_HINTS,
        "MM_HINT_SHIFT": MM_HINT_SHIFT,
        "LARGEST_ORDER": limits.ORDER,
        **_reads(layout),
        "STRUCT_PAGE": layout.struct_page,
        "TAIL_HOLDS_MASK": int(layout.tail_holds_mask),
        "OFF_FLAGS": layout.fields["flags"],
        "OFF_COMPOUND_HEAD": layout.fields["compound_head"],
        "OFF_MAPPING": layout.fields["mapping"],
        "OFF_INDEX": layout.fields.get("index") if places else None,
        "OFF_REFCOUNT": layout.fields["refcount"],
        **{
            f"OFF_{each.field.upper()}": layout.fields.get(each.field)
            for each in COUNTERS
            if not each.is_page_flag
        },
        "OFF_ORDER": layout.fields["order"],
        "OFF_DTOR": layout.fields["dtor"],
        "OFF_VM_MM": layout.task["vm_mm"],
        "OFF_VM_START": layout.task.get("vm_start"),
        "OFF_VM_PGOFF": layout.task.get("vm_pgoff"),
        **{f"OFF_{name.upper()}": layout.task.get(name) for name in MOVE_CONTROL},
        "OFF_TASK_MM": layout.task["mm"],
        "OFF_MM_ID_OF_MM": layout.task.get("mm_id"),
        "OFF_TASK_PID": layout.task["pid"],
        "OFF_TASK_TGID": layout.task["tgid"],
        "OFF_TASK_COMM": layout.task["comm"],
        "PG_HEAD": layout.bits["head"],
        "PG_RESERVED": layout.bits.get("reserved"),
        "PG_DOUBLE_MAP": layout.bits["double_map"],
        "GUP_GET": layout.bits.get("foll_get"),
        "GUP_PIN": layout.bits.get("foll_pin"),
        "PG_HUGETLB": layout.bits.get("hugetlb_flag"),
        "HUGETLB_DTOR": layout.bits["hugetlb_dtor"],
        "HUGETLB_TYPE": layout.bits["hugetlb_type"],
        "HUGETLB_TYPE_MASK": layout.bits.get("hugetlb_type_mask"),
        "OFF_FILE_F_OP": layout.task["f_op"],
        "WITH_TRAMPOLINES": 1 if any(p.attach in (FENTRY, FEXIT) for p in plan.probes) else None,
        "WITH_CGROUPS": 1 if cgroups else None,
        "NO_STACK": events.NO_STACK,
        "MIGRATE_MOVABLE": MIGRATE_MOVABLE,
        "MARK_SLOTS": MARK_SLOTS,
        "MARK_PREFIX_SIZE": len(MARK_PREFIX),
        "MARK_PREFIX": int.from_bytes(MARK_PREFIX[:8], "little"),
        "SIGSTOP": int(signal.SIGSTOP),
        "LEVEL_SHIFT": events.LEVEL_SHIFT,
        **{k: v for k, v in vars(events).items() if k.startswith("BIT_")},
        "MARK_NAMED": events.MARK_NAMED,
        "OWNER": events.OWNER,
        "PLACE": events.PLACE,
        "MOVED": events.MOVED,
        "NO_ADDRESS": events.NO_ADDRESS,
        "TASK_NEW": events.TASK_NEW,
        "TASK_RENAME": events.TASK_RENAME,
        "TASK_EXIT": events.TASK_EXIT,
        "PATCH_MARK": PATCH_MARK << 32,
        "STEP": WRITTEN.index("STEP"),
    }
    lines = ["#include <uapi/linux/ptrace.h>"]
    for name, value in constants.items():
        if value is not None:
            suffix = "ULL" if value > 0x7FFFFFFF else ""
            lines.append(f"#define {name} ({value}{suffix})")
    lines += [f"#define {name} PATCHED({number})" for number, name in enumerate(PATCHED)]
    folder = os.path.join(os.path.dirname(__file__), "bpf")
    for name in SOURCES:
        with open(os.path.join(folder, name or f"{arch.name()}.h")) as file:
            lines += [line.rstrip("\n") for line in file if not line.startswith('#include "')]
    lines += stubs.lines(plan.probes, arch.here())
    return "\n".join(lines) + "\n"


def _reads(layout: Layout) -> Dict[str, Optional[int]]:
    """How many bytes of a struct page have the fields of interest: whole words from 0 on."""
    field = layout.fields.get

    def words(*offsets: Optional[int]) -> int:
        return max(offset // 8 + 1 for offset in offsets if offset is not None) * 8

    second_flags = None
    if any(layout.bits.get(name) is not None for name in ("double_map", "hugetlb_flag")):
        second_flags = layout.struct_page + words(field("flags")) - 8
    page = words(*map(field, ("flags", "compound_head", "mapping", "mapcount", "refcount")))
    folio = words(
        second_flags,
        *map(field, ("order", "dtor")),
        *(field(each.field) for each in FOLIO if not each.pins),
    )
    return {
        "LINK_BYTES": words(field("flags"), field("compound_head")),
        "PAGE_BYTES": page,
        "FOLIO_BYTES": folio,
    }
