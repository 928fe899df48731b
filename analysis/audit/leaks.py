# SPDX-License-Identifier: GPL-2.0-or-later
"""Folios that are still mapped at the end of a recording though their tasks are gone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.audit.finding import Finding
from analysis.audit.listed import Listed
from analysis.doubt import Doubt
from analysis.lives import BIRTHS
from analysis.part import Part
from analysis.plan import OP, among
from analysis.replay import Replay
from analysis.walked import MOST_SPLITS


def leaks(part: Part, run: Replay, doubt: Doubt, listed: Listed) -> Iterator[Finding]:
    """Lives with mappings left at the end, all of whose mapping tasks have ended."""
    if part.recording.trailer is None or len(part.log) == 0:
        return
    log, lives, common = part.log, part.lives, part.recording.common
    ended = common.tid[np.flatnonzero(common.op == OP["task_exit"])]
    maps = np.flatnonzero(among(log.op, ("map", "dup")) & (lives.of >= 0))
    last_map = np.full(len(lives), -1, dtype=np.int64)
    last_map[lives.of[maps]] = maps
    alone = (last_map >= 0) & (lives.birth != BIRTHS.index("first sight"))
    alone[lives.of[maps[~np.isin(log.pid[maps], ended)]]] = False
    # A split maps the pages again on behalf of others: who they are, its parent tells.
    for _ in range(MOST_SPLITS):
        alone &= (lives.parent < 0) | alone[lives.parent]

    here = np.flatnonzero(np.diff(run.bounds) > 0)
    last = run.bounds[here + 1] - 1
    left = run.entire[last] + run.pte_sum[last] + run.pte_start[here]
    known = run.entire_known[here] & run.pte_start_known[here]
    life = run.lives[here]
    gone = known & (left > 0) & (lives.death_row[life] < 0) & alone[life]
    some = np.flatnonzero(gone)
    for at in some[listed.first("leak", "mappings", last_map[life[some]])].tolist():
        one = int(life[at])
        row = int(last_map[one])
        yield Finding(
            rule="leak",
            life=one,
            pfn=int(lives.head[one]),
            rows=(row, int(run.rows[last[at]])),
            actor=row,
            words=f"{left[at]} mappings are left at the end though every task that mapped it has "
            "ended; the last to map it was {function} by {actor}",
            doubt=doubt.reason_counter(int(part.since[one]), part.recording.census.last_ts)
            or "another task may share the address space, or the exit was not finished; "
            "certain if the page is still mapped in a later recording",
            counter="mappings",
            expected=0,
            observed=int(left[at]),
        )
