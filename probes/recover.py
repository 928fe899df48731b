# SPDX-License-Identifier: GPL-2.0-or-later
"""Adds to a trace what was still in the ring when its kernel died, and what that kernel said.

Nothing that the file holds is changed.  Only a block that the kernel's death cut off in
the middle is taken away: no reader could get past it, and its records are in the ring,
for a record leaves the ring only after its block was written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from probes import cli
from probes.deadring import DeadRing, Salvage
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
    """What the trace holds: up to which position of the ring, and where its whole blocks end."""

    path: str
    header: Dict[str, Any] = field(default_factory=dict)
    position: int = 0
    tail: bytes = b""
    has_oops: bool = False
    ended: bool = False
    end: int = PREAMBLE.size
    torn: int = 0


def recover(core_path: str, trace_path: str, console: Optional[str] = None) -> int:
    """Recover into a trace.  Returns the exit status; raises ProbeError where it cannot be."""
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
    ring = DeadRing(core, trace.header)
    _check(ring, trace, core.path)
    found = ring.salvage(trace.position)
    if ring.producer == trace.position and words is None:
        cli.result(visible(f"nothing to recover: {trace.path} has every record of the ring"))
        return 0
    try:
        _append(trace, ring, found, words)
    except OSError as error:
        raise ProbeError(
            f"cannot write {trace.path}: {error.strerror}; copy it to where you may write"
        ) from None
    cli.result(visible(_told(trace, found, words)))
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
                    # Records leave the ring in whole chunks, from its beginning on.
                    found.position += len(block.payload)
                    found.tail = bytes(block.payload[-COMPARED * SLOT_SIZE :])
                elif block.type == BlockType.RECOVERY:
                    found.position = int(block.json()["to"])
                    found.tail = b""
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
    if not found.ended and not found.header.get("ring"):
        raise ProbeError(
            f"{path} does not say where its ring lay in memory: only a trace that this or a newer "
            "mapcount recorded, with /proc/self/pagemap readable, can be completed"
        )
    return found


def _check(ring: DeadRing, trace: Covered, core: str) -> None:
    """The core must be of the kernel that recorded the trace: the ring still has its end."""
    first = trace.position - len(trace.tail)
    fits = ring.producer >= trace.position and (ring.producer - trace.position) % SLOT_SIZE == 0
    for at in range(0, len(trace.tail) if fits else 0, SLOT_SIZE):
        slot = ring.slot(first + at) if first + at >= ring.oldest else None
        # The header's flags change while a record is written; the record does not.
        mine = trace.tail[at + RING_HEADER_SIZE : at + SLOT_SIZE]
        fits &= slot is None or slot[RING_HEADER_SIZE:] == mine
    if not fits:
        raise ProbeError(
            f"{core} does not belong to {trace.path}: its ring does not continue the trace; "
            "give the core of the crash that ended this recording"
        )


def _append(
    trace: Covered, ring: DeadRing, found: Salvage, words: Optional[Dict[str, Any]]
) -> None:
    with Writer(trace.path, at=trace.end) as writer:
        if found.records:
            writer.block(
                BlockType.RECORDS,
                b"".join(found.records),
                len(found.records),
                flags=FLAG_RECOVERED,
            )
        if words is not None:
            writer.json(BlockType.OOPS, words, len(words["lines"]))
        writer.json(
            BlockType.RECOVERY,
            {
                "events": len(found.records),
                "busy": found.busy,
                "unreadable": found.unreadable,
                "overwritten": found.overwritten,
                "from": trace.position,
                "to": ring.producer,
                "cut": trace.torn,
            },
        )


def _told(trace: Covered, found: Salvage, words: Optional[Dict[str, Any]]) -> str:
    """What the user hears of it."""
    number = len(found.records)
    parts: List[str] = [f"{number} event{'s' * (number != 1)} recovered"]
    for number, what in (
        (found.busy, "being written when the kernel died"),
        (found.unreadable, "in memory that the core lacks"),
        (found.overwritten, "overwritten"),
    ):
        if number:
            parts.append(f"{number} {what}")
    if trace.torn:
        parts.append(f"an unfinished block of {trace.torn} bytes cut off")
    if words is not None:
        parts.append(f"the kernel said: {words['lines'][0].strip()}")
    return ", ".join(parts)
