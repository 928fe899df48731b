# SPDX-License-Identifier: GPL-2.0-or-later
"""Drains the BPF ring buffers, one for each CPU, in whole chunks: no Python code per record.

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
from functools import partial
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from probes.errors import ProbeError
from probes.events import RING_HEADER_SIZE, SLOT_SIZE
from probes.fence import fence
from probes.frames import frames_of

#: Where in a header the byte lies that holds the busy and the discard bit.
_TOP_BYTE = 3

#: What all rings have together by default: so much for each CPU, but within these two.
FOR_EACH_CPU = 1 << 20
LEAST_DEFAULT, MOST_DEFAULT = 8 << 20, 64 << 20


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

    def frames(self) -> List[Tuple[int, int]]:
        """The ring's page frames, see ``frames_of``."""
        return frames_of(self._map, 2 + self.size // mmap.PAGESIZE)

    def fill(self) -> int:
        """Bytes waiting in the ring."""
        return int(self._producer[0] - self._consumer[0])

    def drain(self, write: Callable[[memoryview, int], None]) -> int:
        """Hand the complete records to ``write(slots, count)`` and free their space.

        If ``write`` raises, the records stay in the ring.  Returns their number.
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


class Rings:
    """The rings of a recording, by number; each has the same size."""

    def __init__(self, fds: Sequence[int], size: int) -> None:
        self.size = size
        self._rings = [Ring(fd, size) for fd in fds]

    def where(self) -> Dict[str, object]:
        """The rings' page frames, for `recover` after the death of this kernel.  Raises OSError
        if the kernel does not show them."""
        return {
            "bytes": self.size,
            "slot": SLOT_SIZE,
            "slot_header": RING_HEADER_SIZE,
            "frames": [ring.frames() for ring in self._rings],
        }

    def drain(self, write: Callable[[int, memoryview, int], None], least: int = 0) -> int:
        """Hand the complete records of each ring to ``write(number, slots, count)``, the fullest
        ring first, and free their space.  Rings with fewer than ``least`` bytes are skipped.

        Returns the number of records.
        """
        fills = [(ring.fill(), number) for number, ring in enumerate(self._rings)]
        total = 0
        for fill, number in sorted(fills, reverse=True):
            if fill < max(least, SLOT_SIZE):
                break
            total += self._rings[number].drain(partial(write, number))
        return total


def size_of_each(rings: int, total: Optional[int]) -> int:
    """The size of each of some rings, a power of two of pages as the kernel takes it, so that
    they have at most ``total`` bytes together (None: the default).  Raises ProbeError."""
    if total is None:
        total = min(max(rings * FOR_EACH_CPU, LEAST_DEFAULT), MOST_DEFAULT)
    pages = total // rings // mmap.PAGESIZE
    if not pages:
        enough = -(-rings * mmap.PAGESIZE >> 20)
        raise ProbeError(
            f"{total >> 20} MiB give less than a page to each of {rings} ring buffers: "
            f"give --buffer {enough}"
        )
    return mmap.PAGESIZE << (pages.bit_length() - 1)


def _complete(tops: bytes) -> int:
    """How many records from the front on are complete: they are neither busy nor discarded, and a
    record's length needs no bit of the top byte."""
    return len(tops) - len(tops.lstrip(b"\0"))
