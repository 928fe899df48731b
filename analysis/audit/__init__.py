# SPDX-License-Identifier: GPL-2.0-or-later
"""Says what is wrong in a trace, who did it, and how certain that is."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.audit.books import Books
from analysis.audit.doubt import Doubt
from analysis.audit.finding import Finding
from analysis.audit.leaks import leaks
from analysis.audit.limits import Limits
from analysis.audit.races import races
from analysis.audit.rest import at_rest
from analysis.findings_frame import findings_frame
from analysis.pieces import pieces
from analysis.trace import Trace


@dataclass(frozen=True)
class Audit:
    """``findings``: the frame of ``Trace.df_findings``.  ``set_aside``: observations that were
    not held against the books because an operation on the same folio was under way."""

    findings: pd.DataFrame
    set_aside: int


def audit(trace: Trace) -> Audit:
    """Hold a trace against the rules of the kernel's era, piece by piece."""
    doubt = Doubt(trace)
    frames = []
    set_aside = 0
    for part, numbers in pieces(trace, ordered=True):
        found, aside = _audit(part, doubt)
        frames.append(findings_frame(part, found, numbers))
        set_aside += aside
    return Audit(_joined(frames), set_aside)


def _audit(trace: Trace, doubt: Doubt) -> tuple[list[Finding], int]:
    """The findings in what fits into memory, and how many observations were set aside."""
    run = trace.replay(range(len(trace.lives)))
    books = Books(trace, run, doubt)
    limits = list(Limits(trace, run, doubt).findings())
    told = {(one.life, one.counter, one.rows[-1]) for one in limits}
    entries = [
        books.finding(one)
        for one in books.all_breaks()
        # The plainer rule says the same about the same record.
        if (one.life, one.counter, one.row) not in told
    ]
    found = [
        *limits,
        *entries,
        *at_rest(trace, run),
        *races(trace, doubt),
        *leaks(trace, run, doubt),
    ]
    return found, books.set_aside


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """All findings, in the order of their events."""
    some = [frame for frame in frames if len(frame)] or frames[:1]
    joined = pd.concat(some, ignore_index=True)
    keys = list(zip(joined["events"], joined["rule"].astype(str), strict=True))
    by_time = sorted(range(len(keys)), key=keys.__getitem__)
    return joined.iloc[by_time].reset_index(drop=True)
