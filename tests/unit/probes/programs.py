# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled programs for tests: two probes, a map, a constant."""

import struct

from probes.compiled import Compiled, Function, Map
from probes.digest import sources
from probes.layout import Layout
from probes.plan import Missing, Plan
from probes.probe import FENTRY, KPROBE, Probe, argument, register

BUILD_ID = "0123456789abcdef"
SITE = Probe(
    *(1, "copy_page_range", KPROBE, 7, "on_site", (register("ax"),)),
    *("dup", "point", "dup", 1, False, "f0ff4030", 0),
)


def load_64(value, kind=0):
    """The two instructions that load a 64-bit constant into r1."""
    low, high = value & 0xFFFFFFFF, value >> 32
    return struct.pack("<BBhI", 0x18, kind << 4 | 1, 0, low) + struct.pack("<BBhI", 0, 0, 0, high)


EXIT = struct.pack("<BBhI", 0x95, 0, 0, 0)


def compiled(build_id=BUILD_ID, digest=None, page_counts=True):
    """A small value of each kind that the file has to bring back."""
    entered = Probe(
        *(0, "page_remove_rmap", FENTRY, 0, "on_point", (argument(0),)),
        *("unmap", "point", "rmap", -1),
    )
    return Compiled(
        build_id=build_id,
        release="6.1.0-56-amd64",
        bcc="0.26.0",
        sources=digest or sources(),
        licence="GPL",
        symbols={"vmemmap_base": 0x1000, "copy_page_range": 0x200},
        layout=Layout("btf", 64, 0, {"flags": 0}, {"head": 16}, False, {"mm": 8}, page_counts),
        plan=Plan([entered, SITE], [Missing("read", ("stable_page_flags",), "why", "what")]),
        maps=(Map("ring", 27, 0, 0, 4096, 0), Map("cgroup", 8, 4, 4, 1, 0)),
        functions=(
            Function(
                0,
                load_64(0) + load_64(0) + load_64(0) + EXIT,
                ((0, "ring"), (4, "cgroup")),
                ((2, "VMEMMAP"),),
                btf_id=77,
            ),
            Function(1, EXIT, (), ()),
        ),
    )
