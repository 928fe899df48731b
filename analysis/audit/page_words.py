# SPDX-License-Identifier: GPL-2.0-or-later
"""Other words of a struct page against its map count, in one snapshot of folios at rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Ints, changes, expand
from analysis.audit.actor import AFTER, UNTOUCHED, last_act
from analysis.audit.finding import Finding, pages_text, plain
from analysis.audit.listed import Listed
from analysis.doubt import Doubt
from analysis.expected_at import present
from analysis.part import Part
from analysis.plan import among
from analysis.replay import Replay
from analysis.truth import Snapshot

#: The low bits of page->mapping tell kinds of pages; the rest is a pointer.
KINDS_OF_MAPPING = 3
#: Flag of /proc/kpageflags: the page is on a list that reclaim goes through.  Drivers map pages
#: of their own, which are on none, and have no mapping.
LRU = 5


@dataclass(frozen=True)
class _Folios:
    """Quiet folios in a snapshot, and their pages: ``count`` of the page ``page`` of ``owner``."""

    life: Ints
    head: Ints
    frame: Ints
    owner: Ints
    page: Ints
    count: Ints
    row: int


def _folios(part: Part, shot: Snapshot) -> _Folios:
    here, lives = present(part.log, part.lives, shot), part.lives
    some = here.at_rest(lives, shot)
    life, head, frame = here.life[some], here.head[some], here.frame[some]
    owner, at = expand(head, np.int64(1) << lives.order[life])
    return _Folios(
        life, head, frame, owner, at - head[owner], shot.kpagecount[frame[owner], at], here.row
    )


def page_words(part: Part, run: Replay, doubt: Doubt, listed: Listed) -> Iterator[Finding]:
    """Exclusive pages that are mapped more than once; mapped folios whose mapping is NULL."""
    if not part.plan.page_counts:
        return
    for number, shot in enumerate(part.snapshots):
        if not shot.page_files:
            continue
        folios = _folios(part, shot)
        where = f" in the snapshot '{number} {plain(shot.name)}', "
        lost = doubt.at_rest(shot.ts_begin, shot.ts_end)
        for rule, owner, page, words, adding in (
            *_exclusive(shot, folios, listed),
            *_without_mapping(part, shot, folios, listed),
        ):
            life = int(folios.life[owner])
            rows = run.rows_until(life, folios.row)
            adds = rows[among(part.log.op[rows], ("map", "dup"))]
            last = last_act(part.log, adds if adding and len(adds) else rows)
            yield Finding(
                rule=rule,
                life=life,
                pfn=int(part.lives.head[life]) + page,
                rows=(last if last >= 0 else int(part.lives.first[life]),),
                actor=last,
                words=words + where + (AFTER if last >= 0 else UNTOUCHED),
                doubt=lost,
                counter="PG_anon_exclusive" if adding else "mapping",
                expected=0 if adding else None,
                observed=1 if adding else 0,
                seen=shot.ts_begin,
            )


#: rule, folio, page, what is wrong, and whether who mapped the page is to be named.
Breach = tuple[str, int, int, str, bool]


def _exclusive(shot: Snapshot, folios: _Folios, listed: Listed) -> Iterator[Breach]:
    bit = shot.layout.bits.get("anon_exclusive")
    if bit is None:
        return
    # Of a file's pages the same bit has another meaning.
    anon = shot.anon(folios.head, folios.frame)
    shared = np.flatnonzero((folios.count > 1) & anon[folios.owner])
    owners = folios.owner[shared]
    at = folios.head[owners] + folios.page[shared]
    flags = shot.word("flags", "<i8", at, folios.frame[owners])
    wrong = shared[flags >> bit & 1 == 1]
    # Pages follow each other folio by folio.
    begin = np.flatnonzero(changes(folios.owner[wrong]))
    end = np.append(begin[1:], len(wrong))
    life = folios.life[folios.owner[wrong[begin]]]
    for place in listed.first("exclusive-while-shared", "PG_anon_exclusive", life):
        here = wrong[begin[place] : end[place]]
        owner = int(folios.owner[here[0]])
        pages = tuple(folios.page[here].tolist())
        words = f"PG_anon_exclusive is set for {pages_text(pages)}, mapped {_times(folios, here)}"
        yield "exclusive-while-shared", owner, pages[0], words, True


def _times(folios: _Folios, places: Ints) -> str:
    low, high = int(folios.count[places].min()), int(folios.count[places].max())
    return f"{low} times" if low == high else f"{low} to {high} times"


def _without_mapping(
    part: Part, shot: Snapshot, folios: _Folios, listed: Listed
) -> Iterator[Breach]:
    mapping = shot.word("mapping", "<i8", folios.head, folios.frame)
    flags = shot.kpageflags[folios.frame, folios.head]
    ours = part.lives.anon[folios.life] | (flags >> np.uint64(LRU) & np.uint64(1)).astype(bool)
    mapped = np.bincount(folios.owner[folios.count > 0], minlength=len(folios.life))
    gone = np.flatnonzero((mapping & ~KINDS_OF_MAPPING == 0) & ours & (mapped > 0))
    for owner in gone[listed.first("mapping-gone", "mapping", folios.life[gone])].tolist():
        words = f"folio->mapping is NULL, and {mapped[owner]} of its pages are mapped"
        yield "mapping-gone", owner, 0, words, False
