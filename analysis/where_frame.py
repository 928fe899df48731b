# SPDX-License-Identifier: GPL-2.0-or-later
"""Where folios are mapped at each snapshot, as the data frame of ``Trace.df_where``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.columns import integers, integers_or_na, texts
from analysis.each_part import each
from analysis.errors import AnalysisError
from analysis.part import Part, Parted
from analysis.recording import Recording
from analysis.truth import Vma
from analysis.where import Mapping, mapped_at

#: Rows of a frame; a trace that has more is asked for one mark.
MOST = 500_000


class Moment(NamedTuple):
    """A time for which the mappings are listed: a snapshot's, or the end of the trace.

    ``number``: of the moment, in time order.
    """

    number: int
    name: str
    ts: int
    vmas: dict[int, list[Vma]]


class Row(NamedTuple):
    """A run of successive pages of a folio in a mapping of a process (``vma``; None: not known):
    so many ``pages`` from ``first`` on, at ``address``.

    The mapping has ``runs`` such runs; ``whole``: it has one, of all pages of the folio.
    """

    moment: int
    mm: int
    pid: int | None
    vma: Vma | None
    life: int
    address: int
    first: int
    pages: int
    runs: int
    whole: bool
    pmd: bool
    aligned: bool  # it lies at a multiple of its size


def moments_of(recording: Recording) -> list[Moment]:
    """The times of the snapshots, and the end if it has no snapshot."""
    shots = sorted(recording.snapshots, key=lambda shot: shot.ts_begin)
    found = [Moment(at, shot.name, shot.ts_begin, shot.vmas) for at, shot in enumerate(shots)]
    if not found or found[-1].name != "end":
        last = max([recording.census.last_ts, *(moment.ts for moment in found)])
        found.append(Moment(len(found), "end of the trace", last, {}))
    return found


def where_frame(trace: Parted, mark: str | None = None) -> pd.DataFrame:
    """Build the frame; ``mark`` and the columns are described at ``Trace.df_where``."""
    recording = trace.recording
    moments = [one for one in moments_of(recording) if mark in (None, one.name)]
    if not moments:
        names = dict.fromkeys(one.name for one in moments_of(recording))
        raise AnalysisError(f"no mark {mark!r}: give one of {', '.join(names)}")
    return at_moments(trace, moments)


def at_moments(trace: Parted, moments: list[Moment]) -> pd.DataFrame:
    """The rows of some moments, in time order."""
    recording = trace.recording
    if not recording.plan.where:
        raise AnalysisError(
            f"{recording.path} does not tell where pages are mapped: record with --where"
        )
    left = MOST

    def of_part(_recording: Recording, part: Part) -> pd.DataFrame:
        nonlocal left
        rows = list(islice(_rows(part, moments), left + 1))
        left -= len(rows)
        if left < 0:
            raise AnalysisError(
                f"{recording.path} has more than {MOST} places at all marks: ask for one mark"
            )
        return _part_frame(part, moments, rows)

    frames = [
        frame.assign(life=numbers[frame["life"].to_numpy()])
        for frame, numbers in each(trace, of_part)
    ]
    whole = pd.concat([one for one in frames if len(one)] or frames[:1], ignore_index=True)
    by = ["snapshot", "pid", "mm", "address", "life"]
    return whole.sort_values(by, kind="stable").reset_index(drop=True)


def _part_frame(part: Part, moments: list[Moment], rows: list[Row]) -> pd.DataFrame:
    lives, recording = part.lives, part.recording
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in Row._fields
    }
    life = np.array(columns["life"], dtype=np.int64)
    moment = np.array(columns["moment"], dtype=np.int64)
    order = lives.order[life]
    size = int(recording.meta.get("page_size", 4096))
    ts = np.array([one.ts for one in moments], dtype=np.int64)[moment]
    numbers = np.array([one.number for one in moments], dtype=np.int64)
    pid = integers_or_na(columns["pid"])
    vmas: list[Vma | None] = columns["vma"]
    known = np.array([vma is not None for vma in vmas], dtype=bool)
    words = {
        name: np.array([getattr(vma, name, 0) for vma in vmas], dtype=np.uint64)
        for name in ("start", "end")
    }
    pages = np.array(columns["pages"], dtype=np.int64)
    names = pd.Series(pid).fillna(0).astype(np.int64)
    comm = recording.names.comm(pd.Series(ts), names).astype(str)
    return pd.DataFrame(
        {
            "snapshot": numbers[moment],
            "name": texts(moments[one].name for one in moment.tolist()),
            "ts": ts,
            "mm": np.array(columns["mm"], dtype=np.uint64),
            "pid": pid,
            "comm": texts("" if one is None else name for one, name in
                          zip(columns["pid"], comm.tolist(), strict=True)),
            "vma_start": integers(words["start"], known, np.uint64),
            "vma_end": integers(words["end"], known, np.uint64),
            "vma": texts(vma.name if vma else "" for vma in vmas),
            "life": life,
            "head_pfn": lives.head[life],
            "order": order.astype(np.int16),
            "anon": lives.anon[life],
            "kind": texts(
                _kind(anon, 1 << one, row, size)
                for anon, one, row in zip(
                    lives.anon[life].tolist(), order.tolist(), rows, strict=True
                )
            ),
            "address": np.array(columns["address"], dtype=np.uint64),
            "first_page": np.array(columns["first"], dtype=np.int64),
            "pages": pages,
            "runs": np.array(columns["runs"], dtype=np.int64),
            "pmd": np.array(columns["pmd"], dtype=bool),
            "bytes": pages * size,
        }
    )  # fmt: skip


def _kind(anon: bool, pages: int, row: Row, page_size: int) -> str:
    """How a folio lies in a mapping, as tools/mm/thpmaps of the kernel calls it."""
    of = "anon" if anon else "file"
    if pages == 1:
        return f"{of}-page"
    if not row.whole:
        return f"{of}-thp-pte-partial"
    level, place = "pmd" if row.pmd else "pte", "aligned" if row.aligned else "unaligned"
    return f"{of}-thp-{level}-{place}-{pages * page_size >> 10}kB"


def _rows(part: Part, moments: list[Moment]) -> Iterator[Row]:
    lives, size = part.lives, int(part.recording.meta.get("page_size", 4096))
    row = lives.death_row
    death = np.where(row >= 0, part.log.ts[row], np.iinfo(np.int64).max) if len(part.log) else row
    found = mapped_at(part, [one.ts for one in moments])
    for number, (moment, spaces) in enumerate(zip(moments, found, strict=True)):
        processes = part.recording.spaces.at(moment.ts)
        for mm, here in spaces.of.items():
            pids = processes.get(mm, [])
            vmas = next((moment.vmas[pid] for pid in pids if pid in moment.vmas), [])
            for (life, base), mapping in here.items():
                if death[life] <= moment.ts:
                    continue
                aligned = base % (mapping.pages * size) == 0
                for vma, runs in _by_vma(mapping, base, vmas, size).items():
                    for first, pages in runs:
                        yield Row(
                            number, mm, pids[0] if pids else None, vma, life, base + first * size,
                            first, pages, len(runs), pages == mapping.pages, mapping.pmd, aligned,
                        )  # fmt: skip


def _by_vma(
    mapping: Mapping, base: int, vmas: list[Vma], size: int
) -> dict[Vma | None, list[tuple[int, int]]]:
    """The runs of mapped pages (first, number), cut where a mapping of the process ends."""
    found: dict[Vma | None, list[tuple[int, int]]] = {}
    for first, length in mapping.mapped():
        end = first + length
        while first < end:
            address = base + first * size
            place = bisect_right(vmas, address, key=lambda vma: vma.start) - 1
            here = vmas[place] if place >= 0 and address < vmas[place].end else None
            if here:
                stop = here.end
            else:
                stop = vmas[place + 1].start if place + 1 < len(vmas) else base + end * size
            cut = min(end, first + max((stop - address) // size, 1))
            found.setdefault(here, []).append((first, cut - first))
            first = cut
    return found
