# SPDX-License-Identifier: GPL-2.0-or-later
"""The records of a trace in time order, decoded into plain columns of numbers."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from analysis.arrays import Bools, Ints, Words, pair_returns
from analysis.plan import ENTER, OP, RETURN, Plan, among
from analysis.records import PLACED, RECORD, Chunk, is_beside, joined, picked, words
from analysis.time_order import Rank, following
from analysis.total_mapped import pmd_mappings
from probes.counters import COUNTERS
from probes.events import (
    BIT_ANON,
    BIT_DOUBLE_MAP,
    BIT_FREED,
    BIT_HUGETLB,
    BIT_UNREAD,
    LEVEL_SHIFT,
    MARK_FIRST,
    NO_ADDRESS,
    NO_STACK,
    OWNER,
    OWNER_COLUMNS,
    PIN_OPS,
    PLACE,
    TEXT_OFFSET,
    TEXT_SIZE,
)

#: By name, where a record has the counters.
COLUMNS = {each.name: each for each in COUNTERS}

#: Where a record may be from its owner or place record: as a rule it follows these.
NEIGHBOURS = (1, 2, 3, -1, -2, -3)

#: A raw map count below this is no count: the word holds a page type (buddy, table, slab).
LOWEST_COUNT = -100

#: Operations whose record is about one folio.
FOLIO_OPS = (
    "map", "unmap", "dup", "split_pmd", "split_folio", "deferred_split", "collapse",
    "migrate", "alloc", "free", "read", "ask", *PIN_OPS,
    "unmap_to_move", "move", "unmap_all",
)  # fmt: skip


class Log:
    """All records, ordered by time; every array has one element per record.

    Two records of the same nanosecond keep their order in the ring.
    """

    def __init__(self, chunks: list[Chunk], plan: Plan) -> None:
        records = joined(chunks)
        ts = records["ts"]
        #: Where each record stood before they were put in order.
        self.place = np.arange(len(records))
        if len(ts) > 1 and (ts[1:] < ts[:-1]).any():
            self.place = np.argsort(ts, kind="stable")
            records = picked(records, self.place)
        self.raw = records
        self.plan = plan
        self._counters: dict[str, tuple[Ints, Bools]] = {}

    def __len__(self) -> int:
        return len(self.raw)

    def _column(self, name: str) -> Ints:
        column: Ints = self.raw[name].astype(np.int64)
        return column

    # Of a part of a trace these two are set to what they are in the whole.

    @cached_property
    def rank(self) -> Rank:
        """The row of each record in the whole log: its label in ``df_events``."""
        return np.arange(len(self), dtype=np.uint32)

    @cached_property
    def following(self) -> Rank:
        """The rank of the next record of the same CPU or task; if none, the number of records."""
        return following(self.raw["cpu"], self.raw["tid"])

    @cached_property
    def ts(self) -> Ints:
        return self._column("ts")

    @cached_property
    def tid(self) -> Ints:
        return self._column("tid")

    @cached_property
    def pid(self) -> Ints:
        return self._column("pid")

    @cached_property
    def aux(self) -> Ints:
        return self._column("aux")

    @cached_property
    def is_text(self) -> Bools:
        """Marks and task records: bytes 32..63 are text, not counters."""
        marks: Bools = (self.raw["probe"] >= MARK_FIRST) & ~is_beside(self.raw["probe"])
        return marks

    @cached_property
    def owner_of(self) -> Ints:
        """For each record the row of its owner record, else -1."""
        return self._beside(OWNER)

    @cached_property
    def place_of(self) -> Ints:
        """For each record the row of its place record, else -1."""
        return self._beside(PLACE)

    def _beside(self, probe: int) -> Ints:
        """For each record the row of the one with ``probe`` that goes before it, else -1.

        They are of the same time, task and page, and neighbours but for records of other CPUs.
        """
        found = np.full(len(self), -1, dtype=np.int64)
        rows = np.flatnonzero(self.raw["probe"] == probe)
        for away in NEIGHBOURS:
            other = rows + away
            inside = np.flatnonzero((other >= 0) & (other < len(self)))
            same = inside[found[other[inside]] < 0]
            for name in ("ts", "tid", "pfn", "cpu"):
                values = self.raw[name]
                same = same[values[rows[same]] == values[other[same]]]
            same = same[self.about_folio[other[same]]]
            found[other[same]] = rows[same]
            rows = np.delete(rows, same)
        return found

    def owner(self, name: str) -> tuple[Ints, Bools]:
        """The columns of the owner record of each record (probes.events.OWNER_COLUMNS), and where
        there is such a record."""
        there = self.owner_of >= 0
        value = self.raw[OWNER_COLUMNS[name]][self.owner_of].astype(np.int64)
        return np.where(there, value, 0), there

    @cached_property
    def mm(self) -> tuple[Words, Bools]:
        """The address space of each operation, and where that is known."""
        there = self.place_of >= 0
        mm = np.zeros(len(self), dtype=np.uint64)
        mm[there] = words(self.raw, self.place_of[there], PLACED)["mm"]
        return mm, there

    @cached_property
    def address(self) -> tuple[Words, Bools]:
        """The virtual address of each record's page, and where that is known."""
        there = self.place_of >= 0
        address = np.full(len(self), NO_ADDRESS, dtype=np.uint64)
        address[there] = words(self.raw, self.place_of[there], PLACED)["address"]
        return address, address != np.uint64(NO_ADDRESS)

    @cached_property
    def op(self) -> Ints:
        column: Ints = self.plan.op[self.raw["probe"]].astype(np.int64)
        return column

    @cached_property
    def phase(self) -> Ints:
        column: Ints = self.plan.phase[self.raw["probe"]].astype(np.int64)
        return column

    @cached_property
    def function(self) -> Ints:
        column: Ints = self.plan.function[self.raw["probe"]].astype(np.int64)
        return column

    @cached_property
    def after(self) -> Bools:
        """A mask of the records that were made after their operation."""
        column: Bools = self.plan.after[self.raw["probe"]]
        return column

    @cached_property
    def failed(self) -> Bools:
        """A mask of the returns of functions that report an error: nothing was done."""
        failed: Bools = (self.phase == RETURN) & (self.aux != 0)
        return failed

    @cached_property
    def delta(self) -> Ints:
        """The declared change of one mapping; 0 where the function failed."""
        declared = self.plan.delta[self.raw["probe"]].astype(np.int64)
        return np.where(self.failed, 0, declared)

    @cached_property
    def about_folio(self) -> Bools:
        """A mask of the records that are about a page."""
        ops = among(self.op, FOLIO_OPS)
        about: Bools = ops & ~self.is_text & (self.raw["pfn"] != 0)
        return about

    @cached_property
    def pfn(self) -> Ints:
        return np.where(self.about_folio, self._column("pfn"), 0)

    @cached_property
    def order(self) -> Ints:
        return np.where(self.about_folio, self._column("order"), 0)

    @cached_property
    def head(self) -> Ints:
        """First pfn of the folio; compound pages are naturally aligned."""
        return (self.pfn >> self.order) << self.order

    @cached_property
    def bits(self) -> Ints:
        return np.where(self.about_folio, self._column("bits"), 0)

    @cached_property
    def level(self) -> Ints:
        return (self.bits >> LEVEL_SHIFT) & 3

    @cached_property
    def nr(self) -> Ints:
        """Pages that the operation covers; for "whole folio" the number of its pages."""
        given = self._column("nr")
        return np.where(self.about_folio, np.where(given == 0, 1 << self.order, given), 0)

    def bit(self, bit: int) -> Bools:
        """Whether a BIT_ flag is set."""
        there: Bools = (self.bits & bit) != 0
        return there

    @property
    def anon(self) -> Bools:
        return self.bit(BIT_ANON)

    @property
    def hugetlb(self) -> Bools:
        return self.bit(BIT_HUGETLB)

    @property
    def freed(self) -> Bools:
        return self.bit(BIT_FREED)

    @property
    def double_map(self) -> Bools:
        return self.bit(BIT_DOUBLE_MAP)

    @cached_property
    def read(self) -> Bools:
        """A mask of the records whose struct page could be read: their counters are valid."""
        return self.about_folio & ~self.bit(BIT_UNREAD)

    @cached_property
    def has_stack(self) -> Bools:
        made = (self.phase != RETURN) & (self.op >= 0) & ~self.is_text
        with_stack: Bools = made & (self.aux != NO_STACK)
        return with_stack

    def counter(self, name: str) -> tuple[Ints, Bools]:
        """Observed LOGICAL values of one counter and where they are known."""
        if name not in self._counters:
            self._counters[name] = self._counter(name)
        return self._counters[name]

    def _counter(self, name: str) -> tuple[Ints, Bools]:
        of_pins = among(self.op, PIN_OPS)
        counted = self.read & ~of_pins
        whole = counted & (self.order > 0)
        if name == "mapcount":
            raw = self._column("mapcount")
            kept = (self.order == 0) | self.plan.page_counts
            return raw + 1, counted & kept & (raw >= LOWEST_COUNT) & ~self.hugetlb
        if name == "entire_mapcount":
            return self._entire(whole)
        if name == "double_map":
            return self.double_map.astype(np.int64), whole
        if name == "total_mapped_pages":
            whole = whole & ~self.hugetlb
        row = COLUMNS[name]
        if row.pins:
            return row.logical(self._column(row.column)), self.read & of_pins & (self.order > 0)
        if row.owner:
            there = self.owner_of >= 0
            return row.logical(self._column(row.column)[self.owner_of]), whole & there
        return row.logical(self._column(row.column)), whole

    def _entire(self, whole: Bools) -> tuple[Ints, Bools]:
        if not self.plan.sums_pages:
            return self._column("entire") + 1, whole
        total, summed = self.counter("total_mapped_pages")
        large = self._column("large") + 1
        value, possible = pmd_mappings(total, large, self.order)
        # hugetlb is mapped as a whole only, and its pages are not summed up.
        return np.where(summed, value, large), whole & (possible | ~summed)

    @cached_property
    def enter_of(self) -> Ints:
        """For each return record the row of its enter record, else -1.

        Both name the same page, so that a pair never spans two frames of memory.
        """
        rows = np.flatnonzero((self.phase == ENTER) | (self.phase == RETURN))
        keys = (self.raw["pfn"][rows], self.function[rows], self.tid[rows])
        partner = pair_returns(keys, self.phase[rows] == ENTER)
        result = np.full(len(self), -1, dtype=np.int64)
        result[rows] = np.where(partner < 0, -1, rows[partner])
        return result

    @cached_property
    def return_of(self) -> Ints:
        """For each enter record the row of its return record, else -1."""
        result = np.full(len(self), -1, dtype=np.int64)
        paired = np.flatnonzero(self.enter_of >= 0)
        result[self.enter_of[paired]] = paired
        return result

    def texts(self, op: str) -> tuple[Ints, list[str]]:
        """Rows and texts of the records of one kind that carry text."""
        rows = np.flatnonzero(self.is_text & (self.op == OP[op]))
        data = self.raw[rows].tobytes()
        size = RECORD.itemsize
        texts = [
            data[at + TEXT_OFFSET : at + TEXT_OFFSET + TEXT_SIZE].split(b"\0")[0]
            for at in range(0, len(data), size)
        ]
        # `echo name > trace_marker` ends the name with a newline.
        return rows, [text.decode(errors="replace").rstrip("\n") for text in texts]
