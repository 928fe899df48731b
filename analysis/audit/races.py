# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers that read a folio without a reference while it was allocated, split or freed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.audit.finding import Finding, plain
from analysis.audit.listed import Listed
from analysis.doubt import Doubt
from analysis.lives import DEATHS
from analysis.part import Part
from analysis.text import duration

#: What a reader's function looks at beside the page's own flags, by era (fs/proc/page.c).
LOOKS = {
    "__page_mapcount": "compound_mapcount and, of an anonymous folio, PG_double_map in page[1]",
    "stable_page_flags": "the folio's map counts in page[1], by page_mapped()",
    "get_kpage_count": "a copy of the page and its head, made without a reference",
    "snapshot_page": "the page, then its head and page[1], to copy them",
}
#: commit d863a12108f2 ("mm/util: introduce snapshot_page()") (in v6.17): where readers use it,
#: flags come from a copy.
COPIES = "snapshot_page"


def _looks(part: Part, function: str) -> str:
    if function == "stable_page_flags" and COPIES in part.plan.functions:
        return "a copy of the page and its head"
    return LOOKS.get(function, "the page")


def races(part: Part, doubt: Doubt, listed: Listed) -> Iterator[Finding]:
    """Each reader's window in which the folio was freed, split or allocated."""
    log, lives, windows, oops = part.log, part.lives, part.windows, part.recording.oops
    raced = windows[windows["over_death"]]
    row, killed = raced["enter"].to_numpy(), raced["died"].to_numpy()
    first = listed.first("reader-race", "death", row, killed)
    for one in raced.iloc[first].to_dict("records"):
        life, enter, leave = int(one["life"]), int(one["enter"]), int(one["leave"])
        end = int(lives.death_row[life])
        freed = lives.death[life] == DEATHS.index("free")
        died_in_it = bool(one["died"])
        closed = leave < len(log) and not died_in_it
        span = (int(one["ts"]), int(one["end_ts"]))
        function = part.plan.functions[int(one["function"])]
        stayed = f"for {duration(span[1] - span[0])}"
        if died_in_it:
            stayed += ", until the kernel died in it,"
        elif not closed:
            stayed = "and did not return in this recording"
        died = ""
        if died_in_it and oops is not None and oops.ts == span[1]:
            died = f": {plain(oops.title)}"
        why = doubt.reason_lost(*span)
        if log.ts[end] in span:
            why = why or "both at the same nanosecond; certain with a longer window"
        when = int(log.ts[end]) - span[0]
        began = f"{'freed' if freed else 'split'} the folio {duration(when)} after its entry"
        if when < 0:
            verb = "free" if freed else "split"
            began = f"had begun to {verb} the folio {duration(-when)} before its entry"
        yield Finding(
            rule="reader-race",
            life=life,
            pfn=int(one["pfn"]),
            rows=tuple(sorted((enter, end, leave) if closed else (enter, end))),
            actor=enter,
            other=end,
            words=(
                f"{{actor}} read {stayed} in {{function}} without a reference: "
                f"{_looks(part, function)}; {{other}} {began}{died}"
            ),
            doubt=why,
            died=died_in_it,
        )
    for enter, leave, life, end_ts, died_in_it in _born_inside(part, listed):
        rows = (enter, int(lives.first[life]))
        yield Finding(
            rule="reader-race",
            life=life,
            pfn=int(log.pfn[enter]),
            rows=rows if died_in_it else (*rows, leave),
            actor=enter,
            other=int(lives.first[life]),
            words="{actor} read in {function} without a reference while {other} "
            "allocated the folio",
            doubt=doubt.reason_lost(int(log.ts[enter]), end_ts),
            died=died_in_it,
        )


def _born_inside(part: Part, listed: Listed) -> Iterator[tuple[int, int, int, int, bool]]:
    """Windows on a page that another life took, seen from its allocation: rows of entry and
    return, the life, ns of the end, and whether the kernel died in it."""
    lives, windows = part.lives, part.windows
    ended = (windows["leave"] < len(part.log)) | windows["died"]
    some = windows[ended & ~windows["over_death"]]
    enter, leave = some["enter"].to_numpy(), some["leave"].to_numpy()
    if len(lives) == 0 or len(enter) == 0:
        return
    after = lives.index.before(some["pfn"].to_numpy(), leave)
    born = (after >= 0) & (lives.birth[after] == 0)
    born &= (lives.first[after] > enter) & (lives.first[after] < leave)
    at = np.flatnonzero(born)
    died = some["died"].to_numpy()
    at = at[listed.first("reader-race", "birth", enter[at], died[at])]
    columns = (enter, leave, after, some["end_ts"].to_numpy(), died)
    yield from zip(*(column[at].tolist() for column in columns), strict=True)
