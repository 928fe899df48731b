# SPDX-License-Identifier: GPL-2.0-or-later
"""The map counts of one life in long form: one row per change and per observation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from analysis.arrays import Bools, Ints, changes
from analysis.columns import category
from analysis.counters import FOLIO
from analysis.counts import Counts
from analysis.log import Log

COUNTERS = ("mapcount", "pte_mappings", *FOLIO)
SOURCES = ("replayed", "observed")

#: Position, page (-1: the folio) and value, in rows of the frame to come.
Part = tuple[Ints, Ints, Ints]


def _signal(value: Ints, known: Bools) -> Part:
    """A folio's signal where it is known and changes."""
    at = np.flatnonzero(known)
    at = at[changes(value[at])] if len(at) else at
    return at, np.full(len(at), -1, dtype=np.int64), value[at]


def _page_signal(counts: Counts, offset: Ints, pages: Ints) -> Part:
    """The signals of pages: PTE mappings + ``offset``, where known and changing."""
    common = np.flatnonzero(changes(counts.every, offset))
    since = counts.since[pages]
    wanted = np.isin(counts.point_page, pages)
    page = np.concatenate([np.repeat(pages, len(common)), pages, counts.point_page[wanted]])
    at = np.concatenate([np.tile(common, len(pages)), since, counts.point_at[wanted]])
    inside = (at >= counts.since[page]) & (at < len(counts.ts))
    both = np.unique(np.stack([page[inside], at[inside]]), axis=1)
    page, at = both[0], both[1]
    value = counts.pte_at(page, at)[0] + offset[at]
    differs = changes(page, value) if len(page) else np.zeros(0, dtype=bool)
    return at[differs], page[differs], value[differs]


def _replayed(counts: Counts, pages: Ints) -> dict[str, Part]:
    none = np.zeros_like(counts.entire)
    parts = {"pte_mappings": _page_signal(counts, none, pages)}
    if counts.entire_known or "double_map" not in counts.counters:
        parts["mapcount"] = _page_signal(counts, counts.offset(), pages)
    if counts.order == 0:
        return parts
    for counter in FOLIO:
        if counter == "entire_mapcount" or counts.has(counter):
            parts[counter] = _signal(*counts.signal(counter))
    return parts


def _observed(log: Log, counts: Counts, pages: Ints) -> dict[str, Part]:
    parts = {}
    for counter in sorted(counts.counters):
        value, valid = log.counter(counter)
        page = log.pfn[counts.event] - counts.head
        here = valid[counts.event]
        if counter == "mapcount":
            here &= np.isin(page, pages)
        at = np.flatnonzero(here)
        subpage = page[at] if counter == "mapcount" else np.full(len(at), -1, dtype=np.int64)
        parts[counter] = (at, subpage, value[counts.event[at]])
    return parts


def counts_frame(log: Log, counts: Counts, subpages: Iterable[int] | None = None) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_counts``."""
    everything = np.arange(counts.pages, dtype=np.int64)
    pages = everything if subpages is None else np.unique(np.fromiter(subpages, np.int64))
    sources = (_replayed(counts, pages), _observed(log, counts, pages))
    frames = []
    for source, parts in enumerate(sources):
        for name, (at, page, value) in parts.items():
            frames.append(
                pd.DataFrame(
                    {
                        "ts": counts.ts[at],
                        "event": counts.event[at],
                        "counter": np.full(len(at), COUNTERS.index(name), dtype=np.int8),
                        "subpage": page.astype(np.int32),
                        "value": value,
                        "source": np.full(len(at), source, dtype=np.int8),
                    }
                )
            )
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.sort_values(["event", "source", "counter", "subpage"], kind="stable")
    frame["counter"] = category(frame["counter"].to_numpy(), COUNTERS)
    frame["source"] = category(frame["source"].to_numpy(), SOURCES)
    return frame.astype({"value": "Int64"}).reset_index(drop=True)
