# SPDX-License-Identifier: GPL-2.0-or-later
"""Says what is wrong in a trace, who did it, and how certain that is."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.audit.books import Books
from analysis.audit.doubt import Doubt
from analysis.audit.finding import Finding
from analysis.audit.leaks import leaks
from analysis.audit.limits import Limits
from analysis.audit.races import races
from analysis.audit.rest import at_rest
from analysis.trace import Trace
from analysis.verify import verify


@dataclass(frozen=True)
class Audit:
    """``findings`` in the order of time.  ``set_aside``: observations that were not held
    against the books because an operation on the same folio was under way."""

    findings: list[Finding]
    set_aside: int


def audit(trace: Trace) -> Audit:
    """Hold a trace against the rules of the kernel's era."""
    doubt = Doubt(trace)
    run = trace.replay(range(len(trace.lives)))
    books = Books(trace, run, verify(trace), doubt)
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
    return Audit(sorted(found, key=lambda one: (one.rows, one.rule)), books.set_aside)
