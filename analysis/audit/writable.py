# SPDX-License-Identifier: GPL-2.0-or-later
"""Anonymous pages that one process may write while another maps them, in one snapshot.

Nothing is said of pages that KSM merged, of hugetlb, and of page-table entries that were not found
or whose tasks did not stand still.  A page that is pinned when its process forks is no exception:
the child gets a copy, commit 70e806e4e645 ("mm: Do early cow for pinned pages during fork() for
ptes") (in v5.9) and commit d042035eaf5f ("mm/thp: Split huge pmds/puds if they're pinned when
fork()") (in v5.9).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.arrays import Ints, changes
from analysis.audit.actor import AFTER, UNTOUCHED, WRITES, last_act
from analysis.audit.finding import Finding, pages_text, plain
from analysis.audit.listed import Listed
from analysis.audit.page_words import KINDS_OF_MAPPING
from analysis.doubt import Doubt
from analysis.expected_at import Present, present
from analysis.part import Part
from analysis.replay import Replay
from analysis.rights import Rights, shared_writable
from analysis.truth import Snapshot

#: The kind of page->mapping (include/linux/page-flags.h) of an anonymous folio that KSM has not.
ANON = 1
#: Page-table entries of wrong pages that are looked at, of all snapshots.
MOST = 1 << 21


def writable(part: Part, run: Replay, doubt: Doubt, listed: Listed) -> Iterator[Finding]:
    """One finding for each folio and process that may write pages of it that another maps."""
    left = MOST
    for number, shot in enumerate(part.snapshots):
        found = Rights(shot).suspect(left)
        left -= len(found.pfn)
        bad, others = shared_writable(found)
        if len(bad.pfn) == 0:
            continue
        here = present(part.log, part.lives, shot)
        life = _lives_of(part, shot, here, bad.pfn)
        some = np.flatnonzero(life >= 0)
        some = some[np.lexsort((bad.pfn[some], bad.pid[some], life[some]))]
        begin = np.flatnonzero(changes(life[some], bad.pid[some]))
        end = np.append(begin[1:], len(some))
        lost = doubt.at_rest(shot.ts_begin, shot.ts_end)
        for group in listed.first("writable-while-shared", "writable", life[some[begin]]):
            members = some[begin[group] : end[group]]
            one, pid = int(life[members[0]]), int(bad.pid[members[0]])
            pages = tuple((bad.pfn[members] - part.lives.head[one]).tolist())
            last = last_act(part.log, run.rows_until(one, here.row), WRITES)
            are, them = ("are", "them") if len(pages) > 1 else ("is", "it")
            words = (
                f"{pages_text(pages)} {are} writable in the page tables of process {pid}, while "
                f"process {others[members[0]]} maps {them} too, in the snapshot "
                f"'{number} {plain(shot.name)}', "
            )
            yield Finding(
                rule="writable-while-shared",
                life=one,
                pfn=int(bad.pfn[members[0]]),
                rows=(last if last >= 0 else int(part.lives.first[one]),),
                actor=last,
                words=words + (AFTER if last >= 0 else UNTOUCHED),
                doubt=lost,
                counter="writable",
                expected=0,
                observed=1,
                pid=pid,
                seen=shot.ts_begin,
            )


def _lives_of(part: Part, shot: Snapshot, here: Present, pfn: Ints) -> Ints:
    """The life of each page, if its folio is anonymous and did not change meanwhile; else -1."""
    rest = here.at_rest(part.lives, shot)
    mapping = shot.word("mapping", "<i8", here.head[rest], here.frame[rest])
    anon = here.life[rest][mapping & KINDS_OF_MAPPING == ANON]
    life = part.lives.index.before(pfn, np.full(len(pfn), here.row))
    return np.where(np.isin(life, anon), life, -1)
