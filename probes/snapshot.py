# SPDX-License-Identifier: GPL-2.0-or-later
"""Ground truth: the kernel's own words and files about the watched frames.

Nothing here goes through the probes.  For each frame (what a PMD maps) with a watched page the raw
struct pages are read from /proc/kcore, beside /proc/kpagecount, /proc/kpageflags and the
page tables (/proc/PID/pagemap) of the traced tasks.

A TRUTH block's payload is a u32 length, that many bytes of JSON (name, ts_begin, ts_end,
frames, frame_pages, tasks, mms, skipped), and then, each over all frames: the struct pages,
kpagecount (u64; all ones on a kernel without that file), kpageflags (u64; then 0), mappers (u16:
page-table entries of the traced tasks that map the page, those of an address space counted once).
What probes/published.py kept of the tasks' files comes next, and last what probes/rights.py found.
"""

from __future__ import annotations

import array
import json
import mmap
import os
import struct
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from probes.kernel import Memory
from probes.layout import Layout
from probes.maps import FRAME_PAGES
from probes.pagetables import PFN_MASK, frames_not_present, walk
from probes.plan import Missing
from probes.published import RUN, Published, runs_of
from probes.rights import Rights, Shared, shared_pages
from probes.spaces import TaskList, address_spaces, living_thread
from probes.watchset import WatchSet

#: More frames than this would stop a marked task for long; the rest is counted as skipped.
MAX_FRAMES = 1024
#: In place of a page's kpagecount: no kernel counts so far.
UNKNOWN_COUNT = b"\xff" * 8
#: Why not all that an address space maps is known, though its tasks stood still.
NOT_PRESENT = "it has pages that are not present, but a device's, under migration or poisoned"


def unpublished() -> List[Missing]:
    """What is missing in snapshots on this kernel."""
    if os.path.exists("/proc/kpagecount"):
        return []
    files = ("/proc/kpagecount", "/proc/kpageflags", "/proc/PID/pagemap")
    reason = "the kernel is built without CONFIG_PROC_PAGE_MONITOR"
    lost = "what /proc says of a page, and page tables; snapshots have the counters alone"
    return [Missing("truth", files, reason, lost)]


class Snapshots:
    """Takes snapshots of the watched frames."""

    def __init__(
        self, kcore: Memory, layout: Layout, watch_set: WatchSet, listed: Optional[TaskList] = None
    ) -> None:
        """``listed``: see ``address_spaces``."""
        self._kcore = kcore
        self._layout = layout
        self._watch_set = watch_set
        self._listed = listed
        self._rights = Rights(kcore, layout, listed)

    def take(
        self,
        name: str,
        tasks: List[int],
        torn: Callable[[], Dict[int, str]] = dict,
    ) -> bytes:
        """One TRUTH payload: of all watched frames, and of the page tables of ``tasks``.

        ``torn``: returns, when all is read, the tasks that may have run meanwhile, and why.
        """
        begin = time.monotonic_ns()
        all_frames = self._watch_set.watched()
        frames = all_frames[:MAX_FRAMES]
        size = self._layout.struct_page
        pages = []
        for pfn in frames:
            pages.append(self._kcore.read(self._layout.vmemmap + pfn * size, FRAME_PAGES * size))
        counts = _per_page("/proc/kpagecount", frames, UNKNOWN_COUNT)
        flags = _per_page("/proc/kpageflags", frames, bytes(8))
        published = Published()
        mms, mappers = _mappers(frames, tasks, published, self._listed)
        rights = self._rights.of(_shared(frames, published, mappers))
        moved = torn()
        for mm in mms:
            why = next((moved[pid] for pid in mm["tasks"] if pid in moved), None)
            if why:
                mm.setdefault("torn", why)
        about: Dict[str, Any] = {
            "name": name,
            "ts_begin": begin,
            "ts_end": time.monotonic_ns(),
            "frames": frames,
            "frame_pages": FRAME_PAGES,
            "tasks": tasks,
            "mms": mms,
            "skipped": len(all_frames) - len(frames),
            "published": published.about(),
            "rights": len(rights) // RUN.size,
        }
        text = json.dumps(about, separators=(",", ":")).encode()
        head = struct.pack("<I", len(text)) + text
        rest = [mappers.tobytes(), published.payload(), rights]
        return b"".join([head, *pages, *counts, *flags, *rest])


def _per_page(path: str, frames: List[int], unknown: bytes) -> List[bytes]:
    """8 bytes per page from one of the /proc/kpage* files; zeros past its end, ``unknown``
    where the kernel has no such file."""
    size = FRAME_PAGES * 8
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return [unknown * FRAME_PAGES] * len(frames)
    try:
        return [os.pread(fd, size, pfn * 8).ljust(size, b"\0") for pfn in frames]
    finally:
        os.close(fd)


def _mappers(
    frames: List[int],
    tasks: List[int],
    published: Published,
    listed: Optional[TaskList] = None,
) -> "Tuple[List[Dict[str, Any]], array.array[int]]":
    """The address spaces of the tasks (their ``tasks``, and why one is ``torn``), and how many
    of their page-table entries map each page of the frames.

    These entries, and what else is told of the pages, is added to ``published``.
    """
    found = array.array("H", bytes(2 * FRAME_PAGES * len(frames)))
    place = _places(frames)
    mms: List[Dict[str, Any]] = []
    try:
        spaces = address_spaces(tasks, listed)
    except OSError as error:
        why = f"not known who shares an address space: {error.strerror}"
        return [{"tasks": [pid], "torn": why} for pid in tasks], found
    for pids in spaces:
        mms.append({"tasks": pids})
        try:
            thread = living_thread(pids[0])
            for vma, address, entries in walk(thread) if place else ():
                runs = list(runs_of(place.keys(), address, entries, mmap.PAGESIZE))
                _count(found, place, runs)
                published.add(pids[0], vma, runs)
                if any(pfn // FRAME_PAGES in place for pfn in frames_not_present(entries)):
                    mms[-1]["torn"] = NOT_PRESENT
            mms[-1]["vmas"] = published.end(pids[0], thread)
        except OSError as error:
            mms[-1]["torn"] = f"not to be read: {error.strerror}"
    return mms, found


def _shared(frames: List[int], published: Published, mappers: "array.array[int]") -> List[Shared]:
    """What several address spaces map of the published runs; ``mappers``: of each page."""
    place = _places(frames)
    found: List[Shared] = []
    for pid, pages, address, entry in published.runs():
        first = _first(place, entry)
        found += shared_pages(pid, address, pages, entry, mappers[first : first + pages])
    return found


def _places(frames: List[int]) -> Dict[int, int]:
    """By the number of each frame, where its pages begin in the array of all frames' pages."""
    return {pfn // FRAME_PAGES: i * FRAME_PAGES for i, pfn in enumerate(frames)}


def _first(place: Dict[int, int], entry: int) -> int:
    """Where the first page of a run is in the array of all frames' pages."""
    frame, page = divmod(entry & PFN_MASK, FRAME_PAGES)
    return place[frame] + page


def _count(
    found: "array.array[int]", place: Dict[int, int], runs: List[Tuple[int, int, int]]
) -> None:
    """Add what some runs map; ``place``: where a frame's pages begin in ``found``."""
    for _address, pages, entry in runs:
        first = _first(place, entry)
        for at in range(first, first + pages):
            found[at] += 1
