# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that died, as files: its trace, and a core with its rings."""

import struct

from probes.__main__ import main
from probes.elfcore import EHDR, PHDR
from probes.events import RECORD, RECORD_SIZE, RING_BUSY, SLOT_SIZE
from probes.tracefile import FLAG_RECOVERED, BlockType, Reader, Writer

PAGE = 4096
PAGES = 4
SIZE = PAGES * PAGE
#: Consumer's position, producer's, and the data, scattered as the kernel hands pages out.
FRAMES = [900, 100, 7, 8, 300, 5]
SLOTS = SIZE // SLOT_SIZE
CLOCK = {"printk_ns": 2_000_000_000, "monotonic_ns": 2_500_000_000, "within_ns": 4000}


def record(seq, cpu=0):
    return RECORD.pack(seq * 1000, seq, cpu, 1, 10, 10, 0, *([0] * 10))


class DeadKernel:
    """Rings in physical memory, and the recorder that drains them into a trace.

    ``rings``: how many; None: the one of a recorder of before 1.5, whose header names it otherwise.
    """

    def __init__(self, folder, rings=None):
        self.folder = folder
        numbers = range(rings or 1)
        self.frames = [[pfn + ring * 1000 for pfn in FRAMES] for ring in numbers]
        self.memory = {pfn: bytearray(PAGE) for frames in self.frames for pfn in frames}
        self._produced, self._drained = [0 for _ in numbers], [0 for _ in numbers]
        self.trace, self.core = str(folder / "t.mapcount"), str(folder / "core")
        with Writer(self.trace) as writer:
            runs = [[(pfn, 1) for pfn in frames] for frames in self.frames]
            told = {"slot": SLOT_SIZE, "slot_header": 8}
            one = {"ring": {**told, "frames": runs[0]}}
            header = {
                "page_size": PAGE,
                "ring_bytes": SIZE * (rings or 1),
                **(one if rings is None else {"rings": {**told, "bytes": SIZE, "frames": runs}}),
                "clock": {"printk": CLOCK},
            }
            writer.json(BlockType.HEADER, header)
            self.end = writer.size

    @property
    def drained(self):
        return self._drained[0]

    def put(self, count, busy=False, ring=0):
        for _ in range(count):
            length = RECORD_SIZE | (RING_BUSY if busy else 0)
            at_first = self._produced[ring]
            slot = struct.pack("<II", length, 3) + record(at_first // SLOT_SIZE, ring)
            for i, byte in enumerate(slot):
                page, at = divmod((at_first + i) % SIZE, PAGE)
                self.memory[self.frames[ring][2 + page]][at] = byte
            self._produced[ring] += SLOT_SIZE
        self.memory[self.frames[ring][1]][:8] = struct.pack("<Q", self._produced[ring])

    def drain(self, ring=0):
        slots = b"".join(
            struct.pack("<II", RECORD_SIZE, 3) + record(seq, ring)
            for seq in range(self._drained[ring] // SLOT_SIZE, self._produced[ring] // SLOT_SIZE)
        )
        with Writer(self.trace, at=self.end) as writer:
            writer.block(BlockType.EVENTS, slots, len(slots) // SLOT_SIZE, ring=ring)
            self.end = writer.size
        self._drained[ring] = self._produced[ring]

    def die(self, missing=(), cut=0):
        """Write the core, one segment a frame; the last ``cut`` bytes of it are not there."""
        frames = {pfn: data for pfn, data in self.memory.items() if pfn not in missing}
        place = EHDR.size + PHDR.size * len(frames)
        ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        head = EHDR.pack(ident, 4, 62, 1, 0, EHDR.size, 0, 0, EHDR.size, PHDR.size, len(frames),
                         0, 0, 0)  # fmt: skip
        table = b"".join(
            PHDR.pack(1, 0, place + i * PAGE, 0, pfn * PAGE, PAGE, PAGE, 0)
            for i, pfn in enumerate(frames)
        )
        whole = head + table + b"".join(frames.values())
        with open(self.core, "wb") as file:
            file.write(whole[: len(whole) - cut])

    def recover(self, *more):
        return main(["recover", "--core", self.core, *more, self.trace])

    def blocks(self):
        with Reader(self.trace) as reader:
            found = [(block, bytes(block.payload)) for block in reader.blocks()]
            assert reader.damage is None
            return found

    def recovered(self, ring=0):
        """The numbers of the recovered records of a ring."""
        return [
            RECORD.unpack_from(payload, at)[1]
            for block, payload in self.blocks()
            if block.flags & FLAG_RECOVERED and block.ring == ring
            for at in range(0, len(payload), RECORD_SIZE)
        ]

    def notes(self):
        """What each recovery of a ring tells, by ring."""
        told = [block for block, _ in self.blocks() if block.type == BlockType.RECOVERY]
        return {block.ring: block.json() for block in told}

    def note(self):
        return self.notes()[0]
