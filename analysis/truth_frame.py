# SPDX-License-Identifier: GPL-2.0-or-later
"""The ground-truth snapshots as the data frame of ``Trace.df_truth``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.columns import flags, integers, texts
from analysis.truth import AREA, FRAME_SIZES, OF_PAGES, RUN, Layout, Snapshot
from probes.counters import FOLIO

OF = {each.name: each for each in FOLIO}

#: A frame without rows has the columns of this one.
NO_PAGES = Snapshot(
    name="", ts_begin=0, ts_end=0, frames=np.zeros(0, np.int64), tasks=[], torn={}, skipped=0,
    layout=Layout(64, dict.fromkeys((*OF_PAGES, "flags_1", "entire"), 0), {"head": 0}),
    pages=np.zeros((0, FRAME_SIZES[0], 64), np.uint8),
    kpagecount=np.zeros((0, FRAME_SIZES[0]), np.int64),
    kpageflags=np.zeros((0, FRAME_SIZES[0]), np.uint64),
    mappers=np.zeros((0, FRAME_SIZES[0]), np.int64),
    files=frozenset(), runs=np.zeros(0, RUN), areas=np.zeros(0, AREA), vmas={},
    rights=np.zeros(0, RUN),
)  # fmt: skip


def folio_values(shot: Snapshot, counter: str, head: Ints, frame: Ints) -> Ints:
    """Logical values of a folio's counter, given its frame and its head's page."""
    row = OF[counter]
    if row.is_page_flag:
        return shot.flag(row.field, head, frame)
    values: Ints = row.logical(shot.word(row.field, "<i4", head, frame, row.at))
    return values


def has_counter(shot: Snapshot, counter: str, counters: frozenset[str]) -> bool:
    """Whether the kernel keeps this counter of a folio and the snapshot has it."""
    row = OF[counter]
    if row.is_page_flag:
        return counter in counters and shot.has("flags_1") and row.field in shot.layout.bits
    return counter in counters and shot.has(row.field)


def _heads(shot: Snapshot) -> tuple[Ints, Ints, Ints]:
    """For each page of a snapshot: its frame, its head's page in the frame, the order."""
    frames, pages = shot.kpagecount.shape
    frame = np.repeat(np.arange(frames, dtype=np.int64), pages)
    page = np.tile(np.arange(pages, dtype=np.int64), frames)
    own = shot.orders(page, frame)
    # A tail belongs to the last head before it in its frame.
    last = np.maximum.accumulate(np.where(own >= 0, np.arange(len(own)), 0))
    last = np.maximum(last, frame * pages)
    return frame, last - frame * pages, np.maximum(own[last], 0)


def _one(number: int, shot: Snapshot, counters: frozenset[str]) -> pd.DataFrame:
    frame, head, order = _heads(shot)
    pages = shot.kpagecount.shape[1]
    first = shot.frames[frame]
    value, valid = shot.mapcounts()
    kept = valid.ravel() & ((order == 0) | shot.layout.page_counts)
    columns: dict[str, object] = {
        "snapshot": np.full(len(frame), number, dtype=np.int64),
        "name": texts([shot.name] * len(frame)),
        "ts_begin": np.full(len(frame), shot.ts_begin, dtype=np.int64),
        "ts_end": np.full(len(frame), shot.ts_end, dtype=np.int64),
        "pfn": first + np.tile(np.arange(pages, dtype=np.int64), len(shot.frames)),
        "head_pfn": first + head,
        "order": order.astype(np.int16),
        "mapcount": integers(value.ravel(), kept),
    }
    for counter, row in OF.items():
        # The count of pins may lie in the third page.
        large = np.flatnonzero(order > row.pins)
        values = np.zeros(len(frame), dtype=np.int64)
        known = np.zeros(len(frame), dtype=bool)
        if has_counter(shot, counter, counters):
            values[large] = folio_values(shot, counter, head[large], frame[large])
            known[large] = True
        flag = row.unit == "flag"
        columns[counter] = flags(values > 0, known) if flag else integers(values, known)
    columns["kpagecount"] = shot.kpagecount.ravel()
    columns["kpageflags"] = shot.kpageflags.ravel()
    columns["mappers"] = shot.mappers.ravel()
    return pd.DataFrame(columns)


def truth_frame(snapshots: list[Snapshot], counters: frozenset[str]) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_truth``."""
    return pd.concat(truth_frames(snapshots, counters), ignore_index=True)


def truth_frames(snapshots: list[Snapshot], counters: frozenset[str]) -> Iterator[pd.DataFrame]:
    """Yield the same frame in pieces, with the same categories; at least one."""
    names = pd.Series(texts(sorted({shot.name for shot in snapshots}))).astype("category").dtype
    for number, shot in enumerate(snapshots or [NO_PAGES]):
        frame = _one(number, shot, counters)
        frame["name"] = frame["name"].astype(names)
        yield frame
