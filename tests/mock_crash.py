# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that died, as files: its trace, and a core with its ring."""

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


def record(seq):
    return RECORD.pack(seq * 1000, seq, 0, 1, 10, 10, 0, *([0] * 10))


class DeadKernel:
    """A ring in physical memory, and the recorder that drains it into a trace."""

    def __init__(self, folder):
        self.folder = folder
        self.memory = {pfn: bytearray(PAGE) for pfn in FRAMES}
        self.produced = self.drained = 0
        self.trace, self.core = str(folder / "t.mapcount"), str(folder / "core")
        with Writer(self.trace) as writer:
            runs = [(pfn, 1) for pfn in FRAMES[:2]] + [(7, 2), (300, 1), (5, 1)]
            header = {
                "page_size": PAGE,
                "ring_bytes": SIZE,
                "ring": {"slot": SLOT_SIZE, "slot_header": 8, "frames": runs},
                "clock": {"printk": CLOCK},
            }
            writer.json(BlockType.HEADER, header)
            self.end = writer.size

    def put(self, count, busy=False):
        for _ in range(count):
            length = RECORD_SIZE | (RING_BUSY if busy else 0)
            slot = struct.pack("<II", length, 3) + record(self.produced // SLOT_SIZE)
            for i, byte in enumerate(slot):
                page, at = divmod((self.produced + i) % SIZE, PAGE)
                self.memory[FRAMES[2 + page]][at] = byte
            self.produced += SLOT_SIZE
        self.memory[FRAMES[1]][:8] = struct.pack("<Q", self.produced)

    def drain(self):
        slots = b"".join(
            struct.pack("<II", RECORD_SIZE, 3) + record(seq)
            for seq in range(self.drained // SLOT_SIZE, self.produced // SLOT_SIZE)
        )
        with Writer(self.trace, at=self.end) as writer:
            writer.block(BlockType.EVENTS, slots, len(slots) // SLOT_SIZE)
            self.end = writer.size
        self.drained = self.produced

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

    def recovered(self):
        """The numbers of the recovered records."""
        return [
            RECORD.unpack_from(payload, at)[1]
            for block, payload in self.blocks()
            if block.flags & FLAG_RECOVERED
            for at in range(0, len(payload), RECORD_SIZE)
        ]

    def note(self):
        return [block.json() for block, _ in self.blocks() if block.type == BlockType.RECOVERY][-1]
