# SPDX-License-Identifier: GPL-2.0-or-later
"""Sorts the blocks of a trace file by kind; can be asked again while the file grows."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np

from analysis.arrays import Records, number
from analysis.errors import AnalysisError
from analysis.losses import kept_gaps
from analysis.packing import Spool, unpack
from analysis.plan import Plan
from analysis.records import RECORD
from analysis.text import count
from probes.events import RING_BUSY, RING_DISCARD
from probes.tracefile import Block, BlockType, Damage, Reader, TraceError

#: An OOPS block's times, as far as they are known.
WHEN = ("printk_ns", "monotonic_ns", "within_ns")
SLOT = np.dtype([("length", "<u4"), ("page", "<u4"), ("record", RECORD)])

#: Bytes of the file that are looked at before their memory is given back.
WALKED = 1 << 28


def _records(block: Block) -> Records:
    dtype = SLOT if block.type == BlockType.EVENTS else RECORD
    if len(block.payload) % dtype.itemsize:
        raise TraceError(f"block at byte {block.offset} does not hold whole records")
    entries: Records = np.frombuffer(block.payload, dtype)
    if block.type == BlockType.EVENTS:
        whole = (entries["length"] & np.uint32(RING_BUSY | RING_DISCARD)) == 0
        # The view costs nothing; a copy is made only where a slot has to go.
        entries = entries["record"] if whole.all() else entries["record"][whole]
    return entries


#: What it costs to take a block for what it is not.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
#: What the header's entries are, where they are there.
HEADER = {
    "kernel": dict, "command": list, "counters": list, "plan": list, "missing": list,
    "layout": dict, "filters": dict, "clock": dict, "slice": dict,
}  # fmt: skip


def _loss(content: dict[str, Any]) -> dict[str, Any]:
    """What a LOSS block tells."""
    lost = [[number(value) for value in (cpu, probe, lost)] for cpu, probe, lost in content["lost"]]
    span = {name: number(content[name]) for name in ("from", "to")}
    return {**content, **span, "kind": str(content["kind"]), "lost": lost}


def _header(block: Block) -> dict[str, Any]:
    """The header; ValueError where an entry is of another kind than it must be."""
    header = dict(block.json())
    for name, kind in HEADER.items():
        if not isinstance(header.get(name, kind()), kind):
            raise ValueError(f"the header's {name} is no {kind.__name__}")
    Plan(header)
    kept_gaps(header)
    return header


def recovered(recovery: dict[str, int]) -> str:
    """What a RECOVERY block tells, in words."""
    text = f"{count(recovery.get('events', 0), 'event')} recovered from its memory"
    for what in ("busy", "unreadable", "overwritten"):
        if recovery.get(what):
            text += f", {recovery[what]} {what}"
    return text


class Source:
    """What the blocks of one file hold, as far as the file has been read."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._reader = Reader(path)
        except TraceError as error:
            raise AnalysisError(str(error)) from None
        self._spool: Spool | None = None
        self.header: dict[str, Any] = {}
        self.chunks: list[Records] = []
        self.tasks: list[tuple[int, int, str]] = []
        self.losses: list[dict[str, Any]] = []
        self.stacks: dict[int, list[tuple[str, str]]] = {}
        self.truth: list[bytes | memoryview] = []
        self.trailer: dict[str, Any] | None = None
        self.recovery: dict[str, int] | None = None
        self.oops: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Nothing more will come: the recorder ended in order, or its kernel is dead."""
        return self.trailer is not None or self.recovery is not None

    def beat(self) -> int:
        """When the file's writer last gave a sign of life (ns)."""
        return self._reader.beat()

    @property
    def damage(self) -> Damage | None:
        """Why the last look ended before the end of the file."""
        return self._reader.damage

    def read(self) -> list[Records]:
        """Take in the blocks that are new; returns their records."""
        self._reader.refresh()
        before, forgotten = len(self.chunks), 0
        try:
            for block in self._reader.blocks():
                self._take(block)
                if block.offset - forgotten > WALKED:
                    self.forget()
                    forgotten = block.offset
        except (TraceError, *MALFORMED) as error:
            raise AnalysisError(
                f"{self.path}: a whole block holds what no recorder writes: {error}: "
                "keep the file and report it"
            ) from error
        return self.chunks[before:]

    def _take(self, block: Block) -> None:
        if block.type in (BlockType.EVENTS, BlockType.RECORDS):
            self.chunks.append(_records(block))
        elif block.type == BlockType.COLUMNS:
            self._spool = self._spool or Spool()
            self.chunks.append(self._spool.put(unpack(block.payload, block.count)))
        elif block.type == BlockType.HEADER:
            self.header = _header(block)
        elif block.type == BlockType.TASKS:
            self.tasks += [(number(tid), number(pid), str(comm)) for tid, pid, comm in block.json()]
        elif block.type == BlockType.LOSS:
            self.losses.append(_loss(block.json()))
        elif block.type == BlockType.STACKS:
            for stack, frames in block.json().items():
                self.stacks[int(stack)] = [(str(name), str(place)) for name, place in frames]
        elif block.type == BlockType.TRUTH:
            self.truth.append(block.payload)
        elif block.type == BlockType.TRAILER:
            self.trailer = dict(block.json())
        elif block.type == BlockType.RECOVERY:
            self.recovery = {str(name): number(value) for name, value in block.json().items()}
        elif block.type == BlockType.OOPS:
            words = block.json()
            self.oops = {"lines": [str(line) for line in words["lines"]]}
            self.oops |= {name: number(words[name]) for name in WHEN if name in words}

    def require_header(self) -> None:
        """Raise AnalysisError where the file ends before its header does."""
        if not self.header:
            raise AnalysisError(
                f"{self.path} holds no whole header: the recorder was killed at its start; "
                "record again"
            )

    def warnings(self) -> list[str]:
        """What is missing of the file, one sentence each."""
        found = []
        if self._reader.damage is not None:
            found.append(f"{self.path}: {self._reader.damage}; the rest of the file is used")
        if self.recovery is not None:
            found.append(f"{self.path}: the kernel died; {recovered(self.recovery)}")
        elif self.trailer is None:
            found.append(
                f"{self.path} has no trailer: the recorder was killed or still runs; "
                "the end of the story is missing"
            )
        return found

    def forget(self) -> None:
        """Give back the memory of blocks that were looked at; they can be read again."""
        self._reader.forget()
        if self._spool is not None:
            self._spool.forget()

    def close(self) -> None:
        """Close the file; what was read stays valid."""
        self._reader.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
