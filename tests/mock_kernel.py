# SPDX-License-Identifier: GPL-2.0-or-later
"""A naive kernel for tests: page tables of processes, and counters by definition.

It shares nothing with analysis/: every counter is counted out of the page tables each
time it is needed.  Each operation writes the records that the probes would make.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, product

from probes.rights import KNOWN, WRITABLE
from tests.mock import ANON_EXCLUSIVE, LAYOUT, PAGE_BY_PAGE, PINCOUNT_AT, MockTrace

FRAME_PAGES = 512
Numbers = tuple[int, ...]


@dataclass
class Folio:
    """One folio and everybody's mappings of it."""

    head: int
    order: int
    anon: bool
    pmds: list[int] = field(default_factory=list)
    ptes: set[tuple[int, int]] = field(default_factory=set)
    doubled: bool = False
    era: str = "double_map"
    mm_id: list[int] = field(default_factory=lambda: [0, 0])
    mm_id_mapcount: list[int] = field(default_factory=lambda: [-1, -1])
    shared: bool = False
    marked: set[int] = field(default_factory=set)  # pages with PG_anon_exclusive
    mapping: int = 0xFFFF8000
    lru: bool = True
    pins: int = 0  # taken by pin_user_pages()
    extra: int = 0  # references of who is not known
    kpf: int = 0  # more bits of /proc/kpageflags
    writable: set[tuple[int, int]] = field(default_factory=set)  # of a process, and which page

    @property
    def pages(self) -> int:
        return 1 << self.order

    def pte_mappings(self, page: int) -> int:
        return sum(1 for _, mapped in self.ptes if mapped == page)

    @property
    def uncounted(self) -> bool:
        """Its pages have no map counts of their own."""
        return self.era in ("uncounted", "summed") and self.order > 0

    def mapcount(self, page: int) -> int:
        if self.uncounted:
            return 0
        count = self.pte_mappings(page)
        if self.era == "double_map" and self.order:
            count += self.doubled if self.anon else len(self.pmds)
        return count

    def mappings(self, page: int) -> int:
        return self.pte_mappings(page) + len(self.pmds)

    def kpagecount(self, page: int) -> int:
        if self.uncounted:  # folio_average_page_mapcount()
            return -(-self.large_mapcount() // self.pages)
        return self.mappings(page)

    @property
    def called_anon(self) -> bool:
        """What readers make of its mapping."""
        return self.anon and self.mapping != 0

    def kpageflags(self, page: int) -> int:
        mapped = bool(self.pmds or self.ptes)
        flags = mapped << 11 | (mapped and self.called_anon) << 12 | (self.order > 0) << 22
        return flags | self.lru << 5 | self.kpf

    def exclusive(self, page: int) -> bool:
        """Bit 56 of a pagemap's entry."""
        return self.kpagecount(page) == 1

    def in_tables_of(self, pid: int) -> list[list[int]]:
        """The pages of each mapping that a process has of it."""
        ptes = sorted(page for owner, page in self.ptes if owner == pid)
        return [[*range(self.pages)]] * self.pmds.count(pid) + ([ptes] if ptes else [])

    def mapmax(self, pages: list[int]) -> int:
        """mapmax of a mapping of these pages."""
        return max(self.kpagecount(page) for page in pages)

    def track(self, mm: int, diff: int) -> None:
        """Who maps it, as the kernel notes it once the mappings have changed (6.15 and later)."""
        if self.order == 0:
            return
        if mm not in self.mm_id and diff > 0 and 0 in self.mm_id:
            slot = self.mm_id.index(0)
            self.mm_id[slot] = mm
            self.shared |= self.large_mapcount() > diff
        if mm not in self.mm_id and diff > 0:
            return
        if mm in self.mm_id:
            slot = self.mm_id.index(mm)
            self.mm_id_mapcount[slot] += diff
            if diff > 0 or self.mm_id_mapcount[slot] >= 0:
                return
            self.mm_id[slot], self.mm_id_mapcount[slot] = 0, -1
        if self.large_mapcount() - 1 in self.mm_id_mapcount:
            self.shared = False

    def slots(self) -> tuple[int, int, int, int]:
        """The four words of that, the ids as signed numbers."""
        second = self.mm_id[1] - (self.shared << 31)
        return (*self.mm_id_mapcount, self.mm_id[0], second)  # type: ignore[return-value]

    def refcount(self) -> int:
        """All references to it, as the kernel counts them."""
        of_pins = self.pins if self.order else 1024 * self.pins
        cached = self.pages * (not self.anon or self.kpf >> 13 & 1)
        private = self.kpf >> 36 & 1
        return self.large_mapcount() + of_pins + cached + private + self.extra

    def large_mapcount(self) -> int:
        return len(self.pmds) + len(self.ptes)

    def total_mapped_pages(self) -> int:
        return len(self.pmds) * self.pages + len(self.ptes)

    def nr_pages_mapped(self) -> int:
        if self.uncounted:
            return 0
        return len({page for _, page in self.ptes}) + (0x800000 if self.pmds else 0)


class MockKernel:
    """Runs operations on folios and records them into a MockTrace."""

    def __init__(self, trace: MockTrace) -> None:
        self.trace = trace
        self.folios: list[Folio] = []

    @property
    def _fields(self) -> dict[str, int | None]:
        found: dict[str, int | None] = LAYOUT[self.trace.era]["fields"]
        return found

    def _nr_mapped(self, folio: Folio) -> int:
        """What the record's word of that name holds."""
        if self.trace.era == "double_map":
            return 0
        return folio.nr_pages_mapped() if self._fields["nr_mapped"] else folio.total_mapped_pages()

    def emit(
        self, name: str, folio: Folio, page: int = 0, mm: int | None = None,
        at: int | None = None, **more: object,
    ) -> None:  # fmt: skip
        """Record what a probe sees of a folio now; ``mm``: for whom it is mapped or unmapped;
        ``at``: in whose page tables, where that is another, see tests/mock_places.py."""
        if mm and folio.order and self.trace.era == "owners":
            tid = int(more["tid"])  # type: ignore[call-overload]
            self.trace.owner(folio.head + page, mm, tid, slots=folio.slots())
        seen: dict[str, object] = dict(
            order=folio.order, mapcount=folio.mapcount(page), entire=len(folio.pmds),
            double_map=folio.doubled, anon=folio.anon,
            # One reference for each mapping and for each that an operation may add.
            refcount=folio.large_mapcount() + folio.pages,
            nr_mapped=self._nr_mapped(folio),
            large=folio.large_mapcount() if self._fields["large"] else 0,
        )  # fmt: skip
        self.trace.record(name, folio.head + page, **(seen | more))  # type: ignore[arg-type]

    def alloc(self, head: int, order: int = 9, anon: bool = True, tid: int = 100) -> Folio:
        folio = Folio(head, order, anon, era=self.trace.era)
        self.folios.append(folio)
        self.emit("alloc", folio, anon=False, nr=0, tid=tid)
        return folio

    def older(self, head: int, order: int = 9, anon: bool = True) -> Folio:
        """A folio from before the recording."""
        folio = Folio(head, order, anon, era=self.trace.era)
        self.folios.append(folio)
        return folio

    def _rmap_name(self, folio: Folio) -> str:
        return "map_anon" if folio.anon else "map_file"

    def map_pmd(self, folio: Folio, pid: int, new: bool = False) -> None:
        name = "map_new" if new else self._rmap_name(folio)
        self.emit(name, folio, 0, pid, nr=0, level="pmd", tid=pid, anon=folio.anon and not new)
        folio.pmds.append(pid)
        folio.track(pid, 1)

    def map_pte(self, folio: Folio, pid: int, page: int, nr: int = 1) -> None:
        step = 1 if self.trace.era in PAGE_BY_PAGE else nr
        for first in range(page, page + nr, step):
            self.emit(self._rmap_name(folio), folio, first, pid, nr=step, tid=pid)
            folio.ptes |= {(pid, one) for one in range(first, first + step)}
            folio.track(pid, step)

    def unmap_pte(self, folio: Folio, pid: int, page: int, nr: int = 1) -> None:
        step = 1 if self.trace.era in PAGE_BY_PAGE else nr
        for first in range(page, page + nr, step):
            self.emit("unmap", folio, first, pid, nr=step, tid=pid)
            folio.ptes -= {(pid, one) for one in range(first, first + step)}
            folio.track(pid, -step)

    def _drop_pmd(self, folio: Folio, pid: int) -> None:
        folio.pmds.remove(pid)
        folio.track(pid, -1)
        if not folio.pmds:
            folio.doubled = False

    def unmap_pmd(self, folio: Folio, pid: int) -> None:
        self.emit("unmap", folio, 0, pid, nr=0, level="pmd", tid=pid)
        self._drop_pmd(folio, pid)

    def split_pmd(self, folio: Folio, pid: int, actor: int | None = None) -> None:
        """A PMD mapping becomes PTE mappings; a file's is only removed."""
        tid = actor or pid
        self.emit("split_pmd", folio, at=pid, nr=0, level="pmd", tid=tid)
        every = {(pid, page) for page in range(folio.pages)}
        if not folio.anon:
            self.emit("unmap", folio, 0, pid, nr=0, level="pmd", tid=tid)
        elif self.trace.era != "double_map":
            step = 1 if self.trace.era in PAGE_BY_PAGE else folio.pages
            for first in range(0, folio.pages, step):
                self.emit("map_anon", folio, first, pid, nr=step, tid=tid)
                folio.ptes |= {(pid, page) for page in range(first, first + step)}
                folio.track(pid, step)
            self.emit("unmap", folio, 0, pid, nr=0, level="pmd", tid=tid)
        else:
            folio.ptes |= every
            folio.doubled |= len(folio.pmds) >= 2
        self._drop_pmd(folio, pid)

    def fork(self, folio: Folio, parent: int, child: int) -> None:
        if parent in folio.pmds:
            self.emit("dup_pmd", folio, nr=0, level="pmd", tid=parent)
            folio.pmds.append(child)
            folio.track(child, 1)
            self.emit("dup_pmd_done", folio, 0, child, nr=0, level="pmd", tid=parent, aux=0)
        for page in sorted(page for pid, page in folio.ptes if pid == parent):
            self.emit("dup", folio, page, child, tid=parent)
            folio.ptes.add((child, page))
            folio.track(child, 1)

    def pin(
        self, folio: Folio, tid: int, number: int = 1, pinned: bool = True, **more: int
    ) -> None:
        """get_user_pages() or pin_user_pages() takes references."""
        folio.pins += number * pinned
        folio.extra += number * (not pinned)
        self._emit_pin("pin", folio, tid, number, pinned, **more)

    def unpin(self, folio: Folio, tid: int, number: int = 1, **more: int) -> None:
        self._emit_pin("unpin", folio, tid, number, True, **more)
        folio.pins -= number

    def _emit_pin(
        self, name: str, folio: Folio, tid: int, number: int, pinned: bool, **more: int
    ) -> None:
        # The words of PIN_COLUMNS; the mock adds the bias of what else they are.
        words = {"mapcount": number + 1, "entire": pinned + 1}
        pincount = folio.pins if folio.order else 0
        seen = {**words, "nr_mapped": pincount, "refcount": folio.refcount(), "nr": 0, **more}
        self.emit(name, folio, tid=tid, **seen)

    def refuse(self, name: str, folio: Folio, tid: int, result: int) -> None:
        """A split or a move gives up: the counters are its own reference's, too."""
        self.emit(name, folio, nr=0, tid=tid, refcount=folio.refcount() + 1)
        self.emit(f"{name}_done", folio, nr=0, tid=tid, aux=result, refcount=folio.refcount() + 1)

    def exit(self, folio: Folio, pid: int) -> None:
        while pid in folio.pmds:
            self.unmap_pmd(folio, pid)
        for page in sorted(page for owner, page in folio.ptes if owner == pid):
            self.unmap_pte(folio, pid, page)

    def split_folio(self, folio: Folio, actor: int = 100) -> list[Folio]:
        """Split to order 0; the mapped pages become folios, in the order of the remap."""
        self.emit("split", folio, nr=0, tid=actor, aux=0)
        for pid in list(folio.pmds):
            self.split_pmd(folio, pid, actor)
        mapped = sorted(folio.ptes, key=lambda one: (one[1], one[0]))
        for pid, page in mapped:
            self.emit("unmap", folio, page, pid, tid=actor)
            folio.ptes.remove((pid, page))
            folio.track(pid, -1)
        self.folios.remove(folio)
        small: dict[int, Folio] = {}
        for pid, page in mapped if folio.anon else []:
            one = small.setdefault(page, Folio(folio.head + page, 0, True, era=self.trace.era))
            self.emit("map_anon", one, at=pid, tid=actor)
            one.ptes.add((pid, 0))
        done = Folio(folio.head, 0, folio.anon, era=self.trace.era)
        self.emit("split_done", done, tid=actor, aux=0)
        self.folios += small.values()
        return list(small.values())

    def free(self, folio: Folio, tid: int = 100) -> None:
        self.emit("free", folio, nr=0, tid=tid)
        self.folios.remove(folio)

    def snapshot(
        self, name: str, tasks: tuple[int, ...] = (), torn: dict[int, str] | None = None
    ) -> None:
        """Ground truth of every frame that holds a folio."""
        of_frame = self.trace.frame_pages
        frames = sorted({folio.head // of_frame * of_frame for folio in self.folios})
        raw = bytearray(len(frames) * of_frame * 64)
        for at in range(48, len(raw), 64):
            struct.pack_into("<i", raw, at, -1)
        counts, mappers, flags = ([0] * (len(raw) // 64) for _ in range(3))
        for folio in self.folios:
            base = frames.index(folio.head // of_frame * of_frame) * of_frame
            first = base + folio.head % of_frame
            self._struct_pages(raw, first * 64, folio)
            for page in range(folio.pages):
                counts[first + page] = folio.kpagecount(page)
                mappers[first + page] = folio.mappings(page)
                flags[first + page] = folio.kpageflags(page)
        runs, areas = self._published(tasks)
        self.trace.truth(
            name, frames, bytes(raw), counts, mappers, tasks, torn, flags, runs, areas,
            rights=self._rights(tasks),
        )  # fmt: skip

    def _rights(self, tasks: tuple[int, ...]) -> list[Numbers]:
        """Whether tasks may write the anonymous pages that several of them map."""
        found: list[Numbers] = []
        for folio in self.folios:
            tables = {pid: set(chain(*folio.in_tables_of(pid))) for pid in tasks}
            mapped = Counter(chain(*tables.values()))
            for pid, pages in tables.items():
                for page in sorted(page for page in pages if mapped[page] > 1 and folio.anon):
                    bits = KNOWN | WRITABLE * ((pid, page) in folio.writable)
                    address = (1 << 46) + (folio.head + page) * self.trace.page_size
                    found.append((pid, 1, address, bits | (folio.head + page)))
        return found

    def _published(self, tasks: tuple[int, ...]) -> tuple[list[Numbers], list[Numbers]]:
        """What the files of tasks tell of the folios: runs, and the mappings as areas."""
        runs: list[Numbers] = []
        areas: list[Numbers] = []
        size = self.trace.page_size
        for pid, folio in product(tasks, self.folios):
            for number, pages in enumerate(folio.in_tables_of(pid)):
                start = (1 << 46) + (number << 40) + folio.head * size
                for page in pages:
                    entry = 1 << 63 | (not folio.called_anon) << 61 | folio.exclusive(page) << 56
                    runs.append((pid, 1, start + page * size, entry | (folio.head + page)))
                most = folio.mapmax(pages)
                figures = self._smaps([folio.kpagecount(page) for page in pages])
                end = start + folio.pages * size
                huge = figures[0] if number < folio.pmds.count(pid) else 0
                areas.append((pid, start, end, most if most > 1 else 0, *figures, huge))
        return runs, areas

    def _smaps(self, counts: list[int]) -> Numbers:
        """Rss, Pss, Shared and Private in KiB."""
        kib = self.trace.page_size >> 10
        pss = sum((self.trace.page_size << 12) // count for count in counts) >> 22
        private = kib * counts.count(1)
        return kib * len(counts), pss, kib * len(counts) - private, private

    def _struct_pages(self, raw: bytearray, at: int, folio: Folio) -> None:
        fields, head = self._fields, LAYOUT[self.trace.era]["bits"]["head"]
        for page in range(folio.pages):
            struct.pack_into("<i", raw, at + page * 64 + 48, folio.mapcount(page) - 1)
            if page:
                struct.pack_into("<Q", raw, at + page * 64 + 8, 0xFFFF0001)
        struct.pack_into("<i", raw, at + 52, folio.refcount())
        if self.trace.pins and folio.order > 1:
            struct.pack_into("<i", raw, at + PINCOUNT_AT, folio.pins)
        struct.pack_into("<Q", raw, at + 24, folio.mapping and folio.mapping | folio.anon)
        for page in folio.marked:
            struct.pack_into("<Q", raw, at + page * 64, 1 << ANON_EXCLUSIVE)
        if folio.order == 0:
            return
        struct.pack_into("<Q", raw, at, 1 << head | (0 in folio.marked) << ANON_EXCLUSIVE)
        if fields["order"]:
            struct.pack_into("<B", raw, at + fields["order"], folio.order)
            struct.pack_into("<Q", raw, at + 64, int(folio.doubled) << 6)
        else:
            struct.pack_into("<Q", raw, at + 64, folio.order | 1 << 9)
        for name, format_, value in (
            ("entire", "<i", len(folio.pmds) - 1),
            ("nr_mapped", "<i", folio.nr_pages_mapped()),
            ("large", "<i", folio.large_mapcount() - 1),
            ("total", "<q", folio.total_mapped_pages()),
        ):
            offset = fields.get(name)
            if offset is not None:
                struct.pack_into(format_, raw, at + offset, value)
        if "mm_id" in fields:
            struct.pack_into("<4i", raw, at + 96, *folio.slots())


def maps(folio: Folio, pid: int) -> bool:
    """Whether a process maps any of it."""
    return pid in folio.pmds or any(owner == pid for owner, _ in folio.ptes)


def apply(kernel: MockKernel, folio: Folio, step: tuple[str, int, int, int, int]) -> None:
    """Do a step (what, pid, other pid, page, number) if the page tables allow it, as a process
    could."""
    what, pid, other, page, nr = step
    nr = min(nr, folio.pages - page)
    mapped = {at for owner, at in folio.ptes if owner == pid}
    wanted = set(range(page, page + nr))
    if what == "map_pmd" and folio.order and not maps(folio, pid):
        kernel.map_pmd(folio, pid)
    elif what == "map_pte" and pid not in folio.pmds and not wanted & mapped:
        kernel.map_pte(folio, pid, page, nr)
    elif what == "unmap_pte" and wanted <= mapped:
        kernel.unmap_pte(folio, pid, page, nr)
    elif what == "unmap_pmd" and pid in folio.pmds:
        kernel.unmap_pmd(folio, pid)
    elif what == "fork" and maps(folio, pid) and not maps(folio, other):
        kernel.fork(folio, pid, other)
    elif what == "split_pmd" and pid in folio.pmds:
        kernel.split_pmd(folio, pid)
