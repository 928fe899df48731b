# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies records out of the blocks of a file, many at a time.

A record is copied as 64 opaque bytes: numpy copies a struct field by field, 20 times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from analysis.arrays import Ints, Records
from probes.events import FIELDS, RECORD_SIZE

RECORD = np.dtype([(name, code) for name, _, code, _ in FIELDS])
#: Records that are looked at together: as many as caches hold.
BATCH = 1 << 17
#: Records in blocks that are passed before their memory is given back.
PASSED = 1 << 22
_OPAQUE = np.dtype((np.void, RECORD_SIZE))


def joined(chunks: Iterable[Records]) -> Records:
    """All records of some blocks in one array."""
    chunks = list(chunks)
    if len(chunks) == 1 and chunks[0].flags.c_contiguous:
        return chunks[0]
    parts = [np.empty(0, _OPAQUE), *(chunk.view(_OPAQUE) for chunk in chunks)]
    records: Records = np.concatenate(parts).view(RECORD)
    return records


def picked(records: Records, rows: Ints) -> Records:
    """Some records of an array."""
    some: Records = records.view(_OPAQUE)[rows].view(RECORD)
    return some


def gathered(chunks: Sequence[Records], places: Ints, done: Callable[[], None]) -> Records:
    """The records at some places (ascending) of the blocks taken together.

    ``done`` is called now and then: blocks that were passed are not needed any more.
    """
    result = np.empty(len(places), _OPAQUE)
    begins = np.cumsum([0, *map(len, chunks)])
    cut = np.searchsorted(places, begins)
    passed = 0
    for number in np.flatnonzero(cut[1:] > cut[:-1]).tolist():
        here = slice(cut[number], cut[number + 1])
        result[here] = chunks[number].view(_OPAQUE)[places[here] - begins[number]]
        if begins[number] - passed > PASSED:
            passed = begins[number]
            done()
    done()
    records: Records = result.view(RECORD)
    return records


def batches(chunks: Iterable[Records], size: int = BATCH) -> Iterator[Records]:
    """All records in arrays of at least ``size``, in the order of the file."""
    pending: list[Records] = []
    held = 0
    for chunk in chunks:
        pending.append(chunk)
        held += len(chunk)
        if held >= size:
            yield joined(pending)
            pending, held = [], 0
    if pending:
        yield joined(pending)
