# SPDX-License-Identifier: GPL-2.0-or-later
"""Renders a trace as text, block by block, with the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from probes.counters import COUNTERS
from probes.events import (
    BIT_ANON,
    BIT_DOUBLE_MAP,
    BIT_FREED,
    BIT_HUGETLB,
    BIT_TAIL,
    BIT_UNREAD,
    FIELDS,
    LEVEL_SHIFT,
    LEVELS,
    MARK_FIRST,
    MARKS,
    MOVED,
    MOVED_WORDS,
    NAMED_WORDS,
    NO_ADDRESS,
    OWNER,
    OWNER_COLUMNS,
    PIN_COLUMNS,
    PIN_OPS,
    PLACE,
    PLACE_WORDS,
    RECORD,
    RING_BUSY,
    RING_DISCARD,
    RING_HEADER_SIZE,
    SLOT_SIZE,
    TEXT_OFFSET,
    TEXT_SIZE,
)
from probes.tracefile import FLAG_RECOVERED, Block, BlockType, Reader, TraceError
from probes.visible import visible

BITS = (
    (BIT_ANON, "anon"),
    (BIT_DOUBLE_MAP, "double_map"),
    (BIT_HUGETLB, "hugetlb"),
    (BIT_FREED, "freed"),
    (BIT_UNREAD, "unread"),
    (BIT_TAIL, "tail"),
)
NAMES = [name for name, *_ in FIELDS]
#: Names and columns of the words of a record of a pin.
PINNED = list(PIN_COLUMNS.items()) + [(each.name, each.column) for each in COUNTERS if each.pins]
#: Names and columns of an owner record's words; two counters in one word are shown as one.
OWNED = list(OWNER_COLUMNS.items()) + [
    (each.name, each.column)
    for place, each in enumerate(COUNTERS)
    if each.owner and each.column != COUNTERS[place - 1].column
]


class Dump:
    """The lines of one file; ``warnings`` and ``losses`` are filled while they are made."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.warnings: list[str] = []
        self.losses = 0
        self._plan: dict[int, str] = {}
        self._pins: set[int] = set()
        self._ended = False

    def lines(self) -> Iterator[str]:
        """One line per record, and one per block that holds something else."""
        with Reader(self.path) as reader:
            try:
                for block in reader.blocks():
                    yield from map(visible, self._block(block))
            except TraceError as error:
                raise TraceError(f"{self.path}: {error}: keep the file and report it") from error
            if reader.damage is not None:
                self.warnings.append(f"{self.path}: {reader.damage}; the lines before it hold")
        if not self._ended:
            self.warnings.append(
                f"{self.path} has no trailer: the recorder was killed or still runs; "
                "its last records are missing"
            )

    def _block(self, block: Block) -> Iterator[str]:
        if block.type in (BlockType.EVENTS, BlockType.RECORDS):
            if block.flags & FLAG_RECOVERED:
                yield f"# {block.count} records from the memory of the dead kernel"
            yield from self._records(block)
            return
        if block.type == BlockType.COLUMNS:
            yield from self._packed(block)
            return
        known = block.type in set(BlockType)
        name = BlockType(block.type).name if known else f"type {block.type}"
        text = f"# block {name} at {block.offset}"
        if block.type == BlockType.TRUTH:
            yield f"{text}: {_truth_head(block)}"
        elif known:
            content = block.json()
            try:
                yield from _told(text, block.type, content)
                self._learn(block.type, content)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise TraceError(
                    f"block at byte {block.offset} holds what no recorder writes: {error!r}"
                ) from error
        else:
            yield f"{text}: {len(block.payload)} bytes"

    def _learn(self, type_: int, content: Any) -> None:
        if type_ == BlockType.HEADER:
            for entry in content.get("plan", []):
                place = f"{entry['function']}{entry.get('site') or ''}"
                if entry["op"] in PIN_OPS:
                    self._pins.add(entry["id"])
                self._plan[entry["id"]] = f"{entry['op']} {place} {entry.get('phase', 'point')}"
        elif type_ == BlockType.LOSS:
            self.losses += sum(number for _, _, number in content["lost"])
        elif type_ in (BlockType.TRAILER, BlockType.RECOVERY):
            self._ended = True

    def _records(self, block: Block) -> Iterator[str]:
        ring = block.type == BlockType.EVENTS
        stride, skip = (SLOT_SIZE, RING_HEADER_SIZE) if ring else (RECORD.size, 0)
        if len(block.payload) % stride:
            raise TraceError(f"block at byte {block.offset} does not hold whole records")
        for at in range(0, len(block.payload), stride):
            length = int.from_bytes(block.payload[at : at + 4], "little")
            if ring and length & (RING_BUSY | RING_DISCARD):
                yield "# a slot of the ring that was discarded"
                continue
            yield self._record(block.payload[at + skip : at + stride])

    def _packed(self, block: Block) -> Iterator[str]:
        from analysis.packing import unpack

        try:
            records = unpack(block.payload, block.count).tobytes()
        except ValueError as error:
            raise TraceError(f"block at byte {block.offset}: {error}") from None
        for at in range(0, len(records), RECORD.size):
            yield self._record(memoryview(records)[at : at + RECORD.size])

    def _record(self, data: memoryview) -> str:
        value = dict(zip(NAMES, RECORD.unpack(data), strict=True))
        head = (
            f"{value['ts']} seq={value['seq']} cpu={value['cpu']} "
            f"tid={value['tid']} pid={value['pid']}"
        )
        if value["probe"] == OWNER:
            told = " ".join(f"{name}={value[column]}" for name, column in OWNED)
            return f"{head} owner pfn={value['pfn']:#x} {told}"
        if value["probe"] == PLACE:
            mm, address = PLACE_WORDS.unpack(data[TEXT_OFFSET:])
            at = "?" if address == NO_ADDRESS else f"{address:#x}"
            return f"{head} place pfn={value['pfn']:#x} mm={mm:#x} address={at}"
        if value["probe"] == MOVED:
            mm, begin, to, size = MOVED_WORDS.unpack(data[TEXT_OFFSET:])
            return f"{head} moved mm={mm:#x} from={begin:#x} to={to:#x} bytes={size}"
        if value["probe"] >= MARK_FIRST:
            name = MARKS.get(value["probe"], f"mark {value['probe']:#x}")
            raw = bytes(data[TEXT_OFFSET : TEXT_OFFSET + TEXT_SIZE]).split(b"\0")[0]
            child = f" new={value['pfn'] & 0xFFFFFFFF}" if name == "task_new" else ""
            _, mm = NAMED_WORDS.unpack(data[TEXT_OFFSET:])
            space = f" mm={mm:#x}" if mm and name != "mark" else ""
            return f"{head} {name}{child}{space} {raw.decode(errors='replace')!r}"
        what = self._plan.get(value["probe"], f"probe {value['probe']}")
        level = LEVELS[min((value["bits"] >> LEVEL_SHIFT) & 3, len(LEVELS) - 1)]
        flags = ",".join(name for bit, name in BITS if value["bits"] & bit)
        names = ["nr", "mapcount", "entire", "nr_mapped", "large", "refcount", "aux"]
        shown = [(name, name) for name in names]
        if value["probe"] in self._pins:
            shown = [*PINNED, ("refcount", "refcount"), ("aux", "aux")]
        counters = " ".join(f"{name}={value[column]}" for name, column in shown)
        return (
            f"{head} {what} pfn={value['pfn']:#x} order={value['order']} level={level} "
            f"{counters} flags={value['flags']:#x} [{flags}]"
        )


def _told(text: str, type_: int, content: Any) -> Iterator[str]:
    if type_ == BlockType.OOPS:
        yield f"{text}:"
        yield from (f"#   {line}" for line in content["lines"])
    else:
        yield f"{text}: {json.dumps(content, separators=(',', ':'))}"


def _truth_head(block: Block) -> str:
    length = int.from_bytes(block.payload[:4], "little")
    head = bytes(block.payload[4 : 4 + length]).decode(errors="replace")
    return f"{head} and {len(block.payload) - 4 - length} bytes of pages"
