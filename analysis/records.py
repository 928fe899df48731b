# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies records out of the blocks of a file, many at a time.

A record is copied as 64 opaque bytes: numpy copies a struct field by field, 20 times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.arrays import Bools, Ints, Records
from analysis.errors import AnalysisError
from probes import limits
from probes.events import FIELDS, MARK_FIRST, OWNER, PLACE, RECORD_SIZE, RING_BUSY, RING_DISCARD
from probes.tracefile import BLOCK_SIZE, Block, BlockType, File, TraceError

RECORD = np.dtype([(name, code) for name, _, code, _ in FIELDS])
SLOT = np.dtype([("length", "<u4"), ("page", "<u4"), ("record", RECORD)])


def _words(**offsets: int) -> np.dtype[Any]:
    return np.dtype(
        {
            "names": list(offsets),
            "formats": ["<u8"] * len(offsets),
            "offsets": list(offsets.values()),
            "itemsize": RECORD_SIZE,
        }
    )


#: What some records have in place of counters: a place record, that of a task, and of a move.
PLACED = _words(mm=32, address=40)
NAMED = _words(mm=48)
MOVES = _words(mm=32, begin=40, to=48, bytes=56)
#: Records that are looked at together: as many as caches hold.
BATCH = 1 << 17
#: Records in blocks that are passed before their memory is given back.
PASSED = 1 << 22
_OPAQUE = np.dtype((np.void, RECORD_SIZE))


class Stored:
    """The records of one block, read from the file at each use.

    ``whole``: a mask of the slots that hold a record; None: all.
    """

    def __init__(self, file: File, block: Block, slots: npt.NDArray[np.void]) -> None:
        self._file, self._at = file, block.offset + BLOCK_SIZE
        self._dtype, self._bytes = slots.dtype, slots.nbytes
        whole = np.ones(len(slots), dtype=bool)
        if slots.dtype == SLOT:
            whole = (slots["length"] & np.uint32(RING_BUSY | RING_DISCARD)) == 0
        self._whole = None if whole.all() else whole
        self._len = int(whole.sum())

    def __len__(self) -> int:
        return self._len

    def read(self) -> Records:
        """The records.  Raises AnalysisError if the file no longer has them."""
        try:
            data = self._file.read(self._at, self._bytes)
        except TraceError as error:
            raise AnalysisError(str(error)) from None
        slots: Records = np.frombuffer(data, self._dtype)
        records = slots["record"] if self._dtype == SLOT else slots
        return records if self._whole is None else records[self._whole]


#: Records of one block, in memory or in the file.
Chunk = Records | Stored


def stored(file: File, block: Block) -> Stored:
    """The records of an EVENTS or RECORDS block.  Raises TraceError if they are not valid."""
    dtype = SLOT if block.type == BlockType.EVENTS else RECORD
    if len(block.payload) % dtype.itemsize:
        raise TraceError(f"block at byte {block.offset} does not hold whole records")
    slots = np.frombuffer(block.payload, dtype)
    found = Stored(file, block, slots)
    records = slots["record"] if dtype == SLOT else slots
    check_orders(records, block.offset)
    return found


def check_orders(records: Records, offset: int) -> None:
    """Raise TraceError if the order of a record's folio is above the limit."""
    high = records["order"] > limits.ORDER
    # In the place of the order a mark has a letter.
    probe = records["probe"]
    if high.any() and (high & ((probe < MARK_FIRST) | is_beside(probe))).any():
        raise TraceError(f"block at byte {offset} has a folio of an order above {limits.ORDER}")


def is_beside(probe: npt.NDArray[Any]) -> Bools:
    """A mask of owner and place records, by their probe ids: they precede an operation's record."""
    found: Bools = (probe == OWNER) | (probe == PLACE)
    return found


def words(records: Records, rows: Ints, layout: np.dtype[Any]) -> Records:
    """The words that some records have in place of counters."""
    found: Records = picked(records, rows).view(layout)
    return found


def fetched(chunk: Chunk) -> Records:
    """The records of a block, in memory."""
    return chunk.read() if isinstance(chunk, Stored) else chunk


def joined(chunks: Iterable[Chunk]) -> Records:
    """All records of some blocks in one array."""
    found = [fetched(chunk) for chunk in chunks]
    if len(found) == 1 and found[0].flags.c_contiguous:
        return found[0]
    parts = [np.empty(0, _OPAQUE), *(chunk.view(_OPAQUE) for chunk in found)]
    records: Records = np.concatenate(parts).view(RECORD)
    return records


def picked(records: Records, rows: Ints) -> Records:
    """Some records of an array."""
    some: Records = records.view(_OPAQUE)[rows].view(RECORD)
    return some


def gathered(chunks: Sequence[Chunk], places: Ints, done: Callable[[], None]) -> Records:
    """The records at some indices (ascending) of all blocks.

    ``done`` is called now and then: blocks that were passed are not needed any more.
    """
    result = np.empty(len(places), _OPAQUE)
    begins = np.cumsum([0, *map(len, chunks)])
    cut = np.searchsorted(places, begins)
    passed = 0
    for number in np.flatnonzero(cut[1:] > cut[:-1]).tolist():
        here = slice(cut[number], cut[number + 1])
        result[here] = fetched(chunks[number]).view(_OPAQUE)[places[here] - begins[number]]
        if begins[number] - passed > PASSED:
            passed = begins[number]
            done()
    done()
    records: Records = result.view(RECORD)
    return records


def batches(chunks: Iterable[Chunk], size: int = BATCH) -> Iterator[Records]:
    """All records in arrays of at least ``size``, in the order of the file."""
    pending: list[Chunk] = []
    held = 0
    for chunk in chunks:
        pending.append(chunk)
        held += len(chunk)
        if held >= size:
            yield joined(pending)
            pending, held = [], 0
    if pending:
        yield joined(pending)
