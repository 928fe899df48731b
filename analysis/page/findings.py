# SPDX-License-Identifier: GPL-2.0-or-later
"""The findings of a page: a table to filter and sort, in which each finding has its own link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.page.evidence import HEADER, Row, evidence
from analysis.page.markup import shown, shown_lines, table
from analysis.page.pictures import pictures
from analysis.page.verdict import KIND
from analysis.text import count
from analysis.trace import Trace

#: Findings that a page has room for, of all kinds alike; events of each that are shown.
MOST, EVENTS = 300, 12
#: More findings than this scroll by themselves.
TALL = 12
#: What a reader may filter by: the attribute that holds it, and its name.
FILTERS = ("certainty", "rule", "task", "function")


def some_findings(findings: pd.DataFrame) -> pd.DataFrame:
    """The findings on the page, the first of each kind: first the finding in which the kernel
    died, then errors before races, certain before possible ones."""
    by_rank = findings.assign(survived=~findings["died"])
    by_rank["place"] = by_rank.groupby(KIND, observed=True).cumcount()
    kept = by_rank.sort_values(["survived", "place"], kind="stable").head(MOST)
    return kept.sort_index().sort_values(["survived", "severity", "certainty"], kind="stable")


def findings_section(trace: Trace, findings: pd.DataFrame) -> str:
    """Controls, the table, and a note of findings that were left out."""
    if findings.empty:
        return f"<p>0 findings in {count(trace.audit.lives, 'life', 'lives')}.</p>"
    told = some_findings(findings)
    drawn = pictures(trace, told)
    rows = evidence(trace, (event for events in told["events"] for event in events[:EVENTS]))
    same = dict(zip(map(_kind, told.loc[list(drawn)].to_dict("records")), drawn, strict=True))
    parts = []
    for label, finding in zip(told.index, told.to_dict("records"), strict=True):
        about = drawn.get(label) or _elsewhere(same.get(_kind(finding)), finding["life"])
        parts.append(_rows_of(trace, label, finding, rows, about))
    head = "".join(
        f'<th scope=col{number} aria-sort="none"><button type=button>{name}</button></th>'
        for names, number in ((("#", *FILTERS), ""), (("at ms", "life"), " class=num"))
        for name in names
    )
    left, unlisted = len(findings) - len(told), trace.audit.unlisted
    note = f"<p>{left} more like these: <code>mapcount audit --all</code> prints them.</p>" * (
        left > 0
    )
    note += f"<p>{unlisted} more were counted and not listed.</p>" * (unlisted > 0)
    tall = " tall" * (len(told) > TALL)
    return (
        f'{_controls(told)}\n<div class="wide{tall}"><table class="findings">\n'
        f"<thead><tr>{head}</tr></thead>\n{''.join(parts)}</table></div>\n{note}"
    )


def _kind(finding: Mapping[Any, Any]) -> tuple[object, ...]:
    return tuple(finding[name] for name in KIND)


def _values(finding: Mapping[Any, Any]) -> dict[str, str]:
    """What a finding is filtered by."""
    task = f"{finding['comm']}/{finding['tid']}" if finding["comm"] else "nobody"
    return {
        "certainty": str(finding["certainty"]),
        "rule": str(finding["rule"]),
        "task": task,
        "function": f"{finding['function']}()" if finding["function"] else "-",
    }


def _controls(told: pd.DataFrame) -> str:
    values = [_values(finding) for finding in told.to_dict("records")]
    parts = []
    for name in FILTERS:
        different = sorted({row[name] for row in values})
        options = "".join(f"<option>{shown(value)}</option>" for value in different)
        parts.append(
            f'<label>{name} <select name="{name}"><option value="">all</option>{options}'
            "</select></label>"
        )
    return (
        f'<form class="controls" id="finding-filters" hidden>{" ".join(parts)} '
        '<output aria-live="polite"></output></form>'
    )


def _elsewhere(label: int | None, life: object) -> str:
    """Where to find a picture of a finding that has none."""
    if life == -1:
        return ""
    more = f"`mapcount timeline --life {life}` draws this one"
    if label is None:
        return f'<p class="sub">{shown(more)}</p>'
    return (
        f'<p class="sub">The picture of this kind is at '
        f'<a href="#finding-{label}">finding {label}</a>; {shown(more)}</p>'
    )


def _rows_of(
    trace: Trace, label: int, finding: Mapping[Any, Any], rows: dict[int, Row], picture: str
) -> str:
    """Two rows of the table: what the finding is, and all about it."""
    values = _values(finding)
    attributes = " ".join(f'data-{name}="{shown(value)}"' for name, value in values.items())
    since = (int(str(finding["ts"])) - trace.census.first_ts) / 1e6
    life = finding["life"]
    cells = "".join(
        f'<td><span class="badge {shown(values[name])}">{shown(values[name])}</span></td>'
        if name == "certainty"
        else f"<td>{shown(values[name])}</td>"
        for name in FILTERS
    )
    cells += f"<td class=num>{since:.3f}</td>"
    cells += f'<td class=num><a href="#life-{life}">{life}</a></td>' if life != -1 else "<td>-</td>"
    more = []
    if finding["reason"]:
        more.append(f"<p>Possible because {shown(finding['reason'])}.</p>")
    more.append(f'<p class="sub">Rests on: {shown(finding["rests_on"])}.</p>')
    more += [_evidence(finding["events"], rows), _stack(trace, finding["stack"]), picture]
    sentence = shown(finding["sentence"])
    return (
        f'<tbody id="finding-{label}" {attributes} tabindex="-1">'
        f'<tr><th scope=row><a href="#finding-{label}">{label}</a></th>{cells}</tr>'
        f'<tr class="more"><td></td><td colspan={len(FILTERS) + 2}>'
        f"<details{' open' * ('<figure>' in picture)}><summary>{sentence}</summary>"
        f"{''.join(more)}</details></td></tr></tbody>\n"
    )


def _evidence(events: object, rows: dict[int, Row]) -> str:
    assert isinstance(events, tuple)
    told = [rows[event] for event in events[:EVENTS] if event in rows]
    left = f" of which {len(told)} are shown" * (len(told) < len(events))
    return (
        f"<details><summary>{shown(count(len(events), 'event'))} that show it{left}</summary>"
        f"{table(HEADER, told)}</details>"
    )


def _stack(trace: Trace, stack: Any) -> str:
    if pd.isna(stack):
        return ""
    frames = trace.stacks.get(int(str(stack)), [])
    lines = "\n".join(f"{name}  [{module}]" if module else name for name, module in frames)
    return f"<details><summary>kernel stack</summary><pre>{shown_lines(lines)}</pre></details>"
