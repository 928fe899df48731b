# SPDX-License-Identifier: GPL-2.0-or-later
"""The findings of an audit as text: a table of their kinds, then each in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.audit import Audit
from analysis.audit.listed import Listed
from analysis.text import count, table
from analysis.trace import Trace
from probes.visible import visible_lines

#: Findings of one kind that are told in full; the rest are in the table's count.
TOLD = 3


def _one(trace: Trace, one: Mapping[Any, Any]) -> str:
    since = (one["ts"] - trace.census.first_ts) / 1e6
    life = f"life {one['life']}, " if one["life"] >= 0 else ""
    events = ", ".join(str(row) for row in one["events"])
    lines = [
        f"{one['certainty']} {one['rule']}: {life}page {one['pfn']:#x}, at {since:.3f} ms:",
        f"  {one['sentence']}",
        f"  events {events}; rests on: {one['rests_on']}",
    ]
    if one["reason"]:
        lines.append(f"  possible because {one['reason']}")
    if not pd.isna(one["stack"]):
        frames = trace.stacks.get(int(one["stack"]), [])
        lines.append("  stack: " + " < ".join(name for name, _ in frames))
    return visible_lines(lines)


def unlisted(audit: Audit) -> str:
    """The note that more was found than is listed."""
    return (
        f"{count(audit.unlisted, 'more breach', 'more breaches')} of the same kinds, counted and "
        f"not listed: the first {Listed.MOST} of a kind are findings; `mapcount slice` makes a "
        "smaller trace, of some time or some pages"
    )


def audit_text(trace: Trace, audit: Audit, everything: bool, more: str = "--all") -> str:
    """The table, some findings of each kind (or all) and one line that sums up.

    ``more``: the option that prints them all.
    """
    parts, findings = [], audit.findings
    kind = ["certainty", "severity", "rule", "function", "counter"]
    if len(findings):
        # That in which the kernel died comes first.
        ranked = findings.assign(survived=~findings["died"])
        findings = ranked.sort_values(["survived", "severity", "certainty"], kind="stable")
        groups = findings.groupby(kind, observed=True, sort=False)
        counted = groups.size().reset_index(name="findings")
        parts.append(table(list(counted.columns), counted.to_numpy().tolist()))
        told = findings if everything else groups.head(TOLD)
        parts += [_one(trace, one) for one in told.to_dict("records")]
        if len(told) < len(findings):
            parts.append(f"and {len(findings) - len(told)} more like these: {more}")
    if audit.unlisted:
        parts.append(unlisted(audit))
    certain = int((findings["certainty"] == "certain").sum())
    more_of_them = f", {audit.unlisted} not listed" if audit.unlisted else ""
    parts.append(
        f"{count(len(findings), 'finding')}: {certain} certain, {len(findings) - certain} "
        f"possible{more_of_them}; {count(trace.census.events, 'event')}, "
        f"{count(audit.lives, 'life', 'lives')}, {count(len(trace.snapshots), 'snapshot')}; "
        f"{count(audit.set_aside, 'observation')} set aside, made while another operation on the "
        "folio was under way"
    )
    return "\n\n".join(parts)
