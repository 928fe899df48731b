# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes the records that the ring refused out of the place beside it (bpf/record.h)."""

from __future__ import annotations

from typing import Callable

from probes.events import RECORD_SIZE
from probes.fence import fence, settle
from probes.maps import SPILL_BYTES, SPILL_SLOTS

_CLAIMED, _WRITTEN, _TAKEN = range(3)
_HEAD = 24


class Spills:
    """The mapped struct spill of each CPU."""

    def __init__(self, spills: memoryview) -> None:
        self._cpus = [
            (spills[at : at + _HEAD].cast("Q"), spills[at + _HEAD : at + SPILL_BYTES])
            for at in range(0, len(spills), SPILL_BYTES)
        ]

    def drain(self, write: Callable[[bytes, int], None]) -> int:
        """Hand the whole records to ``write(records, count)`` and free their slots.

        A CPU that is writing one just now is passed over.  Returns their number.
        """
        total = 0
        for head, records in self._cpus:
            claimed, taken = head[_CLAIMED], head[_TAKEN]
            if claimed == taken or head[_WRITTEN] != claimed:
                continue
            settle()
            slots = [number % SPILL_SLOTS * RECORD_SIZE for number in range(taken, claimed)]
            write(b"".join(records[at : at + RECORD_SIZE] for at in slots), claimed - taken)
            fence()
            head[_TAKEN] = claimed
            total += claimed - taken
        return total
