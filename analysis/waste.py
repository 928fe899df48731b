# SPDX-License-Identifier: GPL-2.0-or-later
"""Partially mapped folios: how much unmapped memory they keep, and why.

When some pages of an anonymous large folio are unmapped, their memory stays with the folio
until it is split or freed.  The kernel queues it (deferred_split_folio()), and splits it only
under memory pressure.  Unmapped pages of files are page cache, and no waste.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.counts import Counts
from analysis.lives import DEATHS
from analysis.part import Part
from analysis.plan import ENTER, OP
from analysis.replay import Replay

#: How a span ends: every page is mapped again, none is any more, or the folio's own end.
ENDS = ("mapped", "unmapped", *DEATHS)


@dataclass(frozen=True)
class Span:
    """A span of time in which some pages of a folio were mapped and others were not.

    From each time (ns) in ``ts`` on so many ``pages`` were not mapped, ``until`` its end.
    ``row``: the record that began it, -1 if it began before the recording.  ``queued``: when the
    folio was queued for a split, -1: never.  ``tries``: attempts to split it in the span;
    ``result`` of the last (0: it was split), and the references to the folio at that time that
    were neither a mapping nor the splitting task's own; None: not known.
    """

    life: int
    ts: Ints
    pages: Ints
    until: int
    end: str
    row: int
    queued: int
    tries: int
    result: int | None
    references: int | None


@dataclass(frozen=True)
class Waste:
    """The spans of a part, in the order of lives; ``unknown``: the number of lives that are older
    than the recording, and whose pages were never all known."""

    spans: list[Span]
    unknown: int


def waste_of(part: Part) -> Waste:
    """Find the spans of all anonymous large folios of a part."""
    lives = part.lives
    which = np.flatnonzero(lives.anon & ~lives.hugetlb & (lives.order > 0))
    if not len(which):
        return Waste([], 0)
    run = part.replay(which)
    spans: list[Span] = []
    unknown = 0
    for life in _candidates(run).tolist():
        counts = part.counts(life, run)
        mapped, known = _mapped(counts)
        unknown += not known.any()
        spans += _spans(part, counts, mapped, known)
    return Waste(spans, unknown)


def _candidates(run: Replay) -> Ints:
    """Lives that may be mapped in part: where no operation was on some pages, none ever is."""
    some = np.zeros(len(run.lives), dtype=bool)
    some[np.searchsorted(run.bounds, run.acts.some_at, "right") - 1] = True
    found: Ints = run.lives[some | ~run.born]
    return found


def _mapped(counts: Counts) -> tuple[Ints, Bools]:
    """Pages with a mapping after each record, and where known."""
    by_ptes, known = counts.pages_mapped()
    return np.where(counts.entire == 0, by_ptes, counts.pages), known & counts.entire_known


def _splits(part: Part, counts: Counts) -> Iterable[tuple[int, int]]:
    """The tries to split a folio: the element of its counts, and the row of the return or -1."""
    log = part.log
    asked = (log.op[counts.event] == OP["split_folio"]) & (log.phase[counts.event] == ENTER)
    at = np.flatnonzero(asked)
    return zip(at.tolist(), log.return_of[counts.event[at]].tolist(), strict=True)


def _spans(part: Part, counts: Counts, mapped: Ints, known: Bools) -> Iterable[Span]:
    log, lives = part.log, part.lives
    pages = np.where(known & (mapped > 0), counts.pages - mapped, 0)
    splits = list(_splits(part, counts))
    for at, done in splits:
        # A split takes all mappings away and, where it fails, gives them back.
        inside = slice(at, np.searchsorted(counts.event, done) if done >= 0 else None)
        pages[inside] = pages[at]
    death = int(lives.death_row[counts.life])
    over = int(log.ts[death]) if death >= 0 else part.recording.census.last_ts
    edges = np.diff(pages > 0, prepend=False, append=False)
    queue = log.op[counts.event] == OP["deferred_split"]
    for begin, end in np.flatnonzero(edges).reshape(-1, 2).tolist():
        whole = end == len(pages)
        steps = begin + np.flatnonzero(np.diff(pages[begin:end], prepend=0))
        queued = begin + np.flatnonzero(queue[begin : end + 1])
        tried = [(at, done) for at, done in splits if begin <= at <= end]
        result, references = _last_try(part, counts, tried)
        yield Span(
            life=counts.life,
            ts=counts.ts[steps],
            pages=pages[steps],
            until=over if whole else int(counts.ts[end]),
            end=DEATHS[lives.death[counts.life]] if whole else ENDS[int(mapped[end] == 0)],
            row=int(counts.event[begin]) if begin and known[begin - 1] else -1,
            queued=int(counts.ts[queued[0]]) if len(queued) else -1,
            tries=len(tried),
            result=result,
            references=references,
        )


def _last_try(
    part: Part, counts: Counts, tried: list[tuple[int, int]]
) -> tuple[int | None, int | None]:
    if not tried:
        return None, None
    at, done = tried[-1]
    row = int(counts.event[at])
    total, known = counts.pte_total()
    mappings = int(counts.entire[at] + total[at])
    references = int(part.log.raw["refcount"][row]) - mappings - 1
    return (
        int(part.log.aux[done]) if done >= 0 else None,
        references if known[at] and part.log.read[row] else None,
    )
