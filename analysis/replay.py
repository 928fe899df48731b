# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays the declared changes of many lives at once: initial value plus deltas.

Observations are used only for the initial values of folios that are older than the
recording.  After that no observation corrects the replay: a difference is a finding, not
noise (see divergence.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.arrays import Bools, Ints, changes, expand, first_of, segment_cumsum
from analysis.effects import Effects, effects
from analysis.errors import AnalysisError
from analysis.lives import MOVES, READS, Lives
from analysis.log import Log
from analysis.plan import OP, RETURN, among

#: "Not known at any row", as a position.
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class StartValues:
    """Counters read from struct page when recording began, for some lives.

    ``entire`` and ``double_map`` by life (-1: not read); ``pte`` by life: one number of
    PTE mappings per page (-1: not read).  ``ts``: when (ns) they were read.
    """

    entire: dict[int, int]
    double_map: dict[int, int]
    pte: dict[int, Ints]
    ts: int = 0


NO_START = StartValues({}, {}, {})
#: Pages that the operations of a replay may change one by one: so many, or so many for each record
#: of the part.  Each takes 40 bytes.
MOST_POINTS, POINTS_OF_A_RECORD = 1 << 24, 32


@dataclass(frozen=True, eq=False)
class Replay:
    """Counters AFTER each of ``rows`` of ``log``, whose lives are ``of``.

    Life ``lives[b]`` has rows[bounds[b]:bounds[b+1]].

    ``acts``: the declared changes that were replayed.
    ``every``: PTE mappings that all pages of the folio have; a page's PTE mappings are
    its initial value + every + the last of its points.  Points and initial values are
    sorted by (key, position), where key = base[b] + page.  ``pte_sum`` is the sum over
    the pages, without their initial values, whose sum is ``pte_start`` where known.
    """

    log: Log
    of: Lives
    lives: Ints
    bounds: Ints
    rows: Ints
    acts: Effects
    entire: Ints
    entire_known: Bools
    double_map: Ints
    double_map_start: Ints
    every: Ints
    pte_sum: Ints
    pte_start: Ints
    pte_start_known: Bools
    base: Ints
    point_key: Ints
    point_at: Ints
    point_sum: Ints
    born: Bools
    init_key: Ints
    init_value: Ints
    init_since: Ints

    def rows_until(self, life: int, row: int) -> Ints:
        """The rows of a life before a row of the log."""
        place = int(np.searchsorted(self.lives, life))
        rows = self.rows[self.bounds[place] : self.bounds[place + 1]]
        return rows[: np.searchsorted(rows, row)]

    def points_until(self, key: Ints, at: Ints) -> Ints:
        """Sum of a page's own changes up to and including position ``at``."""
        size = len(self.rows) + 1
        place = np.searchsorted(self.point_key * size + self.point_at, key * size + at, "right") - 1
        hit = place >= 0
        hit[hit] = self.point_key[place[hit]] == key[hit]
        result = np.zeros(len(key), dtype=np.int64)
        result[hit] = self.point_sum[place[hit]]
        return result

    def initial(self, key: Ints, slot: Ints) -> tuple[Ints, Ints]:
        """Initial PTE mappings of pages and the position from which they are known."""
        value = np.zeros(len(key), dtype=np.int64)
        since = np.where(self.born[slot], self.bounds[slot], NEVER)
        place = np.searchsorted(self.init_key, key)
        hit = place < len(self.init_key)
        hit[hit] = self.init_key[place[hit]] == key[hit]
        value[hit] = self.init_value[place[hit]]
        since[hit] = self.init_since[place[hit]]
        return value, since


def replay(
    log: Log, lives: Lives, which: Ints, counters: frozenset[str], start: StartValues = NO_START
) -> Replay:
    """Replay the lives ``which`` of a log; ``counters``: what the kernel has."""
    slot_of = np.full(len(lives) + 1, -1, dtype=np.int64)
    slot_of[which] = np.arange(len(which))
    # Readers may see a stale folio, a split returns when the folio is no more, and what a migration
    # tries changes nothing itself.
    split_done = (log.op == OP["split_folio"]) & (log.phase == RETURN)
    told = ~among(log.op, (*READS, *MOVES)) & ~split_done
    rows = np.flatnonzero((slot_of[lives.of] >= 0) & told)
    rows = rows[np.argsort(slot_of[lives.of[rows]], kind="stable")]
    slot = slot_of[lives.of[rows]]
    bounds = np.searchsorted(slot, np.arange(len(which) + 1)).astype(np.int64)
    first = changes(slot) if len(rows) else np.zeros(0, dtype=bool)
    born = lives.born_seen()[which]
    acts = effects(log, lives, rows, "double_map" in counters)

    entire = segment_cumsum(acts.entire, first)
    whole, has_whole = log.counter("entire_mapcount")
    seen, observed = _first_observed(log, acts, slot, (whole, has_whole), entire, acts.entire)
    initial, known = _initial(which, born, seen, observed, start.entire)
    known |= lives.order[which] == 0
    entire += initial[slot]

    double_map, double_map_start = _double_map(log, acts, which, slot, bounds, entire, born, start)
    every = segment_cumsum(acts.every, first)

    pages = np.int64(1) << lives.order[which]
    base = np.cumsum(pages) - pages
    key, at, own = _points(acts, base[slot[acts.some_at]], len(log))

    moved = acts.every * pages[slot]
    moved[acts.some_at] += acts.some_delta * acts.some_nr
    pte_sum = segment_cumsum(moved, first)
    large, has_large = log.counter("large_mapcount")
    pte_start, pte_start_known = np.zeros(len(which), dtype=np.int64), born.copy()
    if "large_mapcount" in counters:
        of_pages = (large - whole, has_large & has_whole)
        seen, observed = _first_observed(log, acts, slot, of_pages, pte_sum, moved)
        pte_start, pte_start_known = _initial(which, born, seen, observed, {})

    result = Replay(
        log=log, of=lives, lives=which, bounds=bounds, rows=rows, acts=acts,
        entire=entire, entire_known=known,
        double_map=double_map, double_map_start=double_map_start, every=every, pte_sum=pte_sum,
        pte_start=pte_start, pte_start_known=pte_start_known,
        base=base, point_key=key, point_at=at, point_sum=own,
        born=born, init_key=np.zeros(0, np.int64), init_value=np.zeros(0, np.int64),
        init_since=np.zeros(0, np.int64),
    )  # fmt: skip
    return _with_initial_pages(log, lives, result, slot, counters, start)


def _points(acts: Effects, base: Ints, records: int) -> tuple[Ints, Ints, Ints]:
    """Each page that an operation on some pages changes, by page, then time: its key, the position
    of the operation, and the sum of the page's own changes so far.  ``base``: of each operation,
    the key of its folio's first page."""
    number = int(acts.some_nr.sum())
    if number > max(MOST_POINTS, POINTS_OF_A_RECORD * records):
        raise AnalysisError(
            f"its operations change {number} pages one by one, more than are replayed at once: cut "
            "out a part with `mapcount slice --time A:B` or `--pfn FIRST,LAST`"
        )
    # There may be millions: no array is kept for longer than it is needed.
    owner, key = expand(acts.some_start, acts.some_nr)
    key += base[owner]
    by_key = np.argsort(key, kind="stable")  # positions ascend
    key = key[by_key]
    owner = owner[by_key]
    del by_key
    at, step = acts.some_at[owner], acts.some_delta.astype(np.int8)[owner]  # as the format has it
    del owner
    first = changes(key) if len(key) else np.zeros(0, dtype=bool)
    return key, at, segment_cumsum(step, first)


def _first_observed(
    log: Log, acts: Effects, slot: Ints, counter: tuple[Ints, Bools], after: Ints, step: Ints
) -> tuple[Ints, Ints]:
    """Lives with an observation, and the value at their beginning that it implies."""
    value, valid = counter
    at = np.flatnonzero(valid[acts.rows])
    at = at[changes(slot[at])]
    seen, row = slot[at], acts.rows[at]
    declared = after[at] - np.where(log.after[row], 0, step[at])
    return seen, value[row] - declared


def _initial(
    which: Ints, born: Bools, seen: Ints, observed: Ints, read: dict[int, int]
) -> tuple[Ints, Bools]:
    """Values at the beginning of each life: none if born, else observed, else read."""
    initial = np.zeros(len(which), dtype=np.int64)
    known = born.copy()
    for place in np.flatnonzero(np.isin(which, list(read)) & ~born).tolist():
        initial[place], known[place] = read[int(which[place])], True
    older = ~born[seen]
    initial[seen[older]] = observed[older]
    known[seen] = True
    return initial, known


def _double_map(
    log: Log, acts: Effects, which: Ints, slot: Ints, bounds: Ints, entire: Ints,
    born: Bools, start: StartValues,
) -> tuple[Ints, Ints]:  # fmt: skip
    """DoubleMap of anon folios after each row, and at the beginning of each life.

    A split of a PMD mapping sets it while another PMD mapping is left; it goes when the
    last one goes.  So its value is what the last row that set or cleared it left.
    """
    sets = acts.splits & (entire - acts.entire >= 2)
    clears = entire == 0
    decided = np.where(sets | clears, np.arange(len(slot)), -1)
    last = np.maximum.accumulate(decided) if len(slot) else decided
    here = last >= bounds[slot]
    flag, none = log.counter("double_map"), np.zeros_like(entire)
    seen, observed = _first_observed(log, acts, slot, flag, none, none)
    initial, _ = _initial(which, born, seen, observed, start.double_map)
    return np.where(here, sets[last], initial[slot]).astype(np.int64), initial


def _with_initial_pages(
    log: Log, lives: Lives, result: Replay, slot: Ints, counters: frozenset[str],
    start: StartValues,
) -> Replay:  # fmt: skip
    """Add the PTE mappings that pages of lives older than the recording began with."""
    acts = result.acts
    keys, values, since = [], [], []
    for one in np.flatnonzero(np.isin(result.lives, list(start.pte)) & ~result.born).tolist():
        read = start.pte[int(result.lives[one])]
        page = np.flatnonzero(read >= 0)
        keys.append(result.base[one] + page)
        values.append(read[page])
        since.append(np.full(len(page), result.bounds[one]))

    count, valid = log.counter("mapcount")
    at = np.flatnonzero(valid[acts.rows] & ~result.born[slot])
    row = acts.rows[at]
    life = lives.of[row]
    key = result.base[slot[at]] + log.pfn[row] - lives.head[life]
    key, place = first_of(key)
    at, row, life = at[place], row[place], life[place]
    pte = count[row] - _offset(log, lives, row, life, counters)
    before = np.where(log.after[row], at, at - 1)
    every = result.every[at] - np.where(log.after[row], 0, acts.every[at])
    keys.append(key)
    values.append(pte - every - result.points_until(key, before))
    since.append(at)

    all_keys, all_values = np.concatenate(keys), np.concatenate(values)
    # What was read at the start comes first and wins over a later observation.
    distinct, place = first_of(all_keys)
    return replace(
        result,
        init_key=distinct,
        init_value=all_values[place],
        init_since=np.concatenate(since)[place],
    )


def _offset(log: Log, lives: Lives, row: Ints, life: Ints, counters: frozenset[str]) -> Ints:
    """What a page's map count holds beside its PTE mappings, as observed at ``row``."""
    if "double_map" not in counters:
        return np.zeros(len(row), dtype=np.int64)
    entire, valid = log.counter("entire_mapcount")
    shared = np.where(valid[row], entire[row], 0)
    doubled = np.where(valid[row], log.double_map[row], 0)
    return np.where(lives.anon[life], doubled, shared)


@dataclass(frozen=True)
class AfterEach:
    """Replayed values other than map counts, and where they are known: AFTER each element of a
    replay, followed by those of each of its lives at its beginning."""

    values: Ints
    known: Bools

    def at(self, run: Replay, position: Ints, slot: Ints) -> tuple[Ints, Bools]:
        """The same at some positions of the replay, each of the life in its ``slot``."""
        row = np.where(position >= run.bounds[slot], position, len(run.rows) + slot)
        return self.values[row], self.known[row]
