# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes a smaller trace of a trace: of a span of time, of some pages, or of both.

It is as if it had been recorded so: the records, the snapshots inside, the names that tasks had
when it begins, the losses that overlap it.  Sequence numbers that were left out are no losses: the
header says so.  It is packed, to be kept or passed on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arrays import Bools, Ints, Records
from analysis.census import FRAME_SHIFT, is_common
from analysis.in_flight import IN_FLIGHT_NS
from analysis.packing import pack
from analysis.plan import OP
from analysis.records import batches, picked
from analysis.trace import Trace
from analysis.truth import restricted
from probes.tracefile import BlockType, Writer

#: The end of a slice that has none.
NEVER = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Wanted:
    """What to keep: ``begin`` <= ts < ``end`` (ns), and the memory around some pages.

    ``pages``: (first, last) pfn of spans; None: all.  Whole frames (what a PMD maps) are kept, or
    blocks of the largest folio's size, so that no folio is divided.  Without ``records`` the
    snapshots of the pages are kept, but only the records that belong to no page.
    """

    begin: int = 0
    end: int = NEVER
    pages: Sequence[tuple[int, int]] | None = None
    records: bool = True

    @classmethod
    def of(
        cls, trace: Trace, milliseconds: tuple[float, float],
        pages: Sequence[tuple[int, int]] | None = None,
    ) -> Wanted:  # fmt: skip
        """What lies between two times (ms) since the first record; inf is no end."""
        return cls(*span_of(trace, milliseconds), pages)

    def when(self, ts: Ints) -> Bools:
        """A mask of the times that are wanted."""
        inside: Bools = (ts >= self.begin) & (ts < self.end)
        return inside

    def where(self, pfn: Ints, order: int) -> Bools:
        """A mask of the pages that are wanted, in whole blocks of ``order``."""
        if self.pages is None:
            return np.ones(len(pfn), dtype=bool)
        shift = max(FRAME_SHIFT, order)
        near = np.zeros(len(pfn), dtype=bool)
        for first, last in self.pages:
            near |= (pfn >> shift >= first >> shift) & (pfn >> shift <= last >> shift)
        return near


def span_of(trace: Trace, milliseconds: tuple[float, float]) -> tuple[int, int]:
    """Begin and end (ns) of a span, given in ms since the first record; inf is no end."""
    first, (begin, end) = trace.census.first_ts, milliseconds
    # What no clock reaches is as good as no end.
    begin_ts, end_ts = (first + round(min(ms * 1e6, 1e18)) for ms in (begin, end))
    # The snapshot of the start is older than the first record.
    return begin_ts if begin > 0 else 0, min(end_ts, NEVER) if end * 1e6 < 1e18 else NEVER


def matches(trace: Trace, wanted: Wanted) -> bool:
    """Whether the trace has a record or a snapshot of the wanted times and pages."""
    order = trace.recording.undivided
    for batch in batches(trace.source.chunks):
        near = wanted.when(batch["ts"].astype(np.int64))
        if wanted.pages is not None:
            near &= wanted.where(batch["pfn"].astype(np.int64), order) & (batch["pfn"] != 0)
            near[is_common(batch, trace.plan)] = False
        trace.source.forget()
        if near.any():
            return True
    frames = [
        shot.frames
        for shot in trace.snapshots
        if wanted.begin <= shot.ts_begin and shot.ts_end < wanted.end
    ]
    return any(wanted.where(pfns, order).any() for pfns in frames)


def write_slice(trace: Trace, output: str, wanted: Wanted) -> int:
    """Write what is wanted of a trace to the file OUTPUT; returns the number of its records.

    An OSError is passed on.
    """
    source, kept = trace.source, 0
    with Writer(output) as out:
        out.json(BlockType.HEADER, _header(trace, wanted))
        out.json(BlockType.TASKS, _tasks(trace, wanted))
        if trace.plan.where:
            out.json(BlockType.SPACES, _spaces(trace, wanted))
        if source.stacks:
            out.json(BlockType.STACKS, source.stacks)
        for payload in _truth(trace, wanted):
            out.block(BlockType.TRUTH, payload, compress=True)
        for batch in batches(source.chunks):
            records = _records(trace, batch, wanted)
            if len(records):
                out.block(BlockType.COLUMNS, pack(records), len(records), compress=True)
            kept += len(records)
            source.forget()
        for loss in source.losses:
            # One that is told of the time right after may have happened before, see Doubt.lost.
            if loss["to"] >= wanted.begin and loss["from"] < wanted.end + IN_FLIGHT_NS:
                out.json(BlockType.LOSS, loss)
        _end(out, trace, wanted, kept)
    return kept


def _header(trace: Trace, wanted: Wanted) -> dict[str, Any]:
    gaps = [gap for gap in trace.gaps if gap.to_ts >= wanted.begin and gap.from_ts < wanted.end]
    of = trace.meta.get("slice", {}).get("of", os.path.basename(trace.path))
    # Where the ring lay is of no use any more: what is left in it belongs to the whole trace.
    return trace.meta | {"ring": None, "rings": None, "slice": {"of": of, "gaps": gaps}}


def _tasks(trace: Trace, wanted: Wanted) -> list[tuple[int, int, str]]:
    """The tasks that were known when the slice begins, by their names at that time."""
    process = {tid: pid for tid, pid, _ in trace.source.tasks}
    born = trace.census.common[trace.plan.op[trace.census.common["probe"]] == OP["task_new"]]
    for record in born[born["ts"] < wanted.begin]:
        process[int(record["pfn"]) & 0xFFFFFFFF] = int(record["pfn"]) >> 32
    tids = np.array(sorted(process), dtype=np.int64)
    codes, names = trace.names.at(np.full(len(tids), wanted.begin), tids)
    return [
        (tid, process[tid], names[code])
        for tid, code in zip(tids.tolist(), codes.tolist(), strict=True)
    ]


def _spaces(trace: Trace, wanted: Wanted) -> list[tuple[int, int]]:
    """The address space of each process when the slice begins."""
    spaces = trace.recording.spaces.at(wanted.begin - 1)
    return sorted((pid, mm) for mm, pids in spaces.items() for pid in pids)


def _truth(trace: Trace, wanted: Wanted) -> Iterator[bytes]:
    for payload, shot in zip(trace.source.truth, trace.snapshots, strict=True):
        if wanted.begin <= shot.ts_begin and shot.ts_end < wanted.end:
            yield restricted(
                payload, shot.layout, lambda pfn: wanted.where(pfn, trace.recording.undivided)
            )


def _records(trace: Trace, batch: Records, wanted: Wanted) -> Records:
    pfn = batch["pfn"].astype(np.int64)
    near = wanted.where(pfn, trace.recording.undivided) & wanted.records
    # Marks, tasks, and brackets around many pages belong to every folio.
    near[is_common(batch, trace.plan)] = True
    near[pfn == 0] = True
    return picked(batch, np.flatnonzero(near & wanted.when(batch["ts"].astype(np.int64))))


def _end(out: Writer, trace: Trace, wanted: Wanted, kept: int) -> None:
    """The blocks after the records: a slice that reaches the trace's end ends as it does."""
    if wanted.end <= trace.census.last_ts:
        trailer = {"events": kept, "end": "cut here", "monotonic_ns": wanted.end}
        out.json(BlockType.TRAILER, trailer)
        return
    source = trace.source
    if source.oops is not None:
        out.json(BlockType.OOPS, source.oops)
    if source.recovery is not None:
        out.json(BlockType.RECOVERY, source.recovery)
    if source.trailer is not None:
        out.json(BlockType.TRAILER, source.trailer | {"events": kept})
