# SPDX-License-Identifier: GPL-2.0-or-later
"""A ring of a dead kernel, read from a core by the frames that its trace names.

Positions count the bytes that were ever put into the ring, as the kernel counts them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from probes.elfcore import Core
from probes.errors import ProbeError
from probes.events import RECORD_SIZE, RING_HEADER_SIZE, SLOT_SIZE

#: The pages of a ring in the order of its frames: consumer's position, producer's, data.
_PRODUCER, _DATA = 1, 2


@dataclass
class Salvage:
    """What was in the ring between two positions.

    ``busy``: records that were being written; ``unreadable``: the core lacks their page;
    ``overwritten``: newer ones had taken their place, and the trace lost them too.
    """

    records: List[bytes] = field(default_factory=list)
    busy: int = 0
    unreadable: int = 0
    overwritten: int = 0


Frames = List[Tuple[int, int]]


def rings_of(core: Core, header: Dict[str, Any]) -> "List[DeadRing]":
    """The rings that a trace's header tells of, by number; before 1.5 there was one.

    Raises ProbeError where the core does not have them.
    """
    told = header.get("rings")
    if told is None:
        told = {"bytes": header["ring_bytes"], **header["ring"]}
        told["frames"] = [told["frames"]]
    size, page_size = int(told["bytes"]), int(header["page_size"])
    pages = [sum(number for _, number in ring) for ring in told["frames"]]
    if told["slot"] != SLOT_SIZE or set(pages) != {_DATA + size // page_size}:
        raise ProbeError("the trace's rings have another shape: use the mapcount that wrote it")
    return [DeadRing(core, ring, size, page_size) for ring in told["frames"]]


class DeadRing:
    """A ring as the core holds it.  Raises ProbeError where it cannot be found there."""

    def __init__(self, core: Core, runs: Frames, size: int, page_size: int) -> None:
        self._core = core
        self.size = size
        self._page_size = page_size
        self._pfns = [pfn for first, n in runs for pfn in range(first, first + n)]
        self._pages: Dict[int, Optional[bytes]] = {}
        page = self._page(_PRODUCER)
        if page is None:
            raise ProbeError(
                f"{core.path} lacks the frame with the ring's position "
                f"(pfn {self._pfns[_PRODUCER]:#x}): give the whole memory's core"
            )
        #: Where the kernel would have put its next record.
        self.producer = int.from_bytes(page[:8], "little")

    @property
    def oldest(self) -> int:
        """Position of the oldest record that is still whole in the ring."""
        return -(-max(0, self.producer - self.size) // SLOT_SIZE) * SLOT_SIZE

    def slot(self, position: int) -> Optional[bytes]:
        """The slot at a position, None where the core lacks its page."""
        at = position % self.size
        index, start = divmod(at, self._page_size)
        data = self._page(_DATA + index)
        if start + SLOT_SIZE > self._page_size and data is not None:
            following = self._page(_DATA + (index + 1) % (self.size // self._page_size))
            data = None if following is None else data + following
        return None if data is None else data[start : start + SLOT_SIZE]

    def salvage(self, start: int) -> Salvage:
        """The records from a position on."""
        found = Salvage()
        begin = max(start, self.oldest)
        found.overwritten = (begin - start) // SLOT_SIZE
        for position in range(begin, self.producer, SLOT_SIZE):
            slot = self.slot(position)
            if slot is None:
                found.unreadable += 1
            elif struct.unpack_from("<I", slot)[0] == RECORD_SIZE:  # neither busy nor discarded
                found.records.append(slot[RING_HEADER_SIZE:])
            else:
                found.busy += 1
        return found

    def _page(self, index: int) -> Optional[bytes]:
        if index not in self._pages:
            physical = self._pfns[index] * self._page_size
            self._pages[index] = self._core.read(physical, self._page_size)
        return self._pages[index]
