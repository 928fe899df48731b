# SPDX-License-Identifier: GPL-2.0-or-later
"""Double entry: where the operations no longer explain the values in records and snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analysis.arrays import Bools, Ints, changes
from analysis.audit.actor import AFTER, UNTOUCHED, last_act
from analysis.audit.finding import Finding, pages_text, plain
from analysis.audit.listed import Listed
from analysis.counters import COUNTERS
from analysis.divergence import divergences
from analysis.doubt import Doubt
from analysis.expected_at import present
from analysis.in_flight import in_flight
from analysis.part import Part
from analysis.plan import OP
from analysis.replay import Replay
from analysis.verify import Verification, verify_part

Key = tuple[int, str, int, int]
#: Snapshot, life, counter, expected, observed and doubt of differences that are told together.
Group = tuple[str, int, str, int, int, str]


@dataclass(frozen=True)
class Break:
    """The replay of one counter first differs at ``row``, on ``pages`` (-1: the folio).

    ``row`` is the record that shows it or, for a snapshot, the first record after it.
    ``doubt``: another possible explanation; empty: it is certain.
    """

    life: int
    counter: str
    pages: tuple[int, ...]
    row: int
    expected: int
    observed: int
    doubt: str
    snapshot: str = ""

    @property
    def keys(self) -> list[Key]:
        """Each page's life, counter, page and size of difference."""
        off = self.observed - self.expected
        return [(self.life, self.counter, page, off) for page in self.pages]


class Books:
    """The replay of a trace, compared with its observations."""

    def __init__(self, part: Part, run: Replay, doubt: Doubt, listed: Listed) -> None:
        self.part = part
        self.result = result = verify_part(part, doubt, run)
        self.run = run
        self.doubt = doubt
        self.listed = listed
        #: By counter, the lives of which a record's difference is only counted.
        self._beyond: dict[str, Ints] = {}
        self.double_map_era = "double_map" in part.counters
        self.acts = run.acts
        self._covers = np.zeros((len(run.rows), 2), dtype=np.int64)
        self._covers[self.acts.some_at, 0] = self.acts.some_start
        self._covers[self.acts.some_at, 1] = self.acts.some_start + self.acts.some_nr
        self._offset = self._offset_moves()
        self._right = self._right_snapshots(result)
        self.set_aside = result.set_aside

    def _offset_moves(self) -> Bools:
        """Which operations change what every page's count holds beside its PTE mappings."""
        run, lives = self.run, self.part.lives
        if not self.double_map_era or len(run.rows) == 0:
            return np.zeros(len(run.rows), dtype=bool)
        before = np.roll(run.double_map, 1)
        lived = np.flatnonzero(np.diff(run.bounds) > 0)
        before[run.bounds[lived]] = run.double_map_start[lived]
        anon = lives.anon[lives.of[run.rows]]
        return np.asarray(np.where(anon, run.double_map != before, self.acts.entire != 0))

    def _right_snapshots(self, result: Verification) -> dict[int, list[int]]:
        """By life, the places of the snapshots in the log that agree with all of its replay."""
        right: dict[int, list[int]] = {}
        shots = zip(result.table["snapshot"], self.part.snapshots, strict=True)
        for name, shot in shots:
            here = present(self.part.log, self.part.lives, shot)
            quiet = here.life[~here.busy]
            for life in quiet[~np.isin(quiet, result.wrong[name])].tolist():
                right.setdefault(life, []).append(here.row)
        return right

    def breaks(self) -> list[Break]:
        """The first difference from the replay of each counter, page and size."""
        log, lives = self.part.log, self.part.lives
        found: list[Break] = []
        for divergence in divergences(log, lives, self.run, self.part.counters):
            aside = in_flight(log, lives, divergence.row)
            if COUNTERS[divergence.counter].late:
                aside |= log.op[divergence.row] == OP["dup"]
            self.set_aside += int(aside.sum())
            keep = np.flatnonzero(~aside)
            page = np.full(len(keep), -1, dtype=np.int64)
            if divergence.counter == "mapcount":
                page = log.pfn[divergence.row[keep]] - lives.head[divergence.life[keep]]
            firsts = self._firsts(
                divergence.counter, divergence.life[keep], page, divergence.row[keep],
                divergence.observed[keep], divergence.replayed[keep],
            )  # fmt: skip
            found += [replace(first, doubt=self._doubt(first)) for first in firsts]
        return sorted(found, key=lambda broken: (broken.life, broken.row))

    def _firsts(
        self, counter: str, life: Ints, page: Ints, row: Ints, observed: Ints, expected: Ints
    ) -> Iterator[Break]:
        """The first record of each life, page and size of difference; pages joined."""
        off = observed - expected
        order = np.lexsort((row, page, life))
        life, page, row, off = life[order], page[order], row[order], off[order]
        observed, expected = observed[order], expected[order]
        at = np.flatnonzero(changes(life, page, off))
        at = at[np.lexsort((row[at], off[at], life[at]))]
        begin = np.flatnonzero(changes(life[at], off[at]))
        end = np.append(begin[1:], len(at))
        first = at[begin]
        some = self.listed.first("double-entry", counter, row[first])
        self._beyond[counter] = np.unique(np.delete(life[first], some))
        for group in some:
            earliest = first[group]
            lead = int(page[earliest])
            others = np.unique(page[at[begin[group] : end[group]]])
            # The page that showed it first leads, for its record is the evidence.
            pages = (lead, *others[others != lead].tolist())
            yield Break(
                int(life[earliest]), counter, pages, int(row[earliest]), int(expected[earliest]),
                int(observed[earliest]), doubt="",
            )  # fmt: skip

    def _doubt(self, broken: Break) -> str:
        since = int(self.part.since[broken.life])
        return self.doubt.reason_counter(since, int(self.part.log.ts[broken.row]))

    def all_breaks(self) -> list[Break]:
        """The first observation of each difference, by a record or by a snapshot."""
        records = self.breaks()
        rows = {key: broken.row for broken in records for key in broken.keys}
        shots = list(self._snapshot_breaks(rows))
        sooner = {key for broken in shots for key in broken.keys}
        return shots + [broken for broken in records if broken.keys[0] not in sooner]

    def _snapshot_breaks(self, known: dict[Key, int]) -> Iterator[Break]:
        """Differences of a snapshot from the replay that no record had shown before it."""
        wrong = self.result.differences
        ends = dict(zip(self.result.table["snapshot"], self._snapshot_rows(), strict=True))
        seen: set[Key] = set()
        groups: dict[Group, list[int]] = {}
        mapcounts: set[tuple[str, int, int]] = set()
        counters = {name: set(own.tolist()) for name, own in self.result.wrong_counters.items()}
        beyond = {name: set(own.tolist()) for name, own in self._beyond.items()}
        # A folio that changed while the snapshot was taken may have been read before or after.
        busy = wrong["busy"].to_numpy().astype(bool)
        self.listed.beyond += self.result.unlisted
        rows = wrong[~busy].to_dict("records")
        rows.sort(key=lambda row: row["counter"] == "kpagecount")
        for row in rows:
            life, page, counter = int(row["life"]), int(row["subpage"]), str(row["counter"])
            key = (life, counter, page, int(row["truth"]) - int(row["replayed"]))
            if counter == "mapcount":
                mapcounts.add((row["snapshot"], life, page))
            if counter in COUNTERS and COUNTERS[counter].kept.pins:
                continue  # no map count: `holders` and `verify` tell
            # What /proc says follows from the counter where the counter itself is wrong.
            follows = counter in ("kpagecount", "page tables")
            if follows and (row["snapshot"], life, page) in mapcounts:
                continue
            # What /proc makes of counters that are right is another rule: published.
            right = life not in counters[row["snapshot"]]
            if counter == "kpagecount" and right and self._alive(life, ends[row["snapshot"]]):
                continue
            if life in beyond.get(counter, ()):
                continue
            if key in seen or known.get(key, len(self.part.log)) < ends[row["snapshot"]]:
                continue
            seen.add(key)
            values = int(row["replayed"]), int(row["truth"])
            group = (str(row["snapshot"]), life, counter, *values, str(row["doubt"]))
            groups.setdefault(group, []).append(page)
        kept: set[Group] = set()
        for counter in {group[2] for group in groups}:
            alike = [group for group in groups if group[2] == counter]
            seen_at = np.array([ends[group[0]] for group in alike], dtype=np.int64)
            first = self.listed.first("snapshot", counter, seen_at)
            kept.update(alike[number] for number in first)
        for group in filter(kept.__contains__, groups):
            snapshot, life, counter, expected, observed, why = group
            where = tuple(sorted(groups[group]))
            yield Break(life, counter, where, ends[snapshot], expected, observed, why, snapshot)

    def _alive(self, life: int, row: int) -> bool:
        """A folio was not freed or split before a row."""
        death = int(self.part.lives.death_row[life])
        return death < 0 or death >= row

    def _snapshot_rows(self) -> list[int]:
        begins = [shot.ts_begin for shot in self.part.snapshots]
        return [int(row) for row in np.searchsorted(self.part.log.ts, begins, "right")]

    def _touches(self, counter: str, page: int, at: slice) -> Bools:
        """Which operations of a stretch change this counter."""
        acts = self.acts
        entire = acts.entire[at] != 0
        if counter == "entire_mapcount":
            return np.asarray(entire)
        if counter == "double_map":
            return np.asarray(entire | acts.splits[at])
        every = (acts.every[at] != 0) | self._offset[at]
        low, high = self._covers[at, 0], self._covers[at, 1]
        inside = (low <= page) & (page < high) if page >= 0 else high > low
        if counter in ("mapcount", "kpagecount", "page tables"):
            return np.asarray(every | inside | (entire & (counter != "mapcount")))
        return np.asarray(every | inside | entire)

    def evidence(self, broken: Break) -> tuple[int, int, Ints]:
        """The last record that still agreed (-1: none), the operation since, and the others.

        The operation is one that changes this counter, see ``_fitting``; if there is none, the
        last one on the folio that changes any counter.  Before the first operation on a folio
        that came from a split it is the split; -1: no operation on it was recorded.
        """
        log, run = self.part.log, self.run
        rows = run.rows_until(broken.life, self._first_seen(broken))
        begin = int(run.bounds[np.searchsorted(run.lives, broken.life)])
        page = broken.pages[0]
        looks = np.ones(len(rows), dtype=bool)
        if page >= 0:
            # Each of the pages was right when it was looked at last.
            looked = log.pfn[rows] - self.part.lives.head[broken.life]
            # np.isin() takes as long as all the rest, where a file has a finding for each page.
            looks = np.isin(looked, broken.pages) if broken.pages[1:] else looked == page
        good = np.flatnonzero(looks)
        since = int(good[-1]) if len(good) else 0
        # A snapshot in between that agreed in everything clears what was before it.
        for row in self._right.get(broken.life, []):
            after = int(np.searchsorted(rows, row))
            since = max(since, after) if after < len(rows) else since
        touching = np.flatnonzero(
            self._touches(broken.counter, page, slice(begin + since, begin + len(rows)))
        )
        last_good = int(rows[since]) if len(good) else -1
        if len(touching) == 0:
            actor = last_act(log, rows)
            return last_good, actor if actor >= 0 else self._split_into(broken.life), touching
        fits = self._fitting(broken, begin + since + touching)
        return last_good, int(rows[since + touching[fits]]), rows[since + np.delete(touching, fits)]

    def _fitting(self, broken: Break, at: Ints) -> int:
        """Which of some operations fits a difference best: the last of those on the fewest pages,
        among those on all that are wrong; of what the whole folio counts, the last."""
        if broken.pages[0] < 0:
            return len(at) - 1
        size = np.int64(1) << int(self.part.lives.order[broken.life])
        whole = (self.acts.every[at] != 0) | self._offset[at] | (self.acts.entire[at] != 0)
        low = np.where(whole, 0, self._covers[at, 0])
        high = np.where(whole, size, self._covers[at, 1])
        misses = (low > min(broken.pages)) | (high <= max(broken.pages))
        return int(np.lexsort((-np.arange(len(at)), high - low, misses))[0])

    def _others(self, rows: Ints, good: int) -> str:
        """How it is told which other operations there were since the record ``good``."""
        log = self.part.log
        code, place = np.unique(log.function[rows], return_index=True)
        names = [self.part.plan.functions[each] for each in code[np.argsort(place)].tolist()]
        since = f"event {{event[{good}]}}" if good >= 0 else "its beginning"
        told = plain(", ".join(f"{name}()" for name in names))
        return f" of {len(rows) + 1} operations on it since {since} ({told})"

    def _first_seen(self, broken: Break) -> int:
        """The record that first saw what is wrong, as far as it was not right again since.

        Records are not held against the replay of _nr_pages_mapped, for which the counts of all
        pages are needed: what a snapshot says of it may have been there to see for long.
        """
        if broken.counter != "nr_pages_mapped":
            return broken.row
        log = self.part.log
        rows = self.run.rows_until(broken.life, broken.row)
        want, known = self.part.counts(broken.life, self.run).signal("nr_pages_mapped")
        value, there = log.counter("nr_pages_mapped")
        before = np.arange(len(rows)) - ~log.after[rows]
        told = there[rows] & (before >= 0) & known[before]
        right = told & (value[rows] == want[before])
        since = np.flatnonzero(right)[-1] if right.any() else -1
        wrong = np.flatnonzero(told & ~right)
        wrong = wrong[wrong > since]
        return int(rows[wrong[0]]) if len(wrong) else broken.row

    @cached_property
    def _splits(self) -> dict[int, int]:
        """By life, its last record of a split."""
        rows = np.flatnonzero(self.part.log.op == OP["split_folio"])
        return dict(zip(self.part.lives.of[rows].tolist(), rows.tolist(), strict=True))

    def _split_into(self, life: int) -> int:
        """The record of the split that a folio came from, -1: from none."""
        parent = int(self.part.lives.parent[life])
        return self._splits.get(parent, -1) if parent >= 0 else -1

    def finding(self, broken: Break) -> Finding:
        """The finding that describes a break."""
        lives = self.part.lives
        good, actor, others = self.evidence(broken)
        seen_by = [] if broken.snapshot else [broken.row]
        # A finding has a time: that of the life's first record, where nothing acted on it.
        seen_by = seen_by if seen_by or max(good, actor) >= 0 else [int(lives.first[broken.life])]
        where = "the folio" if broken.pages[0] < 0 else pages_text(broken.pages)
        shot = f"the snapshot {plain(repr(broken.snapshot))}"
        by = shot if broken.snapshot else f"event {{event[{broken.row}]}}"
        words = (
            f"{broken.counter} of {where} is {broken.observed} where the operations give "
            f"{broken.expected}: seen by {by}, " + (AFTER if actor >= 0 else UNTOUCHED)
        )
        if len(others):
            words += ", which fits best" if broken.pages[0] >= 0 else ", the last"
            words += self._others(others, good)
        return Finding(
            rule=self._rule(broken, actor),
            life=broken.life,
            pfn=int(lives.head[broken.life]) + max(0, broken.pages[0]),
            rows=tuple(sorted({row for row in (good, actor, *seen_by) if row >= 0})),
            actor=actor,
            words=words,
            doubt=broken.doubt,
            counter=broken.counter,
            expected=broken.expected,
            observed=broken.observed,
            seen=self._seen(broken),
        )

    def _seen(self, broken: Break) -> int | None:
        """When (ns) the snapshot was taken that saw it; None: a record did."""
        if not broken.snapshot:
            return None
        names = self.result.table["snapshot"].tolist()
        return self.part.snapshots[names.index(broken.snapshot)].ts_begin

    def _rule(self, broken: Break, actor: int) -> str:
        if broken.counter == "page tables":
            return "page-tables"
        if broken.counter == "double_map":
            return "double-map"
        # Only a PMD-level operation moves the offset that DoubleMap stands for.
        anon = self.double_map_era and bool(self.part.lives.anon[broken.life])
        if broken.counter == "mapcount" and anon and actor >= 0 and self.part.log.level[actor] > 0:
            return "double-map"
        return "double-entry"
