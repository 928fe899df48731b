# SPDX-License-Identifier: GPL-2.0-or-later
"""The references to folios at the snapshots, as the data frames ``Trace.df_references`` and
``Trace.df_holders``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.arrays import Bools, Ints, expand
from analysis.columns import category, flags, integers, texts
from analysis.doubt import Doubt
from analysis.each_part import each
from analysis.part import Part, Parted
from analysis.parties import Parties
from analysis.pins import Ledger, pincounts
from analysis.plan import among
from analysis.recording import Recording
from analysis.references import References, references
from analysis.truth import PFN_MASK, Snapshot
from probes.events import PIN_OPS

#: What a holder has of a folio.
KINDS = ("maps", "pinned", "got")


@dataclass(frozen=True)
class Held:
    """The frames of ``Trace.df_references`` and ``Trace.df_holders``."""

    references: pd.DataFrame
    holders: pd.DataFrame


class _Holder(NamedTuple):
    """Some references to the folio of a ``life``: how many, by which records, or by whom (``pid``)
    the page tables tell; ``shown``: a record of the time at which that process had its name."""

    snapshot: int
    life: int
    kind: int
    number: int
    rows: tuple[int, ...]  # the first and the last
    pid: int = -1
    shown: int = 0


def held(trace: Parted) -> Held:
    """The references to the folios of a trace, and their holders, part by part."""
    found, who = [], []
    for (of_part, holders), numbers in each(trace, _part):
        found.append(of_part.assign(life=numbers[of_part["life"]]))
        who.append(holders.assign(life=numbers[holders["life"]]))
    return Held(_together(found), _together(who))


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    some = [frame for frame in frames if len(frame)] or frames[:1]
    whole = pd.concat(some, ignore_index=True)
    return whole.sort_values(["snapshot", "life"], kind="stable", ignore_index=True)


def _part(recording: Recording, part: Part) -> tuple[pd.DataFrame, pd.DataFrame]:
    shots = part.snapshots
    found = [references(part, shot) for shot in shots]
    empty = np.zeros(0, dtype=np.int64)
    run = part.replay(np.concatenate([empty, *(held.here.life for held in found)]))
    frames = []
    doubt = Doubt(recording)
    pins = pincounts(run)
    for number, (shot, held) in enumerate(zip(shots, found, strict=True)):
        slot = np.searchsorted(run.lives, held.here.life)
        rows = [run.rows_until(life, held.here.row) for life in held.here.life.tolist()]
        position = run.bounds[slot] + np.array([len(each_) for each_ in rows], dtype=np.int64) - 1
        seen = pins.at(run, position, slot)
        frames.append(_references(part, doubt, number, shot, held, seen))
    holders = [*_mapping(part, shots, found), *_taken(part, found)]
    return _together(frames or [_nothing(part, doubt)]), _holders(part, shots, holders)


def _nothing(part: Part, doubt: Doubt) -> pd.DataFrame:
    from analysis.truth_frame import NO_PAGES

    none = (np.zeros(0, np.int64), np.zeros(0, bool))
    return _references(part, doubt, 0, NO_PAGES, references(part, NO_PAGES), none)


def _references(
    part: Part, doubt: Doubt, number: int, shot: Snapshot, held: References,
    seen: tuple[Ints, Bools],
) -> pd.DataFrame:  # fmt: skip
    lives, life = part.lives, held.here.life
    published = np.full(len(life), shot.page_files)
    large = lives.order[life] > 0
    since = part.since[life].tolist()
    busy = held.here.busy.tolist()
    return pd.DataFrame(
        {
            "snapshot": np.full(len(life), number, dtype=np.int64),
            "name": texts([shot.name] * len(life)),
            "ts": np.full(len(life), shot.ts_begin, dtype=np.int64),
            "life": life,
            "head_pfn": lives.head[life],
            "order": lives.order[life].astype(np.int16),
            "references": held.count,
            "mappings": held.mappings,
            "page_cache": held.page_cache,
            "swap_cache": integers(held.swap_cache, published, np.int64),
            "private": integers(held.private, published, np.int64),
            "pins": integers(held.pins, held.pins >= 0, np.int64),
            "pins_seen": integers(seen[0], seen[1] & large, np.int64),
            "unexplained": held.unexplained,
            "lru": flags(held.lru, published),
            "doubt": texts(
                doubt.reason_snapshot(begin, shot.ts_end, moved) if moved else ""
                for begin, moved in zip(since, busy, strict=True)
            ),
        }
    )


def _mapping(part: Part, shots: list[Snapshot], found: list[References]) -> Iterator[_Holder]:
    """Who maps the folios, by the page tables that were walked."""
    for number, (shot, held) in enumerate(zip(shots, found, strict=True)):
        if not len(shot.runs) or not len(held.here.life):
            continue
        life_at = np.full((len(shot.frames), shot.frame_pages), -1, dtype=np.int64)
        order = part.lives.order[held.here.life]
        owner, page = expand(held.here.head, np.int64(1) << order)
        inside = page < shot.frame_pages
        owner, page = owner[inside], page[inside]
        life_at[held.here.frame[owner], page] = held.here.life[owner]
        first = (shot.runs["entry"] & np.uint64(PFN_MASK)).astype(np.int64)
        frame, page, there = shot.locate(first)
        runs = np.flatnonzero(there)
        run, page = expand(page[runs], shot.runs["pages"][runs].astype(np.int64))
        life = life_at[frame[runs[run]], page]
        pid = shot.runs["pid"][runs[run]].astype(np.int64)
        key, pages = np.unique(np.stack([life, pid])[:, life >= 0], axis=1, return_counts=True)
        for (of, who), mapped in zip(key.T.tolist(), pages.tolist(), strict=True):
            last = max(held.here.row - 1, 0)
            yield _Holder(number, of, KINDS.index("maps"), mapped, (), who, last)


def _taken(part: Part, found: list[References]) -> Iterator[_Holder]:
    """Who took references by get_user_pages() and pins that were not dropped, by the records.

    At a snapshot that leaves nothing unexplained no reference of get_user_pages() is left.
    """
    log, lives = part.log, part.lives
    rows = np.flatnonzero(among(log.op, PIN_OPS) & (lives.of >= 0))
    if not len(rows):
        return
    rows = rows[np.argsort(lives.of[rows], kind="stable")]
    touched = np.unique(lives.of[rows])
    shown: dict[int, list[tuple[int, int, int, int]]] = {}
    for number, shot in enumerate(found):
        for at in np.flatnonzero(np.isin(shot.here.life, touched)).tolist():
            seen = number, shot.here.row, int(shot.pins[at]), int(shot.unexplained[at])
            shown.setdefault(int(shot.here.life[at]), []).append(seen)
    for life, snapshots in shown.items():
        begin, end = np.searchsorted(lives.of[rows], [life, life + 1])
        ledger = Ledger(log, rows[begin:end])
        for number, until, pins, unexplained in snapshots:
            ledger.until(until)
            if unexplained <= 0:
                ledger.forget()
            for pinner in ledger.pinners():
                # If the kernel has no pin left, nobody has, whatever was not seen.
                if not pinner.pinned or pins:
                    kind = KINDS.index("pinned" if pinner.pinned else "got")
                    yield _Holder(number, life, kind, pinner.left, (pinner.first, pinner.last))


def _holders(part: Part, shots: list[Snapshot], found: list[_Holder]) -> pd.DataFrame:
    log = part.log

    def column(values: Iterable[int]) -> Ints:
        return np.array(list(values), dtype=np.int64)

    first = column(holder.rows[0] if holder.rows else -1 for holder in found)
    last = column(holder.rows[-1] if holder.rows else -1 for holder in found)
    life = column(holder.life for holder in found)
    pid = column(holder.pid for holder in found)
    snapshot = column(holder.snapshot for holder in found)
    who = Parties(part, first, column(holder.shown for holder in found), pid)
    there = first >= 0
    ts = log.ts if len(log) else np.zeros(1, np.int64)  # a part without records has no holders
    return pd.DataFrame(
        {
            "snapshot": snapshot,
            "name": texts(shots[number].name for number in snapshot.tolist()),
            "life": life,
            "kind": category(column(holder.kind for holder in found), KINDS),
            "number": column(holder.number for holder in found),
            "comm": texts(who.comm),
            "tid": who.tid,
            "pid": who.pid,
            "function": texts(who.function),
            "stack": integers(who.stack, who.has_stack),
            "since_ts": integers(ts[first], there, np.int64),
            "last_ts": integers(ts[last], there, np.int64),
        }
    )
