# SPDX-License-Identifier: GPL-2.0-or-later
"""The watch set as the recorder sees it: a state byte for each page of the memory that exists.

Physical memory has holes, and may begin at a high address.  A section is a GiB of it: a table
(struct sections of bpf/watch.h) has the index in the map of each section's first frame, or none if
the section has no memory.
"""

from __future__ import annotations

import array
import os
from typing import Iterable, Iterator, List, Optional, Set, Tuple

from probes.errors import ProbeError
from probes.maps import FRAME_BYTES, FRAME_PAGES, NO_FRAMES, SECTION_FRAMES, SECTIONS

#: Pages in physical order: first, last.
Range = Tuple[int, int]
_SECTION_PAGES = SECTION_FRAMES * FRAME_PAGES
_UNWATCHED, _WATCHED, _PINNED = b"\0", b"\1", b"\3"
_ANY_OFFSET = FRAME_PAGES + 8
#: What /proc/iomem calls memory that has pages: "System RAM (kmem)", "Persistent Memory (legacy)".
_MEMORY = ("System RAM", "Persistent Memory")
BLOCKS = "/sys/devices/system/memory"


def memory_ranges(iomem: str = "/proc/iomem", blocks: str = BLOCKS) -> List[Range]:
    """The pages of this machine's memory, and of memory that may come online.

    Raises ProbeError if the kernel does not show the addresses.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    found = []
    with open(iomem) as file:
        for line in file:
            where, _, what = line.strip().partition(" : ")
            if what.startswith(_MEMORY):
                first, last = (int(at, 16) for at in where.split("-"))
                found.append((first // page, last // page))
    if not any(last for _, last in found):
        raise ProbeError("/proc/iomem shows no addresses: run as root")
    return [*found, *_offline(blocks, page)]


def _offline(blocks: str, page: int) -> Iterator[Range]:
    """The memory blocks that may be put online."""
    try:
        with open(f"{blocks}/block_size_bytes") as file:
            pages = int(file.read(), 16) // page
        names = [name for name in os.listdir(blocks) if name[len("memory") :].isdigit()]
    except OSError:
        return  # a kernel without CONFIG_MEMORY_HOTPLUG
    for name in names:
        with open(f"{blocks}/{name}/state") as file:
            if file.read().strip() == "online":
                continue
        first = int(name[len("memory") :]) * pages
        yield first, first + pages - 1


def sections_of(ranges: Iterable[Range]) -> Tuple[int, ...]:
    """The sections that contain any of these pages, up to the size of the table."""
    found: Set[int] = set()
    for first, last in ranges:
        found.update(range(first // _SECTION_PAGES, last // _SECTION_PAGES + 1))
    return tuple(sorted(section for section in found if section < SECTIONS))


def table(sections: Tuple[int, ...]) -> bytes:
    """struct sections: the place of each section's first frame."""
    words = array.array("I", [NO_FRAMES]) * SECTIONS
    for place, section in enumerate(sections):
        words[section] = place * SECTION_FRAMES
    return words.tobytes()


class WatchSet:
    """The state bytes of the sections' frames, which the programs share."""

    def __init__(self, frames: memoryview, sections: Tuple[int, ...]) -> None:
        self._frames = frames
        self._sections = sections
        self._place = {section: at * SECTION_FRAMES for at, section in enumerate(sections)}

    def watched(self) -> List[int]:
        """First pfn of each frame that has a watched page."""
        found = []
        used = self._frames[_ANY_OFFSET::FRAME_BYTES].tobytes()
        i = _next_nonzero(used, 0)
        while i >= 0:
            state = self._frames[i * FRAME_BYTES : i * FRAME_BYTES + FRAME_PAGES].tobytes()
            if _WATCHED in state or _PINNED in state:
                section, frame = divmod(i, SECTION_FRAMES)
                found.append((self._sections[section] * SECTION_FRAMES + frame) * FRAME_PAGES)
            i = _next_nonzero(used, i + 1)
        return found

    def pin(self, first: int, last: int) -> None:
        """Watch these pages whatever happens to them.  Raises ProbeError if one does not exist."""
        for frame in range(first // FRAME_PAGES, last // FRAME_PAGES + 1):
            base = self._base(frame)
            if base is None:
                raise ProbeError(
                    f"there is no memory at pfn {max(first, frame * FRAME_PAGES):#x}: see the "
                    "ranges of System RAM in /proc/iomem"
                )
            start = max(first - frame * FRAME_PAGES, 0)
            stop = min(last + 1 - frame * FRAME_PAGES, FRAME_PAGES)
            self._frames[base + start : base + stop] = _PINNED * (stop - start)
            self._frames[base + _ANY_OFFSET] = 1

    def _base(self, frame: int) -> Optional[int]:
        section, at = divmod(frame, SECTION_FRAMES)
        place = self._place.get(section)
        return None if place is None else (place + at) * FRAME_BYTES


def _next_nonzero(data: bytes, start: int) -> int:
    rest = data[start:].lstrip(_UNWATCHED)
    return len(data) - len(rest) if rest else -1
