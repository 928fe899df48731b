# SPDX-License-Identifier: GPL-2.0-or-later
"""The header's probe plan as arrays that are indexed by a record's probe id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from analysis.arrays import Bools, Ints
from probes.events import MARK_FIRST, MARKS, OPS, PHASES, PIN_OPS

OP = {name: code for code, name in enumerate(OPS)}
POINT, ENTER, RETURN = range(len(PHASES))


def among(op: Ints, names: Iterable[str]) -> Bools:
    """A mask of the operations that are among those named."""
    table = np.zeros(len(OPS) + 1, dtype=bool)  # the last is for -1, which is none
    table[[OP[name] for name in names]] = True
    found: Bools = table[op]
    return found


class Plan:
    """What each probe of the recording stands for.

    The arrays have one element per possible probe id; an id that the plan does not know
    has op -1.
    """

    def __init__(self, header: dict[str, Any]) -> None:
        self.entries: list[dict[str, Any]] = list(header.get("plan", []))
        self.missing: list[dict[str, Any]] = list(header.get("missing", []))
        #: Each page of a large folio has a map count of its own; else (CONFIG_NO_PAGE_MAPCOUNT)
        #: only pages of order 0 have, and what others have comes from the operations alone.
        self.page_counts = "mapcount" in header.get("counters", ["mapcount"])
        #: Whole-folio mappings are not counted, but mapped pages are summed up.
        self.sums_pages = "total_mapped_pages" in header.get("counters", ())
        #: Records of operations have a place (`record --where`).
        self.where = bool((header.get("filters") or {}).get("where"))
        functions = [str(entry["function"]) for entry in self.entries]
        self.functions = list(dict.fromkeys([*functions, *MARKS.values()]))
        self.sites = list(dict.fromkeys(e["site"] for e in self.entries if e.get("site")))
        function_code = {name: code for code, name in enumerate(self.functions)}
        site_code = {name: code for code, name in enumerate(self.sites)}
        ops = {entry["op"] for entry in self.entries}
        gaps = [gap for gap in self.missing if gap["op"] in PIN_OPS]
        #: Who takes pins and who drops them was recorded by all probes that it takes; of files'
        #: folios, too.  memfd_pin_folios() pins no others.
        self.tells_file_pins = ops >= set(PIN_OPS) and not gaps
        self.tells_pins = ops >= set(PIN_OPS) and all(
            gap["functions"] == ["memfd_pin_folios"] for gap in gaps
        )
        self._by_id = {entry["id"]: entry for entry in reversed(self.entries)}
        size = 1 << 16
        self.op = np.full(size, -1, np.int8)
        self.phase = np.zeros(size, np.int8)
        self.delta = np.zeros(size, np.int8)
        self.after = np.zeros(size, bool)
        self.function = np.full(size, -1, np.int32)
        self.site = np.full(size, -1, np.int32)
        #: The function maps anonymous pages: the folio's own bit is set inside it, too late
        #: for a probe at its entry.
        self.maps_anon = np.zeros(size, bool)
        for entry in self.entries:
            probe = int(entry["id"])
            self.op[probe] = OP.get(entry["op"], -1)
            self.phase[probe] = PHASES.index(entry.get("phase", "point"))
            self.delta[probe] = int(entry.get("delta") or 0)
            self.after[probe] = bool(entry.get("after"))
            self.function[probe] = function_code[entry["function"]]
            self.maps_anon[probe] = entry["op"] == "map" and "anon_rmap" in entry["function"]
            if entry.get("site"):
                self.site[probe] = site_code[entry["site"]]
        for probe, name in MARKS.items():
            self.op[probe] = OP[name]
            self.function[probe] = function_code[name]

    def within(self, probe: int) -> str:
        """The function of the bracket in which alone a probe makes records; "": there is none."""
        return str(self._by_id.get(probe, {}).get("within") or "")

    def label(self, probe: int) -> str:
        """A probe's name in texts: function, site and phase."""
        if probe >= MARK_FIRST:
            return MARKS.get(probe, f"mark {probe:#x}")
        entry = self._by_id.get(probe)
        if entry is None:
            return f"probe {probe}"
        phase = "" if entry.get("phase", "point") == "point" else f" {entry['phase']}"
        return f"{entry['function']}{entry.get('site') or ''}{phase}"
