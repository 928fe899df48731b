# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as one self-contained HTML page: verdict, findings, lives, totals."""

from __future__ import annotations

import shlex
from importlib.resources import files
from string import Template

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.life_table import Table, some_of
from analysis.lives_text import lives_text
from analysis.page import LIVES, RECORDS, pictures, view
from analysis.page.columns import Columns
from analysis.page.facts import facts
from analysis.page.findings import findings_section, some_findings
from analysis.page.holders import holders_section
from analysis.page.lives import add_drawn, add_table, drawable, ranking
from analysis.page.markup import data, section, shown, shown_lines
from analysis.page.verdict import kinds, verdict
from analysis.page.waste import waste_section
from analysis.page.where import where_section
from analysis.stats_text import stats_text
from analysis.text import count, duration
from analysis.trace import Trace

#: Lives in the table of a page without Bokeh.
FEW = 40
#: Sections that a page has where the trace tells something of them, by name and title.
READINGS = {
    ("where", "Where"): where_section,
    ("waste", "Waste"): waste_section,
    ("holders", "Who holds"): holders_section,
}


def report_html(trace: Trace, name: str, lives: int = LIVES, records: int = RECORDS) -> str:
    """The page; ``name`` is its headline.

    With Bokeh its table has at most ``lives`` lives, and it draws those whose records are among
    the first ``records``; without Bokeh the page is static.
    """
    findings = trace.df_findings()
    table = trace.life_table()
    ranked = ranking(table, findings)
    head = verdict(trace, findings)
    readings = {key: body for key, make in READINGS.items() if (body := make(trace))}
    words = {
        "name": shown(name),
        "release": shown(trace.meta.get("kernel", {}).get("release", "?")),
        "command": shown(shlex.join(trace.meta.get("command") or []) or "the whole machine"),
        "span": duration(trace.census.last_ts - trace.census.first_ts),
        "grade": head.grade,
        "sign": head.sign,
        "verdict": shown(head.words),
        "kinds": kinds(trace, findings),
        "findings": findings_section(trace, findings),
        "readings": "\n".join(section(*key, body) for key, body in readings.items()),
        "links": "".join(f'<a href="#{name}">{title}</a> ' for name, title in readings),
        "static": _static(trace, findings, table, ranked),
        "stats": shown_lines(stats_text(trace)),
        "style": _part("page.css"),
        "script": _part("page.js"),
    }
    words |= _interactive(trace, findings, table, ranked[:lives], records)
    return Template(_part("page.html")).substitute(words)


def _part(name: str) -> str:
    return (files("analysis") / "page" / name).read_text(encoding="utf-8")


def _static(trace: Trace, findings: pd.DataFrame, table: Table, ranked: Ints) -> str:
    """What the page tells of lives without a script: a picture, and the first of them."""
    text = lives_text(trace, some_of(table, np.sort(ranked[:FEW])))
    picture = pictures.example(trace) if findings.empty else ""
    if picture:
        picture = f"<details open><summary>The picture of one life</summary>{picture}</details>"
    few = f"{min(FEW, len(ranked))} of {count(len(ranked), 'life', 'lives')}"
    return (
        f'{picture}<div id="static-lives"><p class="sub">{few}; times in ms since the first '
        f"event</p><pre>{shown_lines(text)}</pre></div>"
    )


def _interactive(
    trace: Trace, findings: pd.DataFrame, table: Table, ranked: Ints, records: int
) -> dict[str, str]:
    """What Bokeh makes of the lives, and what was left out of that."""
    if not view.available():
        note = "a page that draws every life: pip install bokeh, and write it again"
        return {"interactive": "", "lives_note": note, "data": ""}
    told = some_findings(findings)
    drawn = drawable(table, ranked, records)
    wanted = [*told["life"].tolist(), *table["life"][ranked].tolist()]
    first = next((life for life in wanted if life in set(drawn.tolist())), None)
    columns = Columns()
    add_table(columns, trace, some_of(table, np.sort(ranked)), findings)
    tids = add_drawn(columns, trace, drawn)
    known = facts(trace, told, first, tids) | {"columns": columns.index}
    parts = [data("facts", known), data("items", view.items())]
    packed = {"columns": columns.text()} | view.library()
    parts += [
        f'<script type="text/plain" id="{name}">{text}</script>' for name, text in packed.items()
    ]
    parts.append(f"<script>\n{_part('draw.js')}</script>")
    return {
        "interactive": _part("interactive.html"),
        "lives_note": _left_out(len(table["life"]), len(ranked), len(drawn), records),
        "data": "\n".join(parts),
    }


def _left_out(lives: int, listed: int, drawn: int, records: int) -> str:
    said = f"{count(lives, 'life', 'lives')}; choose one to draw it"
    if listed < lives:
        said += f"; the table has the {listed} that changed most: --lives N raises this"
    if drawn < listed:
        said += (
            f"; {drawn} can be drawn, those with findings and those that changed most, "
            f"which have {records} records: --records N raises this"
        )
    return shown(said)
