# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds what depends on the boot: the kernel's addresses, and values that follow from them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Dict, List

from probes import arch
from probes.compiled import Compiled
from probes.errors import ProbeError
from probes.hooks import MARK_OPS
from probes.kernel import Memory, text_start
from probes.memory import BpfMemory, marker_ops
from probes.plan import MARKS, Missing, Plan
from probes.probe import Probe


class Boot:
    """The values of the running kernel that compiled programs need.  Raises ProbeError."""

    def __init__(self, made: Compiled, kcore: Memory) -> None:
        self._kcore = kcore
        self.start = text_start()
        self.address: Dict[str, int] = {
            name: self.start + distance for name, distance in made.symbols.items()
        }
        #: A task in the kernel's list, and the f_op of trace_marker; 0: not known.
        self.task = self.address.get("init_task", 0)
        self.marker_ops = self.address.get(MARK_OPS, 0)
        if not self.task or not self.marker_ops:
            self._look(made.layout.task)
        self.layout = replace(made.layout, vmemmap=arch.here().vmemmap(self.address, kcore))

    def _look(self, offsets: Dict[str, int]) -> None:
        """Find without symbols what has none in a kernel without CONFIG_KALLSYMS_ALL."""
        with contextlib.suppress(ProbeError):
            own = BpfMemory()
            self.task = self.task or own.current()
            if not self.marker_ops and "fdt" in offsets:
                self.marker_ops = marker_ops(own, offsets)

    def missing(self, plan: Plan) -> List[Missing]:
        """Probes of a plan that are not possible in this boot."""
        if self.marker_ops or not any(probe.op == "mark" for probe in plan.probes):
            return []
        reason = "no such symbol, and no file of trace_marker to ask"
        return [Missing("mark", (MARK_OPS,), reason, MARKS)]

    def has_site(self, probe: Probe) -> bool:
        """Whether the inlined update of a probe is still at its address."""
        kept, machine = bytes.fromhex(probe.code), arch.here()
        at = self.address[probe.function] + probe.offset - machine.LEAD
        return machine.same_update(kept, self._kcore.read(at, machine.LEAD + len(kept)))

    @property
    def constants(self) -> Dict[str, int]:
        """The constants of the programs (probes/source.py)."""
        address = self.address.get
        return {
            "VMEMMAP": self.layout.vmemmap,
            "HUGE_ZERO": address("huge_zero_folio", address("huge_zero_page", 0)),
            "TRACE_MARKER_OPS": self.marker_ops,
            "SELF": os.getpid(),
        }
