# SPDX-License-Identifier: GPL-2.0-or-later
"""Adds to a trace the records still in the rings when its kernel died, and the last messages.

Nothing in the file is changed.  Only a block that the kernel's death truncated is removed: no
reader could read past it, and its records are in their ring, because a record leaves the ring
only after its block was written.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from probes import cli
from probes.deadring import DeadRing, Salvage, rings_of
from probes.elfcore import Core
from probes.errors import ProbeError
from probes.events import RING_HEADER_SIZE, SLOT_SIZE
from probes.last_words import last_words
from probes.tracefile import FLAG_RECOVERED, PREAMBLE, BlockType, Reader, TraceError, Writer
from probes.visible import visible

#: This many of the last slots in the file must lie in the ring as well.
COMPARED = 64


@dataclass
class Covered:
    """What the trace has: by ring, up to which position, and the last slots before it; and the
    end of its complete blocks."""

    path: str
    header: Dict[str, Any] = field(default_factory=dict)
    position: Dict[int, int] = field(default_factory=lambda: defaultdict(int))
    tail: Dict[int, bytes] = field(default_factory=lambda: defaultdict(bytes))
    has_oops: bool = False
    ended: bool = False
    end: int = PREAMBLE.size
    torn: int = 0


def recover(core_path: str, trace_path: str, console: Optional[str] = None) -> int:
    """Recover into a trace.  Returns the exit status; raises ProbeError if it is not possible."""
    if os.path.islink(trace_path):
        raise ProbeError(f"{trace_path} is a symbolic link: give its target")
    try:
        return _recover(core_path, _read(trace_path), console)
    except (KeyError, TypeError, ValueError) as error:
        raise ProbeError(
            f"{trace_path} holds what no recorder writes ({error!r}): keep it and report it"
        ) from error


def _recover(core_path: str, trace: Covered, console: Optional[str]) -> int:
    with Core(core_path) as core:
        return _from_core(core, trace, console)


def _from_core(core: Core, trace: Covered, console: Optional[str]) -> int:
    if trace.ended:
        cli.result(visible(f"nothing to recover: the recorder of {trace.path} ended in order"))
        return 0
    words = None
    if console is not None and not trace.has_oops:
        try:
            words = last_words(console, trace.header["clock"].get("printk"))
        except OSError as error:
            raise ProbeError(f"cannot read {console}: {error.strerror}; leave it out") from None
    rings = rings_of(core, trace.header)
    for number, ring in enumerate(rings):
        _check(ring, number, trace, core.path)
    found = [
        (number, ring, ring.salvage(trace.position[number]))
        for number, ring in enumerate(rings)
        if ring.producer != trace.position[number]
    ]
    if not found and words is None:
        cli.result(visible(f"nothing to recover: {trace.path} has every record of the rings"))
        return 0
    # What the kernel said stands before a block that ends a recovery.
    found = found or [(0, rings[0], Salvage())]
    try:
        _append(trace, found, words)
    except OSError as error:
        raise ProbeError(
            f"cannot write {trace.path}: {error.strerror}; copy it to where you may write"
        ) from None
    cli.result(visible(_told(trace, [salvage for _, _, salvage in found], words)))
    return 0


def _read(path: str) -> Covered:
    found = Covered(path)
    has_oops = False
    try:
        with Reader(path) as reader:
            for block in reader.blocks():
                if block.type == BlockType.HEADER:
                    found.header = block.json()
                elif block.type == BlockType.EVENTS:
                    # Records leave a ring in whole chunks, from its beginning on.
                    found.position[block.ring] += len(block.payload)
                    found.tail[block.ring] = bytes(block.payload[-COMPARED * SLOT_SIZE :])
                elif block.type == BlockType.RECOVERY:
                    found.position[block.ring] = int(block.json()["to"])
                    found.tail[block.ring] = b""
                    found.has_oops |= has_oops
                has_oops |= block.type == BlockType.OOPS
                found.ended |= block.type == BlockType.TRAILER
                # What a recovery adds counts with the block that ends it: it may be cut off too.
                if block.type != BlockType.OOPS and not block.flags & FLAG_RECOVERED:
                    found.end = reader.at
            damage = reader.damage
            found.torn = reader.refresh() - found.end
    except OSError as error:
        raise ProbeError(f"cannot read {path}: {error.strerror}; give a trace") from None
    except TraceError as error:
        raise ProbeError(str(error)) from None
    if damage is not None and not damage.cut_off:
        raise ProbeError(
            f"{path} is damaged ({damage.reason} at byte {damage.offset}): recover into a copy "
            f"that was cut there (truncate -s {damage.offset})"
        )
    if not found.ended and not (found.header.get("rings") or found.header.get("ring")):
        raise ProbeError(
            f"{path} does not say where its rings lay in memory: only a trace that this or a newer "
            "mapcount recorded, with /proc/self/pagemap readable, can be completed"
        )
    return found


def _check(ring: DeadRing, number: int, trace: Covered, core: str) -> None:
    """The core must be of the kernel that recorded the trace: the ring still has its end."""
    position, tail = trace.position[number], trace.tail[number]
    first = position - len(tail)
    fits = ring.producer >= position and (ring.producer - position) % SLOT_SIZE == 0
    for at in range(0, len(tail) if fits else 0, SLOT_SIZE):
        slot = ring.slot(first + at) if first + at >= ring.oldest else None
        # The header's flags change while a record is written; the record does not.
        mine = tail[at + RING_HEADER_SIZE : at + SLOT_SIZE]
        fits &= slot is None or slot[RING_HEADER_SIZE:] == mine
    if not fits:
        raise ProbeError(
            f"{core} does not belong to {trace.path}: its rings do not continue the trace; "
            "give the core of the crash that ended this recording"
        )


def _append(
    trace: Covered, found: List[Tuple[int, DeadRing, Salvage]], words: Optional[Dict[str, Any]]
) -> None:
    """Of each ring its records, and the block that ends its recovery."""
    cut = trace.torn
    with Writer(trace.path, at=trace.end) as writer:
        for number, ring, salvage in found:
            if salvage.records:
                writer.block(
                    BlockType.RECORDS,
                    b"".join(salvage.records),
                    len(salvage.records),
                    flags=FLAG_RECOVERED,
                    ring=number,
                )
            if words is not None:
                writer.json(BlockType.OOPS, words, len(words["lines"]))
            writer.json(
                BlockType.RECOVERY,
                {
                    "events": len(salvage.records),
                    "busy": salvage.busy,
                    "unreadable": salvage.unreadable,
                    "overwritten": salvage.overwritten,
                    "from": trace.position[number],
                    "to": ring.producer,
                    "cut": cut,
                },
                ring=number,
            )
            words, cut = None, 0


def _told(trace: Covered, found: List[Salvage], words: Optional[Dict[str, Any]]) -> str:
    """What the user hears of it."""
    number = sum(len(salvage.records) for salvage in found)
    parts: List[str] = [f"{number} event{'s' * (number != 1)} recovered"]
    for number, what in (
        (sum(salvage.busy for salvage in found), "being written when the kernel died"),
        (sum(salvage.unreadable for salvage in found), "in memory that the core lacks"),
        (sum(salvage.overwritten for salvage in found), "overwritten"),
    ):
        if number:
            parts.append(f"{number} {what}")
    if trace.torn:
        parts.append(f"an unfinished block of {trace.torn} bytes cut off")
    if words is not None:
        parts.append(f"the kernel said: {words['lines'][0].strip()}")
    return ", ".join(parts)
