# SPDX-License-Identifier: GPL-2.0-or-later
"""Drains the BPF ring buffer in whole chunks, without Python code per record.

The kernel lets the reader map the ring: one page with the consumer's position (which alone
may be written), one with the producer's, then the data twice back to back, so that a chunk
that wraps around is still contiguous (kernel/bpf/ringbuf.c).  All records have one size, so
the top bytes of their headers lie at a constant stride, and one slice tells how many are
complete.

Memory order, kept by probes/fence.py where the processor does not keep it: the producer's
position is read before the headers, the headers before the data (the kernel stores the position
with release semantics, and changes a header by an xchg() after the data), and all is read before
the consumer's position gives the space back.
"""

from __future__ import annotations

import mmap
from typing import Callable, Dict

from probes.events import RING_BUSY, RING_DISCARD, RING_HEADER_SIZE, SLOT_SIZE
from probes.fence import fence
from probes.frames import frames_of

#: A header's top byte holds the busy and discard bits.
_UNREADY = (RING_BUSY | RING_DISCARD) >> 24
_TOP_BYTE = 3


class Ring:
    """The mapped ring of one BPF_MAP_TYPE_RINGBUF."""

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = size
        self._start = 2 * page
        self._consumer_map = mmap.mmap(fd, page)
        self._map = mmap.mmap(fd, 2 * page + 2 * size, prot=mmap.PROT_READ)
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._map)[page : 2 * page].cast("Q")
        self._data = memoryview(self._map)[self._start :]

    def where(self) -> Dict[str, object]:
        """Where the ring lies in physical memory, for those who must read it when this kernel
        is dead.  Raises OSError where the kernel does not tell."""
        pages = 2 + self.size // mmap.PAGESIZE
        return {
            "slot": SLOT_SIZE,
            "slot_header": RING_HEADER_SIZE,
            "frames": frames_of(self._map, pages),
        }

    def fill(self) -> int:
        """Bytes waiting in the ring."""
        return int(self._producer[0] - self._consumer[0])

    def drain(self, write: Callable[[memoryview, int], None]) -> int:
        """Hand the complete records to ``write(slots, count)`` and free their space.

        Where ``write`` raises, the records stay in the ring.  Returns their number.
        """
        start, end = self._consumer[0], self._producer[0]
        count = (end - start) // SLOT_SIZE
        if not count:
            return 0
        fence()
        at = start % self.size
        # A slice of the map itself is one loop in C; a memoryview's copies byte by byte by call.
        top = self._start + at + _TOP_BYTE
        count = _complete(self._map[top : top + count * SLOT_SIZE : SLOT_SIZE])
        if count:
            fence()
            write(self._data[at : at + count * SLOT_SIZE], count)
            fence()
            self._consumer[0] = start + count * SLOT_SIZE
        return count


def _complete(tops: bytes) -> int:
    """How many records from the front on are complete."""
    # A record's length needs no bit of the top byte: comparing them all is one memcmp().
    if tops == bytes(len(tops)):
        return len(tops)
    return next(i for i, top in enumerate(tops) if top >= _UNREADY & -_UNREADY)
