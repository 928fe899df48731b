# SPDX-License-Identifier: GPL-2.0-or-later
"""Where folios are mapped, a section of a page: by process and mapping at marks, and a picture."""

from __future__ import annotations

import pandas as pd

from analysis.errors import AnalysisError
from analysis.page.markup import folded, grid_html, shown
from analysis.page.pictures import figure_html
from analysis.plot.where import plot_where
from analysis.trace import Trace
from analysis.where_frame import Moment, at_moments, moments_of
from analysis.where_text import head, mappings, unsaid
from probes.events import PLACE

#: Marks that a page has room for, of all alike.
MARKS = 24
#: Changes of mappings that are drawn: so many take a second or two.
DRAWN = 100_000
#: Changes times marks that are worked out.
WORK = 200_000


def where_section(trace: Trace) -> str:
    """The mark with the most mapped, the picture, and the other marks; "": without --where."""
    changes = int(trace.census.probes[PLACE])
    if not trace.plan.where or not changes:
        return ""
    every = moments_of(trace.recording)
    chosen = _some(every, changes)
    try:
        frame = at_moments(trace, chosen)
    except AnalysisError as error:
        return f"<p>{shown(error)}</p>"
    at = {number: rows for number, rows in frame.groupby("snapshot")}
    told = [(moment, at.get(moment.number, frame.head(0))) for moment in chosen]
    most = max(told, key=lambda pair: (pair[1]["bytes"].sum(), pair[0].number))
    parts = [
        f"<p>Most is mapped at {shown(head(trace, *most))}</p>",
        _table(most[1]),
        _picture(trace, changes),
    ]
    for moment, here in told:
        if moment is not most[0]:
            parts.append(folded(head(trace, moment, here), _table(here)))
    if len(chosen) < len(every):
        left = f"{len(chosen)} of {len(every)} marks; <code>mapcount where</code> prints them all"
        parts.append(f'<p class="sub">{left}</p>')
    parts += [f'<p class="sub">{shown(line)}</p>' for line in unsaid(trace)]
    return "\n".join(parts)


def _some(every: list[Moment], changes: int) -> list[Moment]:
    """As many as there is room and time for, evenly; few are no end, at which nothing is left."""
    number = max(min(MARKS, WORK // changes), 1)
    if len(every) <= number:
        return every
    before = every[:-1]
    return [before[(at + 1) * len(before) // number - 1] for at in range(number)]


def _table(here: pd.DataFrame) -> str:
    return grid_html(mappings(here, every=False), "mapcount where --all") if len(here) else ""


def _picture(trace: Trace, changes: int) -> str:
    if changes > DRAWN:
        words = f"{changes} changes of mappings: <code>mapcount where -o FILE.png</code> draws them"
        return f'<p class="sub">{words}</p>'
    words = "where folios are mapped over time"
    return folded("The picture", figure_html(plot_where(trace), words), is_open=True)
