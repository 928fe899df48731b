# SPDX-License-Identifier: GPL-2.0-or-later
"""Decodes ground-truth snapshots: raw struct pages and what /proc said about them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.arrays import Bools, Ints, number
from analysis.log import LOWEST_COUNT
from probes.tracefile import TraceError, decoded

FRAME_PAGES = 512
#: What every snapshot is read by, of each page; folio counters are where the kernel has them.
OF_PAGES = ("flags", "compound_head", "mapping", "mapcount")
#: A folio's fields lie in its first pages.
FOLIO_PAGES = 4


@dataclass(frozen=True)
class Layout:
    """Where the header says that the fields of a folio lie, from its head page on."""

    struct_page: int
    fields: dict[str, int]
    bits: dict[str, int]
    page_counts: bool = True  # see analysis.plan.Plan

    @classmethod
    def of(cls, header: dict[str, Any]) -> Layout:
        """Read the layout of a trace's header; ValueError where a snapshot cannot be read by it."""
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
        if not (0 <= self.bits.get("head", -1) < 64 and 0 <= self.bits.get("double_map", 0) < 64):
            raise ValueError("no place of the page flags in the header's layout")


@dataclass(frozen=True)
class Snapshot:
    """One snapshot: arrays have one row per frame and one column per page of it.

    ``pages``: raw struct pages; ``kpagecount``, ``kpageflags``: the files of /proc;
    ``mappers``: present page-table entries found in the ``tasks`` that were read, those of
    an address space counted once.  ``torn``: of which tasks what was found may be wrong, and
    why: they were not held still.
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

    def only(self, keep: Bools) -> Snapshot:
        """The same snapshot of some of its frames."""
        arrays = ("frames", "pages", "kpagecount", "kpageflags", "mappers")
        return replace(self, **{name: getattr(self, name)[keep] for name in arrays})

    def word(self, name: str, dtype: str, head: Ints, frame: Ints) -> Ints:
        """A field of folios, given by the frame's number and the head's page in it."""
        at = head * self.layout.struct_page + self.layout.fields[name]
        flat = self.pages.reshape(len(self.frames), FRAME_PAGES * self.layout.struct_page)
        wanted = at[:, None] + np.arange(np.dtype(dtype).itemsize)
        raw = np.ascontiguousarray(flat[frame[:, None], wanted])
        # A flags word uses its low bits only; the sign of the rest does not matter.
        return raw.view(dtype)[:, 0].astype(np.int64)

    def has(self, name: str) -> bool:
        """The kernel has this field and the recorder found it."""
        return name in self.layout.fields

    def mapcounts(self) -> tuple[Ints, Bools]:
        """Logical map count of each page; False where the word holds a page type."""
        at = self.layout.fields["mapcount"]
        raw = np.ascontiguousarray(self.pages[:, :, at : at + 4]).view("<i4")[:, :, 0]
        return raw.astype(np.int64) + 1, raw >= LOWEST_COUNT

    def orders(self, head: Ints, frame: Ints) -> Ints:
        """Order of the folios whose heads lie there; -1 for a tail, 0 for no folio."""
        flags = self.word("flags", "<i8", head, frame)
        is_head = (flags >> self.layout.bits["head"]) & 1 == 1
        link = self.word("compound_head", "<i8", head, frame)
        # A tail page of its frame has no page[1] to read: it is not asked for.
        inside = head < FRAME_PAGES - 1
        order = np.where(link & 1 == 1, -1, 0)
        asked = is_head & inside
        name = "order" if self.has("order") else "flags_1"
        order[asked] = self.word(name, "u1", head[asked], frame[asked])
        return order

    def anon(self, head: Ints, frame: Ints) -> Bools:
        """The folio's mapping says that it is anonymous."""
        flag: Bools = self.word("mapping", "<i8", head, frame) & 1 == 1
        return flag

    def double_map(self, head: Ints, frame: Ints) -> Ints:
        """PG_double_map, which lies in the flags of the folio's second page."""
        return (self.word("flags_1", "<i8", head, frame) >> self.layout.bits["double_map"]) & 1

    def locate(self, pfn: Ints) -> tuple[Ints, Ints, Bools]:
        """Frame number and page in it of some pfns, and whether they are in at all."""
        by_pfn = np.argsort(self.frames)
        place = np.searchsorted(self.frames[by_pfn], pfn, side="right") - 1
        frame = by_pfn[np.maximum(place, 0)] if len(by_pfn) else np.zeros_like(pfn)
        page = pfn - (self.frames[frame] if len(by_pfn) else 0)
        return frame, page, (place >= 0) & (page < FRAME_PAGES)


def _parts(
    payload: bytes | memoryview, struct_page: int
) -> tuple[dict[str, Any], list[npt.NDArray[Any]]]:
    """The JSON of a TRUTH block, and its arrays (frames, pages, values of a page)."""
    data = memoryview(payload)
    (length,) = struct.unpack_from("<I", data)
    head = decoded(data[4 : 4 + length])
    frames, pages = len(head["frames"]), int(head.get("frame_pages", FRAME_PAGES))
    if pages != FRAME_PAGES:
        raise TraceError(f"the snapshot {head.get('name')!r} has frames of {pages} pages")
    parts = []
    at = 4 + length
    for dtype, width in (("u1", struct_page), ("<u8", 1), ("<u8", 1), ("<u2", 1)):
        count = frames * pages * width
        size = count * np.dtype(dtype).itemsize
        if at + size > len(data):
            raise TraceError(f"the snapshot {head.get('name')!r} is shorter than its frames need")
        parts.append(np.frombuffer(data, dtype, count, at).reshape(frames, pages, width))
        at += size
    return head, parts


def restricted(
    payload: bytes | memoryview, layout: Layout, wanted: Callable[[Ints], Bools]
) -> bytes:
    """A TRUTH block with those frames alone that are wanted, by their first pages."""
    head, parts = _parts(payload, layout.struct_page)
    keep = wanted(np.array(head["frames"], dtype=np.int64))
    frames = [frame for frame, kept in zip(head["frames"], keep.tolist(), strict=True) if kept]
    text = json.dumps(head | {"frames": frames}).encode()
    return b"".join([struct.pack("<I", len(text)), text, *(part[keep].tobytes() for part in parts)])


def _torn(mms: list[dict[str, Any]]) -> dict[int, str]:
    return {number(pid): str(mm["torn"]) for mm in mms if mm.get("torn") for pid in mm["tasks"]}


def decode(payload: bytes | memoryview, layout: Layout) -> Snapshot:
    """Decode one TRUTH block; TraceError where its size does not fit its frames."""
    head, (raw, kpagecount, kpageflags, mappers) = _parts(payload, layout.struct_page)
    return Snapshot(
        name=str(head["name"]),
        ts_begin=number(head["ts_begin"]),
        ts_end=number(head["ts_end"]),
        frames=np.array(head["frames"], dtype=np.int64),
        tasks=[number(pid) for pid in head.get("tasks", [])],
        torn=_torn(head.get("mms", [])),
        skipped=int(head.get("skipped", 0)),
        layout=layout,
        pages=raw,
        kpagecount=kpagecount[:, :, 0].astype(np.int64),
        kpageflags=kpageflags[:, :, 0],
        mappers=mappers[:, :, 0].astype(np.int64),
    )
