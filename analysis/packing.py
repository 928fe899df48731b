# SPDX-License-Identifier: GPL-2.0-or-later
"""Stores records field by field, as differences from one to the next, which compress well.

Times, pages and counters of neighbouring records differ little, and the bytes of one field
at a time are mostly zeros.  Packing is for files that are finished: the recorder writes its
records as they are.
"""

from __future__ import annotations

import mmap
import tempfile

import numpy as np
import numpy.typing as npt

from analysis.arrays import Records
from analysis.records import RECORD
from probes.events import RECORD_SIZE
from probes.tracefile import Payload


def pack(records: Records) -> bytes:
    """The bytes of each field's differences, the lowest bytes of all records first."""
    planes = []
    for name in RECORD.names or ():
        column = _unsigned(records[name])
        column[1:] -= column[:-1].copy()
        planes.append(
            np.ascontiguousarray(column.view("u1").reshape(len(column), column.itemsize).T)
        )
    return b"".join(plane.tobytes() for plane in planes)


def unpack(payload: Payload, count: int) -> Records:
    """The inverse of ``pack``; raises ValueError if the size does not fit."""
    data = np.frombuffer(payload, "u1")
    if len(data) != count * RECORD_SIZE:
        raise ValueError(f"{len(data)} bytes are not {count} packed records")
    records: Records = np.empty(count, RECORD)
    at = 0
    for name in RECORD.names or ():
        kind = RECORD[name]
        size = count * kind.itemsize
        planes = data[at : at + size].reshape(kind.itemsize, count)
        column = np.ascontiguousarray(planes.T).view(f"<u{kind.itemsize}")[:, 0]
        records[name] = np.cumsum(column, dtype=column.dtype).view(kind)
        at += size
    return records


def _unsigned(column: npt.NDArray[np.generic]) -> npt.NDArray[np.unsignedinteger]:
    """A copy that wraps around instead of overflowing."""
    return np.array(column).view(f"<u{column.dtype.itemsize}")


class Spool:
    """Unpacked records in a temporary file, so that they need memory only while they are read."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="mapcount-")  # noqa: SIM115  (lives as we do)
        self._maps: list[mmap.mmap] = []

    def put(self, records: Records) -> Records:
        """Write records, and return them as a view of the file.  An OSError is passed on."""
        if not len(records):
            return records
        begin = self._file.seek(0, 2)
        begin = self._file.seek(-begin % mmap.PAGESIZE, 1)
        self._file.write(records.tobytes())
        self._file.flush()
        mapped = mmap.mmap(
            self._file.fileno(), records.nbytes, access=mmap.ACCESS_READ, offset=begin
        )
        self._maps.append(mapped)
        return np.frombuffer(mapped, RECORD)

    def forget(self) -> None:
        """Release the memory of records that were read."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)
