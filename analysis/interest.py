# SPDX-License-Identifier: GPL-2.0-or-later
"""Chooses the life that a reader most likely wants to see."""

from __future__ import annotations

import numpy as np

from analysis.errors import AnalysisError
from analysis.trace import Trace


def most_interesting(trace: Trace, pfn: int | None = None) -> int:
    """A race first, then folios before single pages, then the most map-count changes.

    Of races the one comes first in which the kernel died, then the one whose reader stayed
    longest after the folio's end.  With ``pfn`` only lives that had this page count.
    """
    lives = trace.df_lives()
    if pfn is not None:
        order = lives["order"].to_numpy().astype(np.int64)
        lives = lives[lives["head_pfn"].to_numpy() == (np.int64(pfn) >> order) << order]
        if lives.empty:
            raise AnalysisError(
                f"page {pfn:#x} is in no life of {trace.path}: `mapcount lives --all` lists them"
            )
    if lives.empty:
        raise AnalysisError(f"{trace.path} holds no folio's life: record something that maps")
    races = trace.windows[trace.windows["over_death"]]
    end = trace.log.ts[trace.lives.death_row[races["life"]]]
    stayed = (races["end_ts"] - end + 1).groupby(races["life"]).max()
    raced = stayed.reindex(lives.index).fillna(0).astype(np.int64)
    death = trace.oops.row if trace.oops is not None else None
    deadly = lives.index.isin(races.loc[races["leave"] == death, "life"])
    ranked = lives.assign(deadly=deadly, raced=raced, large=lives["order"] > 0).sort_values(
        ["deadly", "raced", "large", "changes", "events"], ascending=False, kind="stable"
    )
    return int(ranked.index[0])
