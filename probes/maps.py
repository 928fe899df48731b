# SPDX-License-Identifier: GPL-2.0-or-later
"""The sizes of the maps that the BPF programs and the recorder share (bpf/*.h)."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Tuple

from probes import events

#: A frame is what one PMD maps: a page table is a page of 8-byte entries.
FRAME_PAGES = mmap.PAGESIZE // 8
#: struct frame: one state byte per page, the time of the last free, a mark.
FRAME_BYTES = FRAME_PAGES + 16
#: A section is a GiB of physical addresses; of these the watch set knows 2^18 (256 TiB).
SECTION_FRAMES = (1 << 30) // (FRAME_PAGES * mmap.PAGESIZE)
SECTIONS = 1 << 18
#: In place of the first frame of a section that holds no memory: the map has not so many.
NO_FRAMES = 0xFFFF0000
MARK_SLOTS = 16
#: Programs that are a second one at their place (Probe.instead).
SECOND_PROGRAMS = 2
MADE_UP_AT = 32 + MARK_SLOTS * (4 + events.TEXT_SIZE)
CONTROL_BYTES = MADE_UP_AT + 8 * SECOND_PROGRAMS
STACK_SLOTS = 16384
#: Pids are below PID_MAX_LIMIT (include/linux/threads.h); of each there is a byte (struct tasks).
MAX_TASKS = 1 << 22
#: Bytes by some bits of the address of a struct mm_struct, which lies at a whole cache line.
MM_HINT_SHIFT, MM_HINTS = 6, 1 << 16


def count_words(probes: int) -> int:
    """u64 words of one CPU's counts: its sequence number, then the lost ones by probe; the
    last is for records with text (marks and tasks)."""
    return 1 + probes + 1


@dataclass(frozen=True)
class Shape:
    """The sizes of the maps on this machine.

    ``cpus``: one more than the highest number that a CPU may have; ``online``: the numbers of
    those that have a ring of ``ring_bytes``; ``sections``: of physical memory, those that hold any.
    """

    cpus: int
    online: Tuple[int, ...]
    sections: Tuple[int, ...]
    ring_bytes: int
    probes: int

    @property
    def frames(self) -> int:
        """The number of frames of the watch set."""
        return len(self.sections) * SECTION_FRAMES

    @property
    def all_ring_bytes(self) -> int:
        """The size of all rings together."""
        return len(self.online) * self.ring_bytes

    def ring_of(self, cpu: int) -> int:
        """The ring into which a CPU writes; a CPU that comes online later shares one."""
        return self.online.index(cpu) if cpu in self.online else cpu % len(self.online)

    @property
    def count_words(self) -> int:
        """u64 words of one CPU's counts."""
        return count_words(self.probes)
