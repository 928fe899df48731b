# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds what is wrong in a trace, the task that did it, and how certain that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from analysis.arrays import Ints
from analysis.audit.calls import calls
from analysis.audit.double_entry import Books
from analysis.audit.finding import Finding
from analysis.audit.leaks import leaks
from analysis.audit.listed import Listed
from analysis.audit.page_words import page_words
from analysis.audit.published import published
from analysis.audit.races import races
from analysis.audit.record_rules import Limits
from analysis.audit.remains import mapped_at_free, mapped_at_split
from analysis.audit.snapshot_rules import at_rest
from analysis.audit.writable import writable
from analysis.doubt import Doubt
from analysis.each_part import each
from analysis.findings_frame import findings_frame
from analysis.part import Part, Parted
from analysis.recording import Recording


@dataclass(frozen=True)
class Audit:
    """``findings``: the frame of ``Trace.df_findings``.  ``set_aside``: number of observations
    that were not compared with the replay because an operation on the same folio was in
    progress.  ``lives``: number of lives of folios and pages that were checked.
    ``unlisted``: number of further breaches, beyond the first of each kind that are findings
    (``analysis.audit.listed``)."""

    findings: pd.DataFrame
    set_aside: int
    lives: int
    unlisted: int = 0


def audit(trace: Parted) -> Audit:
    """Check a trace against the rules of the kernel's era, part by part."""
    return joined(each(trace, audit_part))


def audit_part(recording: Recording, part: Part) -> Audit:
    """Check a part of a recording against the rules; its lives have the part's numbers."""
    listed = Listed()
    found, aside = _audit(part, Doubt(recording), listed)
    return Audit(findings_frame(part, found), aside, len(part.lives), listed.beyond)


def joined(audits: Iterable[tuple[Audit, Ints]]) -> Audit:
    """One audit from those of all parts, each with the numbers of its lives in the whole.

    The findings are in the order of their events.
    """
    frames, set_aside, lives, unlisted = [], 0, 0, 0
    for one, numbers in audits:
        frames.append(one.findings.assign(life=numbers[one.findings["life"]]))
        set_aside += one.set_aside
        lives += one.lives
        unlisted += one.unlisted
    some = [frame for frame in frames if len(frame)] or frames[:1]
    found = pd.concat(some, ignore_index=True)
    keys = list(zip(found["events"], found["rule"].astype(str), strict=True))
    by_time = sorted(range(len(keys)), key=keys.__getitem__)
    found = found.iloc[by_time]
    wanted = found.sort_values("died", ascending=False, kind="stable")
    first = wanted.groupby(["rule", "counter"], observed=True).head(Listed.MOST)
    kept = found[found.index.isin(first.index)].reset_index(drop=True)
    return Audit(kept, set_aside, lives, unlisted + len(found) - len(kept))


def _audit(part: Part, doubt: Doubt, listed: Listed) -> tuple[list[Finding], int]:
    """The findings in what fits into memory, and how many observations were set aside."""
    run = part.replay(range(len(part.lives)))
    books = Books(part, run, doubt, listed)
    limits = list(Limits(part, run, doubt, listed).findings())
    told = {(one.life, one.counter, one.rows[-1]) for one in limits}
    entries = [
        books.finding(one)
        for one in books.all_breaks()
        # The plainer rule says the same about the same record.
        if (one.life, one.counter, one.row) not in told
    ]
    freed = {one.life for one in limits if one.rule == "mapped-at-free"}
    found = [
        *calls(part, doubt, listed),
        *limits,
        *mapped_at_free(part, run, doubt, freed, listed),
        *mapped_at_split(part, run, doubt, listed),
        *entries,
        *at_rest(part, run, doubt, listed),
        *page_words(part, run, doubt, listed),
        *writable(part, run, doubt, listed),
        *published(part, run, doubt, books.result, listed),
        *races(part, doubt, listed),
        *leaks(part, run, doubt, listed),
    ]
    return found, books.set_aside
