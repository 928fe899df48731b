# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds valid trace files from literals, for tests without a kernel.

One probe plan and one layout per era: "double_map" (as 6.1), "subpages" (as 6.2), "large" (as
6.12), "owners" (as 7.x), "uncounted" (as 7.x would be with CONFIG_NO_PAGE_MAPCOUNT) and "summed"
(as announced in April 2026); of the second and the last two no kernel is at hand.
Counters are given as LOGICAL values and written raw, as a recorder would.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from probes.events import (
    BIT_ANON,
    BIT_DOUBLE_MAP,
    BIT_FREED,
    BIT_HUGETLB,
    BIT_UNREAD,
    LEVEL_SHIFT,
    LEVELS,
    MARKS,
    MOVED,
    MOVED_WORDS,
    NAMED_WORDS,
    NO_STACK,
    OWNER,
    PLACE,
    PLACE_WORDS,
    RECORD,
    RING_HEADER_SIZE,
    TEXT_OFFSET,
    TEXT_SIZE,
)
from probes.published import AREA, RUN
from probes.tracefile import FLAG_RECOVERED, BlockType, Writer

#: name: (function, op, phase, delta, more)
Probe = tuple[str, str, str, int, dict[str, Any]]
COMMON: dict[str, Probe] = {
    "alloc": ("kmem:mm_page_alloc", "alloc", "point", 0, {}),
    "free": ("kmem:mm_page_free", "free", "point", 0, {}),
    "dup_pmd": ("copy_huge_pmd", "dup", "enter", 0, {}),
    "dup_pmd_done": ("copy_huge_pmd", "dup", "return", 1, {"after": True}),
    "dup": ("copy_page_range", "dup", "point", 1, {"site": "+0x1a2"}),
    "fork": ("copy_page_range", "fork", "enter", 0, {}),
    "fork_done": ("copy_page_range", "fork", "return", 0, {}),
    "read": ("stable_page_flags", "read", "enter", 0, {}),
    "read_done": ("stable_page_flags", "read", "return", 0, {}),
    "migrate": ("migrate_folio", "migrate", "point", 0, {}),
    "unmap_all": ("try_to_unmap", "unmap_all", "point", 0, {}),
    "oops": ("oops_enter", "oops", "point", 0, {}),
}
#: Those of `record --pins`.
PINS: dict[str, Probe] = {
    "grab": ("try_grab_folio", "pin", "enter", 0, {}),
    "pin": ("try_grab_folio", "pin", "point", 0, {"after": True}),
    "unpin": ("gup_put_folio", "unpin", "point", 0, {}),
    "unmap_to_move": ("try_to_migrate", "unmap_to_move", "enter", 0, {}),
    "unmap_to_move_done": ("try_to_migrate", "unmap_to_move", "return", 0, {}),
    "move": ("move_to_new_folio", "move", "enter", 0, {}),
    "move_done": ("move_to_new_folio", "move", "return", 0, {}),
}
#: In the third page, as in 5.10, where no era has anything else.
PINCOUNT_AT = 160
PROBES: dict[str, dict[str, Probe]] = {
    "double_map": {
        "map_new": ("page_add_new_anon_rmap", "map", "point", 1, {}),
        "map_anon": ("page_add_anon_rmap", "map", "point", 1, {}),
        "map_file": ("page_add_file_rmap", "map", "point", 1, {}),
        "unmap": ("page_remove_rmap", "unmap", "point", -1, {}),
        "split_pmd": ("__split_huge_pmd", "split_pmd", "point", -1, {}),
        "deferred": ("deferred_split_huge_page", "deferred_split", "point", 0, {}),
        "split": ("split_huge_page_to_list", "split_folio", "enter", 0, {}),
        "split_done": ("split_huge_page_to_list", "split_folio", "return", 0, {}),
        "ask": ("__page_mapcount", "ask", "point", 0, {"within": "smaps_pte_range"}),
        **COMMON,
    },
    "large": {
        "map_new": ("folio_add_new_anon_rmap", "map", "point", 1, {}),
        "map_anon": ("folio_add_anon_rmap_ptes", "map", "point", 1, {}),
        "map_file": ("folio_add_file_rmap_ptes", "map", "point", 1, {}),
        "unmap": ("folio_remove_rmap_ptes", "unmap", "point", -1, {}),
        "split_pmd": ("__split_huge_pmd", "split_pmd", "point", 0, {}),
        "deferred": ("deferred_split_folio", "deferred_split", "point", 0, {}),
        "split": ("split_huge_page_to_list_to_order", "split_folio", "enter", 0, {}),
        "split_done": ("split_huge_page_to_list_to_order", "split_folio", "return", 0, {}),
        **COMMON,
    },
}
PROBES["subpages"] = {**PROBES["double_map"], "split_pmd": PROBES["large"]["split_pmd"]}
PROBES["owners"] = PROBES["uncounted"] = PROBES["summed"] = PROBES["large"]
#: Eras whose rmap functions take a page at a time.
PAGE_BY_PAGE = ("double_map", "subpages")
#: The bit of PG_anon_exclusive, where a kernel has it.
ANON_EXCLUSIVE = 20
LAYOUT: dict[str, dict[str, Any]] = {
    "double_map": {
        "fields": {"flags": 0, "compound_head": 8, "mapping": 24, "mapcount": 48,
                   "refcount": 52, "flags_1": 64, "dtor": 80, "order": 81, "entire": 84,
                   "nr_mapped": None, "large": None},
        "bits": {"head": 16, "double_map": 6, "anon_exclusive": ANON_EXCLUSIVE},
    },
    "large": {
        "fields": {"flags": 0, "compound_head": 8, "mapping": 24, "mapcount": 48,
                   "refcount": 52, "flags_1": 64, "order": None, "large": 80,
                   "entire": 84, "nr_mapped": 88},
        "bits": {"head": 6, "double_map": None, "anon_exclusive": ANON_EXCLUSIVE},
    },
    "subpages": {
        "fields": {"flags": 0, "compound_head": 8, "mapping": 24, "mapcount": 48,
                   "refcount": 52, "flags_1": 64, "dtor": 80, "order": 81, "entire": 84,
                   "nr_mapped": 88, "large": None},
        "bits": {"head": 16, "double_map": None},
    },
    "summed": {
        "fields": {"flags": 0, "compound_head": 8, "mapping": 24, "mapcount": 48,
                   "refcount": 52, "flags_1": 64, "order": None, "total": 88, "large": 112,
                   "entire": None, "nr_mapped": None},
        "bits": {"head": 6, "double_map": None},
    },
}  # fmt: skip
LAYOUT["uncounted"] = LAYOUT["large"]
LAYOUT["owners"] = {
    "fields": LAYOUT["large"]["fields"] | {"mm_id_mapcount": 96, "mm_id": 104},
    "bits": LAYOUT["large"]["bits"],
}
COUNTERS = {
    "double_map": ["mapcount", "entire_mapcount", "double_map"],
    "large": ["mapcount", "entire_mapcount", "nr_pages_mapped", "large_mapcount"],
    "subpages": ["mapcount", "entire_mapcount", "nr_pages_mapped"],
    "uncounted": ["entire_mapcount", "large_mapcount"],
    "summed": ["large_mapcount", "total_mapped_pages"],
}
COUNTERS["owners"] = [
    *COUNTERS["large"],
    *("mm_id_mapcount_0", "mm_id_mapcount_1", "mm_id_0", "mm_id_1", "maybe_mapped_shared"),
]
RELEASE = {
    "double_map": "6.1.0-mock", "subpages": "6.2.0-mock", "large": "6.12.0-mock",
    "owners": "7.1.0-mock", "uncounted": "7.2.0-mock", "summed": "announced-mock",
}  # fmt: skip
START_NS = 1_000_000_000_000


class MockTrace:
    """Collects records and blocks in file order; ``now`` is the clock in ns."""

    def __init__(self, era: str = "double_map", page_size: int = 4096, pins: bool = False) -> None:
        self.era = era
        self.pins = pins
        self.page_size = page_size
        self.frame_pages = page_size // 8
        self.now = START_NS
        self._planned = PROBES[era] | (PINS if pins else {})
        self.probes = {name: number for number, name in enumerate(self._planned, start=1)}
        self.items: list[tuple[BlockType, Any]] = []
        self.seq = {0: 0, 1: 0}
        self.tasks: list[tuple[int, int, str]] = [(100, 100, "workload")]
        self.missing: list[dict[str, Any]] = []
        self.streamed: int | None = None
        self.words: list[str] = []
        self.where = False
        self.spaces: list[tuple[int, int]] = []

    def header(self) -> dict[str, Any]:
        """The header's JSON."""
        plan = []
        for name, number in self.probes.items():
            function, op, phase, delta, more = self._planned[name]
            entry = {"id": number, "function": function, "op": op, "phase": phase}
            plan.append(entry | {"delta": delta, "group": "mock", "site": None} | more)
        layout = {"source": "btf", "struct_page": 64, "vmemmap": 0xFFFFEA0000000000}
        layout |= LAYOUT[self.era]
        if self.pins:
            layout["fields"] = layout["fields"] | {"pincount": PINCOUNT_AT}
        return {
            "tool": "mapcount 0.1.0",
            "kernel": {"release": RELEASE[self.era], "version": "#1 mock", "machine": "x86_64",
                       "build_id": "00"},
            "boot_id": "mock", "command": ["./workload"], "nr_cpus": 2,
            "page_size": self.page_size, "pmd_order": self.frame_pages.bit_length() - 1,
            "clock": {"monotonic_ns": START_NS, "realtime_ns": 0},
            "layout": layout | {"compound_info": False},
            "counters": COUNTERS[self.era] + ["pincount"] * self.pins,
            "plan": plan, "missing": self.missing,
            "filters": {"pids": [100], "cgroup": None, "pfn": None, "min_order": 2,
                        "stacks": False, "where": self.where},
            "ring_bytes": 1 << 20,
        }  # fmt: skip

    def tick(self, ns: int = 1000) -> None:
        """Let time pass."""
        self.now += ns

    def _append(self, record: bytes) -> None:
        self.items.append((BlockType.RECORDS, record))

    def _next_seq(self, cpu: int) -> int:
        self.seq[cpu] += 1
        return self.seq[cpu] - 1

    def record(
        self, name: str, pfn: int = 0, *, order: int = 0, nr: int = 1, level: str = "pte",
        mapcount: int = 0, entire: int = 0, nr_mapped: int = 0, large: int = 0,
        refcount: int = 1, anon: bool = False, double_map: bool = False,
        hugetlb: bool = False, freed: bool = False, unread: bool = False, aux: int = NO_STACK,
        tid: int = 100, pid: int | None = None, cpu: int = 0,
    ) -> None:  # fmt: skip
        """One record of the probe ``name``, 1 µs after the one before."""
        self.tick()
        bits = (
            BIT_ANON * anon | BIT_DOUBLE_MAP * double_map | BIT_HUGETLB * hugetlb
            | BIT_FREED * freed | BIT_UNREAD * unread | LEVELS.index(level) << LEVEL_SHIFT
        )  # fmt: skip
        self._append(
            RECORD.pack(
                self.now, self._next_seq(cpu), cpu, self.probes[name], tid, pid or tid, pfn,
                mapcount - 1, entire - 1, nr_mapped, large - 1, refcount, 0, aux, nr, order, bits,
            )
        )  # fmt: skip

    def _text(self, kind: str, text: str, tid: int, pfn: int = 0, mm: int = 0) -> None:
        self.tick()
        probe = next(number for number, name in MARKS.items() if name == kind)
        head = RECORD.pack(
            self.now, self._next_seq(0), 0, probe, tid, tid, pfn, *([0] * 10)
        )[:TEXT_OFFSET]  # fmt: skip
        raw = text.encode("utf-8", "surrogatepass")[:TEXT_SIZE].ljust(TEXT_SIZE, b"\0")
        self._append(head + (NAMED_WORDS.pack(raw[:16], mm) if mm else raw))

    def owner(
        self, pfn: int, mm_id: int, tid: int = 100, cpu: int = 0, slots: Sequence[int] = (0,) * 4
    ) -> None:
        """Say for which mm the operation of the next record, which is by the same CPU, maps.

        ``slots``: the folio's four words, raw.
        """
        self._append(
            RECORD.pack(
                self.now + 1000, self._next_seq(cpu), cpu, OWNER, tid, tid, pfn,
                mm_id, *slots, 0, NO_STACK, 0, 0, 0,
            )
        )  # fmt: skip

    def place(self, pfn: int, mm: int, address: int, tid: int = 100, cpu: int = 0) -> None:
        """Say where the operation of the next record, which is by the same CPU, is."""
        head = RECORD.pack(
            self.now + 1000, self._next_seq(cpu), cpu, PLACE, tid, tid, pfn,
            *([0] * 6), NO_STACK, 0, 0, 0,
        )  # fmt: skip
        self._append(head[:TEXT_OFFSET] + PLACE_WORDS.pack(mm, address)[:24] + head[-8:])

    def moved(self, mm: int, begin: int, to: int, size: int, tid: int = 100) -> None:
        """mremap moves page-table entries."""
        self.tick()
        head = RECORD.pack(
            self.now, self._next_seq(0), 0, MOVED, tid, tid, 0, *([0] * 10)
        )[:TEXT_OFFSET]  # fmt: skip
        self._append(head + MOVED_WORDS.pack(mm, begin, to, size))

    def mark(self, name: str, tid: int = 100) -> None:
        """A named mark."""
        self._text("mark", name, tid)

    def task_new(self, child: int, comm: str, tid: int = 100, mm: int = 0) -> None:
        """A fork: ``child`` is a new process."""
        self._text("task_new", comm, tid, child << 32 | child, mm)

    def task_rename(self, tid: int, comm: str, mm: int = 0) -> None:
        """A thread's new name; after an exec a new address space, too."""
        self._text("task_rename", comm, tid, tid << 32 | tid, mm)

    def task_exit(self, tid: int, comm: str) -> None:
        """The end of a thread."""
        self._text("task_exit", comm, tid, tid << 32 | tid)

    def loss(self, begin: int, end: int, lost: Iterable[tuple[int, str, int]]) -> None:
        """Events lost between two times: (cpu, probe name, number)."""
        rows = [[cpu, self.probes[name], number] for cpu, name, number in lost]
        for cpu, _, number in rows:
            self.seq[cpu] += number
        block = {"from": begin, "to": end, "kind": "ring", "lost": rows}
        self.items.append((BlockType.LOSS, block))

    def dies(self, words: list[str]) -> None:
        """The records from here on come from the kernel's memory; it said ``words``."""
        self.streamed, self.words = len(self.items), words

    def truth(
        self, name: str, frames: list[int], pages: bytes, kpagecount: list[int],
        mappers: list[int], tasks: Iterable[int] = (), torn: Mapping[int, str] | None = None,
        kpageflags: list[int] | None = None,
        runs: Sequence[tuple[int, ...]] = (), areas: Sequence[tuple[int, ...]] = (),
        vmas: Mapping[int, Sequence[tuple[int, int, str, str]]] | None = None,
        rights: Sequence[tuple[int, ...]] = (),
    ) -> None:  # fmt: skip
        """A snapshot of whole frames; the lists have a value for each page.

        Each task has an address space of its own; ``torn``: why that of a task was not held
        still.  ``runs`` and ``areas``: what its files told, see probes/published.py.  ``vmas``:
        (start, end, flags, name) of its mappings.  ``rights``: see probes/rights.py.
        """
        begin = self.now + 500
        self.tick(2000)
        head = {"name": name, "ts_begin": begin, "ts_end": begin + 900, "frames": frames,
                "frame_pages": self.frame_pages, "tasks": list(tasks), "skipped": 0,
                "mms": [{"tasks": [pid]} | ({"torn": torn[pid]} if torn and pid in torn else {})
                        | ({"vmas": vmas[pid]} if vmas and pid in vmas else {})
                        for pid in tasks],
                "published": {"files": ["pagemap", "numa_maps", "smaps"],
                              "runs": len(runs), "areas": len(areas)},
                "rights": len(rights)}  # fmt: skip
        text = json.dumps(head).encode()
        count = len(kpagecount)
        payload = b"".join([
            struct.pack("<I", len(text)), text, pages, struct.pack(f"<{count}Q", *kpagecount),
            struct.pack(f"<{count}Q", *(kpageflags or [0] * count)),
            struct.pack(f"<{count}H", *mappers),
            *(RUN.pack(*run) for run in runs), *(AREA.pack(*area) for area in areas),
            *(RUN.pack(*run) for run in rights),
        ])  # fmt: skip
        self.items.append((BlockType.TRUTH, payload))

    def write(self, path: Path, trailer: bool = True, block: int = 64, ring: bool = False) -> Path:
        """Write the file; ``ring`` writes the events as slots of the ring buffer."""
        path.unlink(missing_ok=True)
        with Writer(str(path)) as out:
            out.json(BlockType.HEADER, self.header())
            out.json(BlockType.TASKS, self.tasks)
            if self.where:
                out.json(BlockType.SPACES, self.spaces)
            pending: list[bytes] = []
            for kind, content in self.items[: self.streamed]:
                if kind is BlockType.RECORDS:
                    pending.append(content)
                if len(pending) == block or (pending and kind is not BlockType.RECORDS):
                    write_records(out, pending, ring)
                    pending = []
                if kind in (BlockType.LOSS, BlockType.STACKS):
                    out.json(kind, content)
                elif kind is BlockType.TRUTH:
                    out.block(kind, content, compress=True)
            write_records(out, pending, ring)
            if self.streamed is not None:
                recovered = [record for _, record in self.items[self.streamed :]]
                out.block(
                    BlockType.RECORDS, b"".join(recovered), len(recovered), flags=FLAG_RECOVERED
                )
                out.json(BlockType.OOPS, {"lines": self.words})
                out.json(BlockType.RECOVERY, {"events": len(recovered), "busy": 1, "to": 0})
            elif trailer:
                events = sum(kind is BlockType.RECORDS for kind, _ in self.items)
                end = "command ended with status 0"
                total = {"events": events, "lost": 0, "end": end, "monotonic_ns": self.now}
                out.json(BlockType.TRAILER, total)
        return path


def write_records(out: Writer, records: list[bytes], ring: bool = False) -> None:
    """Append one block of records."""
    if not records:
        return
    if ring:
        head = struct.pack("<II", RECORD.size, 0).ljust(RING_HEADER_SIZE, b"\0")
        out.block(BlockType.EVENTS, b"".join(head + one for one in records), len(records))
    else:
        out.block(BlockType.RECORDS, b"".join(records), len(records))
