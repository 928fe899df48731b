# SPDX-License-Identifier: GPL-2.0-or-later
"""The values of /proc about the watched pages: entries of pagemap, figures of numa_maps and smaps.

Kept as they were read, for `audit` to compare with the operations.  At the end of a TRUTH
block's payload, by the counts in its JSON:

* runs (u32 pid, u32 pages, u64 address, u64 entry): pages one after the other in a process and
  in a frame, whose entries differ in the page frame number alone; ``entry`` is the first's
* areas (9 u64: pid, start, end, mapmax, and in KiB Rss, Pss, Shared, Private, mapped by PMDs):
  the mappings in which the runs lie; mapmax is 0 where the kernel prints none
"""

from __future__ import annotations

import array
import contextlib
import os
import re
import struct
from typing import AbstractSet, Any, Dict, Iterator, List, Tuple

from probes import limits
from probes.maps import FRAME_PAGES
from probes.pagetables import PFN_MASK, PRESENT, Vma

RUN = struct.Struct("<IIQQ")
AREA = struct.Struct("<9Q")
#: Keys of smaps whose sum is one figure of an area.
SUMS: Tuple[Tuple[str, ...], ...] = (
    ("Rss",),
    ("Pss",),
    ("Shared_Clean", "Shared_Dirty"),
    ("Private_Clean", "Private_Dirty"),
    ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped"),
)
#: numa_maps needs CONFIG_NUMA.
FILES = ("pagemap", "numa_maps", "smaps")


def runs_of(
    frames: AbstractSet[int], address: int, entries: "array.array[int]", page_size: int
) -> Iterator[Tuple[int, int, int]]:
    """(address, pages, first entry) of what some entries map in the frames of these numbers."""
    first = pages = 0
    for place, entry in enumerate(entries):
        if entry < PRESENT:
            continue
        next_one = place == first + pages and entry == entries[first] + pages
        # The low bits of an entry are those of the page frame number.
        if pages and next_one and entry % FRAME_PAGES:
            pages += 1
            continue
        if pages:
            yield address + first * page_size, pages, entries[first]
        first, pages = place, int((entry & PFN_MASK) // FRAME_PAGES in frames)
    if pages:
        yield address + first * page_size, pages, entries[first]


class Published:
    """Collects the data of some tasks' files at one snapshot."""

    def __init__(self) -> None:
        self._files = [name for name in FILES if os.path.exists(f"/proc/self/{name}")]
        self._runs: List[bytes] = []
        self._areas: List[bytes] = []
        self._vmas: List[Tuple[int, Vma]] = []

    def add(self, pid: int, vma: Vma, runs: List[Tuple[int, int, int]]) -> None:
        """Keep the entries of a part of a task's memory."""
        if runs:
            self._vmas.append((pid, vma))
            self._runs += [RUN.pack(pid, pages, at, entry) for at, pages, entry in runs]

    def runs(self) -> Iterator[Tuple[int, int, int, int]]:
        """(pid, pages, address, first entry) of all runs so far."""
        return map(RUN.unpack, self._runs)

    def end(self, pid: int, thread: int) -> List[Tuple[int, int, str, str]]:
        """Call after all of a task was added: reads its mappings' figures, by a living thread.

        Returns their start, end, flags and name.
        """
        vmas = sorted({vma for owner, vma in self._vmas if owner == pid})
        # Of a task that ends meanwhile there is nothing to be read.
        with contextlib.suppress(OSError):
            files = [name for name in self._files if name != "pagemap"] if vmas else []
            texts = {name: _text(thread, name) for name in files}
            mapmax = largest_counts(texts.get("numa_maps", ""))
            sums = figures(texts.get("smaps", ""))
            for vma in vmas:
                more = sums.get((vma.start, vma.end), [0] * len(SUMS))
                most = mapmax.get(vma.start, 0)
                self._areas.append(AREA.pack(pid, vma.start, vma.end, most, *more))
        return [(vma.start, vma.end, vma.flags, _clipped(vma.path)) for vma in vmas]

    def about(self) -> Dict[str, Any]:
        """Its part of the block's JSON."""
        return {"files": self._files, "runs": len(self._runs), "areas": len(self._areas)}

    def payload(self) -> bytes:
        """The runs and then the areas."""
        return b"".join(self._runs + self._areas)


def _clipped(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")[: limits.TEXT]


def _text(thread: int, name: str) -> str:
    with open(f"/proc/{thread}/{name}", errors="surrogateescape") as file:
        return file.read()


def largest_counts(numa_maps: str) -> Dict[int, int]:
    """The mapmax of each mapping that has one, by the mapping's start."""
    found = re.findall(r"^([0-9a-f]+) .*\bmapmax=(\d+)", numa_maps, re.MULTILINE)
    return {int(start, 16): int(count) for start, count in found}


def figures(smaps: str) -> Dict[Tuple[int, int], List[int]]:
    """The SUMS of each mapping, by its start and end."""
    place = {key: number for number, keys in enumerate(SUMS) for key in keys}
    found: Dict[Tuple[int, int], List[int]] = {}
    here: List[int] = []
    for line in smaps.splitlines():
        key, _, value = line.partition(":")
        if key in place:
            here[place[key]] += int(value.split()[0])
        elif re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            start, end = line.split(" ", 1)[0].split("-")
            here = found[int(start, 16), int(end, 16)] = [0] * len(SUMS)
    return found
