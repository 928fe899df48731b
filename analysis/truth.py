# SPDX-License-Identifier: GPL-2.0-or-later
"""Decodes ground-truth snapshots: raw struct pages, and the files of /proc about them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis import bounds
from analysis.arrays import Bools, Ints, Records
from analysis.log import LOWEST_COUNT
from analysis.total_mapped import pmd_mappings
from probes.tracefile import TraceError, decoded

#: Pages of a frame, which is what a PMD maps, with pages of 4 and of 16 KiB.
FRAME_SIZES = (512, 2048)
#: What every snapshot is read by, of each page; folio counters are where the kernel has them.
OF_PAGES = ("flags", "compound_head", "mapping", "mapcount", "refcount")
#: A folio's fields lie in its first pages.
FOLIO_PAGES = 4
#: Entries of a process's pagemap: each page of a run has the next pfn and the same bits.
RUN = np.dtype([("pid", "<u4"), ("pages", "<u4"), ("address", "<u8"), ("entry", "<u8")])
#: What numa_maps and smaps (in KiB) have of a mapping of a process.
AREA = np.dtype(
    [(name, "<u8") for name in ("pid", "start", "end", "mapmax", "rss", "pss", "shared", "private",
                                "huge")]
)  # fmt: skip
#: The page frame number in an entry of a pagemap.
PFN_MASK = (1 << 55) - 1


@dataclass(frozen=True)
class Layout:
    """The offsets of a folio's fields by the header, from its head page on."""

    struct_page: int
    fields: dict[str, int]
    bits: dict[str, int]
    page_counts: bool = True  # see analysis.plan.Plan

    @classmethod
    def of(cls, header: dict[str, Any]) -> Layout:
        """Read the layout of a trace's header; ValueError if snapshots cannot be read by it."""
        layout = header.get("layout", {})

        def known(table: str) -> dict[str, int]:
            return {name: at for name, at in layout.get(table, {}).items() if at is not None}

        struct_page, fields = int(layout.get("struct_page", 64)), known("fields")
        if "flags" in fields:
            # The flags of the second page: DoubleMap, and on newer kernels the order.
            fields.setdefault("flags_1", struct_page + fields["flags"])
        page_counts = "mapcount" in header.get("counters", ["mapcount"])
        layout_ = cls(struct_page, fields, known("bits"), page_counts)
        layout_._check()
        return layout_

    def _check(self) -> None:
        for name in OF_PAGES:
            if not 0 <= self.fields.get(name, -1) <= self.struct_page - 8:
                raise ValueError(f"no place of {name} in the header's layout")
        for name, at in self.fields.items():
            if not 0 <= at <= FOLIO_PAGES * self.struct_page - 8:
                raise ValueError(f"{name} lies outside of a folio in the header's layout")
        flags = [self.bits.get("head", -1)]
        flags += [self.bits.get(name, 0) for name in ("double_map", "anon_exclusive")]
        if not all(0 <= bit < 64 for bit in flags):
            raise ValueError("no place of the page flags in the header's layout")


class Vma(NamedTuple):
    """A mapping of a process: a line of /proc/PID/maps; ``name``: the file's or the kernel's."""

    start: int
    end: int
    flags: str
    name: str


@dataclass(frozen=True)
class Snapshot:
    """One snapshot: arrays have one row per frame and one column per page of it.

    ``pages``: raw struct pages; ``kpagecount``, ``kpageflags``: the files of /proc;
    ``mappers``: present page-table entries found in the ``tasks`` that were read, those of
    an address space counted once.  ``torn``: the tasks whose page tables may have changed during
    the walk, and why: they were not stopped.
    ``runs`` (RUN) and ``areas`` (AREA): the data of the ``files`` of these tasks in /proc about
    the frames' pages, and about the mappings that have such; empty with older recorders.
    ``vmas``: by task these mappings, ascending; tasks of one address space have the same.
    ``rights`` (RUN): of the anonymous pages that several address spaces map, whether each may write
    there: in place of a pagemap's bits an entry has those of probes/rights.py.
    """

    name: str
    ts_begin: int
    ts_end: int
    frames: Ints
    tasks: list[int]
    torn: dict[int, str]
    skipped: int
    layout: Layout
    pages: npt.NDArray[np.uint8]
    kpagecount: Ints
    kpageflags: npt.NDArray[np.uint64]
    mappers: Ints
    files: frozenset[str]
    runs: Records
    areas: Records
    vmas: dict[int, list[Vma]]
    rights: Records

    def only(self, keep: Bools) -> Snapshot:
        """The same snapshot of some of its frames."""
        arrays = ("frames", "pages", "kpagecount", "kpageflags", "mappers")
        some = {name: getattr(self, name)[keep] for name in arrays}
        runs, rights = (
            _runs_of(each, some["frames"], self.frame_pages) for each in (self.runs, self.rights)
        )
        return replace(self, **some, runs=runs, rights=rights)

    @property
    def frame_pages(self) -> int:
        """Pages of a frame."""
        return int(self.pages.shape[1])

    def word(self, name: str, dtype: str, head: Ints, frame: Ints, inside: int = 0) -> Ints:
        """A field of folios, given by the frame's number and the head's page in it, or the word
        at an offset inside the field."""
        at = head * self.layout.struct_page + self.layout.fields[name] + inside
        flat = self.pages.reshape(len(self.frames), self.frame_pages * self.layout.struct_page)
        wanted = at[:, None] + np.arange(np.dtype(dtype).itemsize)
        raw = np.ascontiguousarray(flat[frame[:, None], wanted])
        # A flags word uses its low bits only; the sign of the rest does not matter.
        return raw.view(dtype)[:, 0].astype(np.int64)

    @property
    def page_files(self) -> bool:
        """Whether the kernel has /proc/kpagecount and kpageflags (CONFIG_PROC_PAGE_MONITOR)."""
        return bool((self.kpagecount >= 0).all())

    def has(self, name: str) -> bool:
        """Whether the kernel has this field and the recorder found it."""
        return name in self.layout.fields

    def mapcounts(self) -> tuple[Ints, Bools]:
        """Logical map count of each page, and a mask: False where the word holds a page type."""
        at = self.layout.fields["mapcount"]
        raw = np.ascontiguousarray(self.pages[:, :, at : at + 4]).view("<i4")[:, :, 0]
        return raw.astype(np.int64) + 1, raw >= LOWEST_COUNT

    def orders(self, head: Ints, frame: Ints) -> Ints:
        """Order of the folios whose heads are at these pages; -1 for a tail, 0 for no folio."""
        flags = self.word("flags", "<i8", head, frame)
        is_head = (flags >> self.layout.bits["head"]) & 1 == 1
        link = self.word("compound_head", "<i8", head, frame)
        # A tail page of its frame has no page[1] to read: it is not asked for.
        inside = head < self.frame_pages - 1
        order = np.where(link & 1 == 1, -1, 0)
        asked = is_head & inside
        name = "order" if self.has("order") else "flags_1"
        order[asked] = self.word(name, "u1", head[asked], frame[asked])
        return order

    def anon(self, head: Ints, frame: Ints) -> Bools:
        """A mask of the folios that are anonymous by their mapping."""
        flag: Bools = self.word("mapping", "<i8", head, frame) & 1 == 1
        return flag

    def entire(self, head: Ints, frame: Ints) -> Ints:
        """Mappings of whole large folios, by the kernel's count or by its sum of mapped pages."""
        if self.has("entire"):
            return self.word("entire", "<i4", head, frame) + 1
        total, large = (self.word(name, "<i4", head, frame) for name in ("total", "large"))
        return pmd_mappings(total, large + 1, self.orders(head, frame))[0]

    def flag(self, name: str, head: Ints, frame: Ints) -> Ints:
        """A bit in the flags of the folio's second page."""
        return (self.word("flags_1", "<i8", head, frame) >> self.layout.bits[name]) & 1

    def locate(self, pfn: Ints) -> tuple[Ints, Ints, Bools]:
        """Frame number and page in it of some pfns, and a mask of those in the snapshot."""
        by_pfn = np.argsort(self.frames)
        place = np.searchsorted(self.frames[by_pfn], pfn, side="right") - 1
        frame = by_pfn[np.maximum(place, 0)] if len(by_pfn) else np.zeros_like(pfn)
        page = pfn - (self.frames[frame] if len(by_pfn) else 0)
        return frame, page, (place >= 0) & (page < self.frame_pages)


def _frames_of(runs: Records, pages: int) -> Ints:
    """The first pfn of the frame of so many pages that each run lies in."""
    pfn = (runs["entry"] & np.uint64(PFN_MASK)).astype(np.int64)
    return pfn - pfn % pages


def _runs_of(runs: Records, frames: Ints, pages: int) -> Records:
    """The runs that lie in some frames of so many pages."""
    some: Records = runs[np.isin(_frames_of(runs, pages), frames)]
    return some


@dataclass(frozen=True)
class _Parts:
    """The JSON of a TRUTH block; its arrays, first by frame: (frames, pages, values of a page)."""

    head: dict[str, Any]
    by_frame: list[npt.NDArray[Any]]
    runs: Records
    areas: Records
    rights: Records


def _parts(payload: bytes | memoryview, struct_page: int) -> _Parts:
    """Take a TRUTH block apart."""
    data = memoryview(payload)
    (length,) = struct.unpack_from("<I", data)
    head = bounds.snapshot(decoded(data[4 : 4 + length]))
    frames, pages = len(head["frames"]), head.get("frame_pages", FRAME_SIZES[0])
    if pages not in FRAME_SIZES:
        raise TraceError(f"the snapshot {head['name']!r} has frames of {pages} pages")
    at = 4 + length

    def take(dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
        nonlocal at
        size = count * dtype.itemsize
        if not 0 <= size <= len(data) - at:
            raise TraceError(f"the snapshot {head['name']!r} is shorter than it says")
        at += size
        return np.frombuffer(data, dtype, count, at - size)

    by_frame = [
        take(np.dtype(code), frames * pages * width).reshape(frames, pages, width)
        for code, width in (("u1", struct_page), ("<u8", 1), ("<u8", 1), ("<u2", 1))
    ]
    runs, areas = take(RUN, head["published"]["runs"]), take(AREA, head["published"]["areas"])
    # A slice by an older version of this program has left them out, but for their number.
    rights = take(RUN, head["rights"] if at < len(data) else 0)
    if (areas.view("<u8") >> 63).any():
        raise TraceError(f"the snapshot {head['name']!r} has numbers that no kernel can give")
    for some in (runs, rights):
        _check_runs(some, head, pages)
    return _Parts(head, by_frame, runs, areas, rights)


def _check_runs(runs: Records, head: dict[str, Any], pages: int) -> None:
    """Raise TraceError for runs that lie in no frame of so many pages, or at no address."""
    if (runs["address"] >> 63).any():
        raise TraceError(f"the snapshot {head['name']!r} has numbers that no kernel can give")
    whole = np.isin(_frames_of(runs, pages), np.array(head["frames"], dtype=np.int64))
    pfn = (runs["entry"] & np.uint64(PFN_MASK)).astype(np.int64)
    if not (whole & (pfn % pages + runs["pages"] <= pages)).all():
        raise TraceError(f"the snapshot {head['name']!r} has runs beyond its frames")


def restricted(
    payload: bytes | memoryview, layout: Layout, wanted: Callable[[Ints], Bools]
) -> bytes:
    """A TRUTH block reduced to some frames, given by their first pages."""
    parts = _parts(payload, layout.struct_page)
    frames = np.array(parts.head["frames"], dtype=np.int64)
    keep = wanted(frames)
    runs, rights = (
        _runs_of(some, frames[keep], parts.by_frame[0].shape[1])
        for some in (parts.runs, parts.rights)
    )
    head = parts.head | {"frames": frames[keep].tolist(), "rights": len(rights)}
    head["published"] = head["published"] | {"runs": len(runs)}
    text = json.dumps(head).encode()
    arrays = [*(part[keep] for part in parts.by_frame), runs, parts.areas, rights]
    return b"".join([struct.pack("<I", len(text)), text, *(array.tobytes() for array in arrays)])


def _torn(mms: list[dict[str, Any]]) -> dict[int, str]:
    return {pid: mm["torn"] for mm in mms if mm["torn"] for pid in mm["tasks"]}


def _vmas(mms: list[dict[str, Any]]) -> dict[int, list[Vma]]:
    return {pid: sorted(Vma(*vma) for vma in mm["vmas"]) for mm in mms for pid in mm["tasks"]}


def decode(payload: bytes | memoryview, layout: Layout) -> Snapshot:
    """Decode one TRUTH block; TraceError if its size does not fit its frames."""
    parts = _parts(payload, layout.struct_page)
    head, (raw, kpagecount, kpageflags, mappers) = parts.head, parts.by_frame
    return Snapshot(
        name=head["name"],
        ts_begin=head["ts_begin"],
        ts_end=head["ts_end"],
        frames=np.array(head["frames"], dtype=np.int64),
        tasks=head["tasks"],
        torn=_torn(head["mms"]),
        skipped=head["skipped"],
        layout=layout,
        pages=raw,
        kpagecount=kpagecount[:, :, 0].astype(np.int64),
        kpageflags=kpageflags[:, :, 0],
        mappers=mappers[:, :, 0].astype(np.int64),
        files=frozenset(head["published"]["files"]),
        runs=parts.runs,
        areas=parts.areas,
        vmas=_vmas(head["mms"]),
        rights=parts.rights,
    )
