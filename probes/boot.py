# SPDX-License-Identifier: GPL-2.0-or-later
"""What the boot decides: where the kernel lies, and with it all that its build knows."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Dict

from probes.compiled import Compiled
from probes.hooks import MARK_OPS
from probes.kernel import Kcore, text_start
from probes.layout import vmemmap
from probes.plan import Probe
from probes.sites import same_update


class Boot:
    """The running kernel as compiled programs meet it.  Raises ProbeError."""

    def __init__(self, made: Compiled, kcore: Kcore) -> None:
        self._kcore = kcore
        self.start = text_start()
        self.address: Dict[str, int] = {
            name: self.start + distance for name, distance in made.symbols.items()
        }
        self.layout = replace(made.layout, vmemmap=vmemmap(self.address.get("vmemmap_base"), kcore))

    def has_site(self, probe: Probe) -> bool:
        """Whether the inlined update that a probe sits on is where it was when it was found."""
        kept = bytes.fromhex(probe.code)
        at = self.address[probe.function] + probe.offset
        return same_update(kept, self._kcore.read(at, len(kept)))

    @property
    def constants(self) -> Dict[str, int]:
        """As the programs have them (probes/source.py)."""
        address = self.address.get
        return {
            "VMEMMAP": self.layout.vmemmap,
            "HUGE_ZERO": address("huge_zero_folio", address("huge_zero_page", 0)),
            "TRACE_MARKER_OPS": address(MARK_OPS, 0),
            "SELF": os.getpid(),
        }
