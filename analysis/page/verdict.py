# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict at the top of a page: a summary of the trace in a few lines."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from analysis.oops import Oops
from analysis.page.markup import shown
from analysis.text import count, duration
from analysis.trace import Trace

#: Kinds of findings that are told on top.
KINDS = 6
#: What makes a kind of finding.
KIND = ["severity", "rule", "certainty", "function", "counter"]


class Verdict(NamedTuple):
    """``grade``: good, doubtful or bad; ``sign``: a symbol for it that does not rely on colour."""

    grade: str
    sign: str
    words: str


def verdict(trace: Trace, findings: pd.DataFrame) -> Verdict:
    """One sentence: the kernel's death, the double entry, the races, the losses."""
    wrong = int((findings["severity"] == "error").sum())
    races = len(findings) - wrong
    lost = int(trace.df_losses()["lost"].sum())
    oops = trace.oops
    balance = "the counters agree with the operations"
    said = [
        *([_death(trace, oops, findings)] if oops else []),
        f"{count(wrong, 'finding')} about the counters" if wrong else balance,
        *([f"{trace.audit.unlisted} more not listed"] * (trace.audit.unlisted > 0)),
        f"{count(races, 'race')} of readers" if races else "no reader raced",
        f"{count(lost, 'event')} lost" if lost else "nothing lost",
        *_warnings(trace),
    ]
    words = "; ".join(said) + "."
    words = words[0].upper() + words[1:]
    if wrong or oops:
        return Verdict("bad", "✘", words)
    if races or lost or trace.warnings:
        return Verdict("doubtful", "!", words)
    return Verdict("good", "✔", words)


def _warnings(trace: Trace) -> list[str]:
    """What is missing of the file, whose place and whose kernel's death were told already."""
    begin = f"{trace.path}: "
    return [text.removeprefix(begin).removeprefix("the kernel died; ") for text in trace.warnings]


def _death(trace: Trace, oops: Oops, findings: pd.DataFrame) -> str:
    """When the kernel died, and in which reader, if in one."""
    told = "the kernel died"
    if oops.ts is not None:
        told += f" {duration(oops.ts - trace.census.first_ts)} into the trace"
    for finding in findings[findings["died"]].head(1).to_dict("records"):
        told += f", in {finding['function']}() of {finding['comm']}/{finding['tid']}"
    return f"{told}: {oops.title}"


def kinds(trace: Trace, findings: pd.DataFrame) -> str:
    """A line for each kind of finding: what, by which task and when, with a link to the first.

    The kind in which the kernel died has the first line.
    """
    if findings.empty:
        return ""
    groups = findings.groupby([*KIND, "died"], observed=True, sort=False)
    lines = []
    rank = list(zip(~findings["died"], findings["severity"].astype(str), strict=True))
    found = sorted(groups.indices.values(), key=lambda rows: (rank[rows[0]], -len(rows)))
    for number in found[:KINDS]:
        first = findings.iloc[number[0]]
        actors = findings.iloc[number][["comm", "tid"]].drop_duplicates()
        who = f"{first['comm']}/{first['tid']}" if first["comm"] else "nobody"
        who += f" and {len(actors) - 1} more" * (len(actors) > 1)
        what = f"{first['certainty']} {first['rule']}"
        what += ", in which the kernel died" * bool(first["died"])
        if first["counter"]:
            what += f": {first['counter']} is {first['observed']}, expected {first['expected']}"
        does = f"{first['function']}() by {who}" if first["function"] else f"by {who}"
        times = f"{len(number)} times, first" if len(number) > 1 else "once,"
        since = (int(first["ts"]) - trace.census.first_ts) / 1e6
        lines.append(
            f'<li><a href="#finding-{findings.index[number[0]]}">{shown(what)}</a>: '
            f"{shown(f'{does}, {times} at {since:.3f} ms')}"
        )
    more = len(found) - len(lines)
    lines += [f"<li>and {count(more, 'more kind')}"] * (more > 0)
    return f'<ul class="kinds">{"".join(lines)}</ul>'
