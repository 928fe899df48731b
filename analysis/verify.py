# SPDX-License-Identifier: GPL-2.0-or-later
"""Compares the replay with the ground truth that was recorded with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from analysis.arrays import Bools, Ints
from analysis.columns import texts
from analysis.counters import FOLIO
from analysis.divergence import divergences
from analysis.doubt import Doubt
from analysis.each_part import each
from analysis.expected_at import Expected, Present, expected, present
from analysis.lives import DEATHS
from analysis.part import Part, Parted
from analysis.recording import Recording
from analysis.replay import Replay
from analysis.truth import Snapshot
from analysis.truth_frame import folio_values, has_counter
from analysis.walked import Walks

#: Differences of a part of a trace that are told one by one; all are counted.
MOST = 50_000
CHECKS = (*FOLIO, "mapcount", "kpagecount", "page tables")
#: The reasons that there are, and the place of each difference's.
Doubts = tuple[list[str], Ints]
#: What the kernel itself keeps of a folio's mappings.
COUNTERS = ("order", *(name for name, row in FOLIO.items() if not row.kept.pins), "mapcount")


@dataclass(frozen=True)
class Verification:
    """``table``: one row per snapshot.  ``differences``: one row per differing value, at most
    ``MOST``; the table counts all.

    The columns of differences: ``snapshot``, ``life``, ``counter``, ``subpage`` (-1: the
    folio), ``replayed``, ``truth``, ``busy`` (the life changed while the snapshot was
    taken), ``doubt`` (another possible explanation, see ``analysis.doubt``; empty: it is
    certain), ``first_row`` (first record that disagrees with the replay; -1: none does).

    Of one part alone: ``wrong``: by snapshot the lives of which a value differs, and
    ``wrong_counters``: those of which a counter differs, not only a value of /proc, and that were
    not busy; ``set_aside``: differences of busy lives.
    """

    table: pd.DataFrame
    differences: pd.DataFrame
    wrong: dict[str, Ints] = field(default_factory=dict)
    wrong_counters: dict[str, Ints] = field(default_factory=dict)
    set_aside: int = 0

    @property
    def checked(self) -> int:
        """Number of values that were compared."""
        return int(self.table[list(CHECKS)].to_numpy().sum())

    @property
    def certain(self) -> int:
        """Number of differences that have no other explanation."""
        return int(self.table["differences"].sum())

    @property
    def possible(self) -> int:
        """Number of the others."""
        return int(self.table["possible"].sum())

    @property
    def unlisted(self) -> int:
        """Number of differences that are only counted."""
        return self.certain + self.possible - len(self.differences)


class _Sheet:
    """Collects comparisons of one snapshot."""

    def __init__(
        self, name: str, here: Present, doubt: Callable[[Ints, Bools], Doubts], room: int
    ) -> None:
        self.here = here
        self.room = room
        self.certain = self.possible = self.set_aside = 0
        self.lives: list[Ints] = []
        self.of_counters: list[Ints] = []
        self.doubt = doubt
        self.busy = here.life[here.busy]
        self.counted = dict.fromkeys(CHECKS, 0)
        self.unknown = 0
        self.wrong: list[pd.DataFrame] = []
        self.name = name

    def compare(
        self, counter: str, life: Ints, page: Ints, replayed: Ints, truth: Ints, known: Bools,
        wrong: Bools | None = None,
    ) -> None:  # fmt: skip
        """Compare values of some pages (-1: the folio itself) of some lives."""
        self.unknown += int((~known).sum())
        self.counted[counter] = self.counted.get(counter, 0) + int(known.sum())
        bad = np.flatnonzero(known & ((replayed != truth) if wrong is None else wrong))
        busy = np.isin(life[bad], self.busy)
        reasons, reason = self.doubt(life[bad], busy)
        certain = np.array([not text for text in reasons], dtype=bool)[reason]
        self.certain += int(certain.sum())
        self.possible += int((~certain).sum())
        self.set_aside += int(busy.sum())
        self.lives.append(np.unique(life[bad]))
        if counter in COUNTERS:
            self.of_counters.append(np.unique(life[bad[~busy]]))
        # Where there is no room for all, the certain ones are told.
        told = np.sort(np.argsort(~certain, kind="stable")[: self.room])
        self.room -= len(told)
        bad, busy, reason = bad[told], busy[told], reason[told]
        self.wrong.append(
            pd.DataFrame(
                {
                    "snapshot": texts([self.name] * len(bad)),
                    "life": life[bad],
                    "counter": texts([counter] * len(bad)),
                    "subpage": page[bad],
                    "replayed": replayed[bad],
                    "truth": truth[bad],
                    "busy": busy,
                    "doubt": texts([reasons[at] for at in reason.tolist()]),
                    "row": np.full(len(bad), self.here.row, dtype=np.int64),
                }
            )
        )


def _check_folios(sheet: _Sheet, part: Part, shot: Snapshot, want: Expected) -> Bools:
    """Compare the folios' counters; returns which lives the raw pages really show."""
    here = sheet.here
    none = np.full(len(here.life), -1, dtype=np.int64)
    order = part.lives.order[here.life]
    found = shot.orders(here.head, here.frame)
    # A page of another order there means that the replayed life is over or never was.
    sheet.compare("order", here.life, none, order, found, np.ones(len(order), dtype=bool))
    shown = found == order
    who = np.flatnonzero(shown & (order > 0))
    for counter, row in FOLIO.items():
        if row.kept.pins and not part.plan.tells_pins:
            continue  # nobody asked for it
        if has_counter(shot, counter, part.counters):
            value, known = row.of(want.folio)
            some = who[row.applies(want.folio)[who]]
            truth = folio_values(shot, counter, here.head[some], here.frame[some])
            sheet.compare(counter, here.life[some], none[some], value[some], truth, known[some])
    return np.asarray(shown)


def _check_pages(
    sheet: _Sheet, part: Part, shot: Snapshot, want: Expected, shown: Bools, walks: Walks
) -> None:
    """Compare what belongs to single pages."""
    here = sheet.here
    some = np.flatnonzero(shown[want.owner])
    who, page, known = want.owner[some], want.page[some], want.known[some]
    at = (here.frame[who], here.head[who] + page)
    life = here.life[who]
    mapcount, is_count = shot.mapcounts()
    # Without counts of its own, /proc gives each page of a large folio the folio's average.
    kept = known & (shot.layout.page_counts | (part.lives.order[life] == 0))
    sheet.compare("mapcount", life, page, want.mapcount[some], mapcount[at], kept & is_count[at])
    count = shot.kpagecount[at]
    sheet.compare("kpagecount", life, page, want.mappings[some], count, kept & shot.page_files)
    if shot.tasks:
        # A mapping in a task that was not read may be missing, but none can be too many.
        mappers, (full, most) = shot.mappers[at], walks.of(shot)
        calm = known & ~here.busy[who] & most[life]
        off = mappers - want.mappings[some]
        wrong = np.where(full[life], off != 0, off > 0)
        sheet.compare("page tables", life, page, want.mappings[some], mappers, calm, wrong)


def _check_remains(sheet: _Sheet, part: Part, shot: Snapshot) -> None:
    """A page of a split folio that no record told of since must be mapped nowhere."""
    lives = part.lives
    width = shot.kpagecount.shape[1]
    pfn = np.repeat(shot.frames, width) + np.tile(np.arange(width), len(shot.frames))
    row = np.full(len(pfn), sheet.here.row, dtype=np.int64)
    later = np.searchsorted(part.log.ts, shot.ts_end, side="right")
    life = lives.index.before(pfn, row)
    split = (lives.death[life] == DEATHS.index("split")) & (lives.death_row[life] < row)
    calm = lives.index.before(pfn, np.full(len(pfn), later)) == life
    some = np.flatnonzero((life >= 0) & split & calm)
    life, page = life[some], pfn[some] - lives.head[life[some]]
    count = shot.kpagecount.ravel()[some]
    sheet.compare("kpagecount", life, page, np.zeros_like(count), count, count >= 0)


def verify(trace: Parted) -> Verification:
    """Compare every snapshot of a trace with the replay up to it, part by part."""
    return joined(each(trace, verify_labelled))


def verify_labelled(recording: Recording, part: Part) -> Verification:
    """Compare one part with its snapshots, with the record labels of the whole trace."""
    result = verify_part(part, Doubt(recording))
    wrong = result.differences
    if len(wrong):
        first = wrong["first_row"].to_numpy()
        label = np.where(first < 0, -1, part.log.rank[first].astype(np.int64))
        wrong = wrong.assign(first_row=label)
    return Verification(result.table, wrong)


def joined(results: Iterable[tuple[Verification, Ints]]) -> Verification:
    """One result from those of all parts, each with the numbers of its lives in the whole."""
    tables, frames = [], []
    for result, numbers in results:
        tables.append(result.table.set_index("snapshot"))
        frames.append(result.differences.assign(life=numbers[result.differences["life"]]))
    table = tables[0]
    for other in tables[1:]:
        table = table.add(other)
    table = table.reset_index()
    some = [frame for frame in frames if len(frame)]
    return Verification(table, _sorted(some, table) if some else frames[0])


def _sorted(frames: list[pd.DataFrame], table: pd.DataFrame) -> pd.DataFrame:
    """All differences by snapshot, counter, life and page."""
    joined = pd.concat(frames, ignore_index=True)
    place = {name: number for number, name in enumerate((*table["snapshot"], "order", *CHECKS))}
    keys = joined[["snapshot", "counter"]].map(place.__getitem__).join(joined[["life", "subpage"]])
    by_key = np.lexsort([keys[name] for name in ("subpage", "life", "counter", "snapshot")])
    return joined.iloc[by_key].reset_index(drop=True)


def verify_part(part: Part, doubt: Doubt, run: Replay | None = None) -> Verification:
    """Compare one part with its snapshots; ``run``: a replay of all its lives, if there is one."""
    log, lives = part.log, part.lives
    found = [present(log, lives, shot) for shot in part.snapshots]
    if run is None:
        run = part.replay(np.concatenate([np.zeros(0, np.int64), *(seen.life for seen in found)]))
    rows, wrong, walks, room, set_aside = [], [], Walks(part), MOST, 0
    lives_of: dict[str, Ints] = {}
    counters_of: dict[str, Ints] = {}
    for number, (shot, here) in enumerate(zip(part.snapshots, found, strict=True)):
        sheet = _Sheet(f"{number} {shot.name}", here, partial(_doubts, part, doubt, shot), room)
        if len(here.life):
            want = expected(lives, run, here, part.counters)
            shown = _check_folios(sheet, part, shot, want)
            _check_pages(sheet, part, shot, want, shown, walks)
        if len(lives):
            _check_remains(sheet, part, shot)
        room, set_aside = sheet.room, set_aside + sheet.set_aside
        lives_of[sheet.name] = _distinct(sheet.lives)
        counters_of[sheet.name] = _distinct(sheet.of_counters)
        rows.append(
            {"snapshot": sheet.name, "lives": len(here.life), "busy": int(here.busy.sum())}
            | {name: sheet.counted[name] for name in CHECKS}
            | {
                "unknown": sheet.unknown,
                "differences": sheet.certain,
                "possible": sheet.possible,
            }
        )
        wrong += sheet.wrong
    columns = ["snapshot", "lives", "busy", *CHECKS, "unknown", "differences", "possible"]
    table = pd.DataFrame(rows, columns=columns)
    explained = _explain(part, run, wrong)
    return Verification(table, explained, lives_of, counters_of, set_aside)


def _distinct(lives: list[Ints]) -> Ints:
    return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *lives]))


def _doubts(part: Part, doubt: Doubt, shot: Snapshot, life: Ints, busy: Bools) -> Doubts:
    """The one judgement of differences, for ``verify`` and the audit: why each may be none."""
    since, place = np.unique(part.since[life], return_inverse=True)
    by_since = [doubt.reason_snapshot(begin, shot.ts_end, busy=False) for begin in since.tolist()]
    reasons = [*by_since, doubt.reason_snapshot(0, shot.ts_end, busy=True)]
    return reasons, np.where(busy, len(by_since), place)


def _explain(part: Part, run: Replay, wrong: list[pd.DataFrame]) -> pd.DataFrame:
    """Join the differences and find the first record of each life that disagrees."""
    names = ["snapshot", "life", "counter", "subpage", "replayed", "truth", "busy", "doubt", "row"]
    if not any(map(len, wrong)):
        return pd.DataFrame(columns=[*names[:-1], "first_row"])
    frame = pd.concat([rows for rows in wrong if len(rows)], ignore_index=True)
    found = divergences(part.log, part.lives, run, part.counters)
    life = np.concatenate([shown.life for shown in found])
    row = np.concatenate([shown.row for shown in found])
    first = pd.Series(row).groupby(life).min()
    first_row = frame["life"].map(first).fillna(-1).astype(np.int64)
    return frame.drop(columns="row").assign(first_row=first_row.where(first_row < frame["row"], -1))
