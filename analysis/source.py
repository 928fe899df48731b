# SPDX-License-Identifier: GPL-2.0-or-later
"""Sorts the blocks of a trace file by kind; can read on while the file grows."""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Any

from analysis import bounds
from analysis.errors import AnalysisError
from analysis.losses import kept_gaps
from analysis.packing import Spool, unpack
from analysis.plan import Plan
from analysis.records import Chunk, check_orders, stored
from analysis.text import count
from analysis.truth import Layout, decode
from probes import limits
from probes.tracefile import Block, BlockType, Damage, Reader, TraceError

#: An OOPS block's times, as far as they are known.
WHEN = ("printk_ns", "monotonic_ns", "within_ns")


#: What it costs to take a block for what it is not.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)


def _header(block: Block) -> dict[str, Any]:
    """The header; ValueError where an entry is of another kind than it must be."""
    header = bounds.header(block.json())
    Plan(header)
    kept_gaps(header)
    return header


def recovered(recovery: dict[str, int]) -> str:
    """A RECOVERY block in words."""
    text = f"{count(recovery.get('events', 0), 'event')} recovered from its memory"
    for what in ("busy", "unreadable", "overwritten"):
        if recovery.get(what):
            text += f", {recovery[what]} {what}"
    return text


class Source:
    """The contents of the blocks of one file, as far as it has been read."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._reader = Reader(path)
        except TraceError as error:
            raise AnalysisError(str(error)) from None
        self._spool: Spool | None = None
        self.header: dict[str, Any] = {}
        self.chunks: list[Chunk] = []
        self.tasks: list[tuple[int, int, str]] = []
        self.spaces: list[tuple[int, int]] = []
        self.losses: list[dict[str, Any]] = []
        self.stacks: dict[int, list[tuple[str, str]]] = {}
        self.truth: list[bytes | memoryview] = []
        self.trailer: dict[str, Any] | None = None
        self.recovery: dict[str, int] | None = None
        self.oops: dict[str, Any] | None = None
        #: Frames are the same in many stacks.
        self._frames: dict[tuple[str, str], tuple[str, str]] = {}
        self._unread: list[str] = []

    @property
    def ended(self) -> bool:
        """The file is complete: the recorder ended normally, or its kernel died."""
        return self.trailer is not None or self.recovery is not None

    def beat(self) -> int:
        """When the file's writer last gave a sign of life (ns)."""
        return self._reader.beat()

    @property
    def damage(self) -> Damage | None:
        """Why the last read ended before the end of the file."""
        return self._reader.damage

    def read(self) -> list[Chunk]:
        """Read the new blocks; returns their records."""
        self._reader.refresh()
        before = len(self.chunks)
        try:
            for block in self._reader.blocks():
                self._take(block)
        except (TraceError, *MALFORMED) as error:
            raise AnalysisError(
                f"{self.path}: a whole block holds what no recorder writes: {error}: "
                "keep the file and report it"
            ) from error
        return self.chunks[before:]

    def _take(self, block: Block) -> None:
        if block.type in (BlockType.EVENTS, BlockType.RECORDS):
            self.chunks.append(stored(self._reader.file, block))
        elif block.type == BlockType.COLUMNS:
            self._spool = self._spool or Spool()
            records = unpack(block.payload, block.count)
            check_orders(records, block.offset)
            self.chunks.append(self._spool.put(records))
        elif block.type == BlockType.HEADER:
            if self.header:
                raise ValueError("there is a second header")
            self.header = _header(block)
        elif block.type == BlockType.TASKS:
            self.tasks += bounds.tasks(block.json())
        elif block.type == BlockType.SPACES:
            self.spaces += bounds.spaces(block.json())
        elif block.type == BlockType.LOSS:
            self.losses.append(bounds.loss(block.json()))
        elif block.type == BlockType.STACKS:
            self._take_stacks(block.json())
        elif block.type == BlockType.TRUTH:
            self._take_truth(block)
        elif block.type == BlockType.TRAILER:
            self.trailer = dict(block.json())
            self.trailer["end"] = bounds.text(self.trailer.get("end", "in order"))
        elif block.type == BlockType.RECOVERY:
            told = {
                bounds.text(name): bounds.whole(value, 0, limits.EVER)
                for name, value in block.json().items()
            }
            # One for each ring.
            before = self.recovery or {}
            self.recovery = {name: before.get(name, 0) + value for name, value in told.items()}
        elif block.type == BlockType.OOPS:
            words = block.json()
            lines = bounds.listed(words["lines"], limits.LINES)
            self.oops = {"lines": [bounds.text(line) for line in lines]}
            self.oops |= {
                name: bounds.whole(words[name], 0, limits.EVER) for name in WHEN if name in words
            }

    def _take_stacks(self, content: dict[str, Any]) -> None:
        for stack, frames in content.items():
            self.stacks[int(stack)] = [
                self._frames.setdefault(frame, frame) for frame in bounds.frames(frames)
            ]
        if len(self.stacks) > limits.STACKS:
            raise ValueError(f"there are more than {limits.STACKS} stacks")

    def _take_truth(self, block: Block) -> None:
        """Keep a snapshot that can be decoded; one that cannot takes nothing else with it."""
        try:
            decode(block.payload, Layout.of(self.header))
        except (TraceError, struct.error, *MALFORMED) as error:
            self._unread.append(f"the snapshot at byte {block.offset} does not decode ({error})")
        else:
            self.truth.append(block.payload)

    def require_header(self) -> None:
        """Raise AnalysisError if the file ends before its header does."""
        if not self.header:
            raise AnalysisError(
                f"{self.path} has no complete header: the recorder was killed at its start; "
                "record again"
            )

    def warnings(self) -> list[str]:
        """What is missing from the file, one sentence each."""
        found = []
        if self._unread:
            more = f", and {len(self._unread) - 1} more" if self._unread[1:] else ""
            found.append(f"{self.path}: {self._unread[0]}{more}: left out")
        if self._reader.damage is not None:
            found.append(f"{self.path}: {self._reader.damage}; the rest of the file is used")
        if self.recovery is not None:
            found.append(f"{self.path}: the kernel died; {recovered(self.recovery)}")
        elif self.trailer is None:
            found.append(
                f"{self.path} has no trailer: the recorder was killed or still runs; "
                "its last records are missing"
            )
        return found

    def forget(self) -> None:
        """Release the memory of blocks that were read; they can be read again."""
        if self._spool is not None:
            self._spool.forget()

    def close(self) -> None:
        """Stop reading blocks; those that were read stay valid."""
        self._reader.close()

    def release(self) -> None:
        """Close the file, too: reading further records is an AnalysisError from here on."""
        self._reader.file.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
