# SPDX-License-Identifier: GPL-2.0-or-later
"""The holders of folios, a section of a page: refusals, references by kind, and a picture."""

from __future__ import annotations

from analysis.holders_frame import Held
from analysis.holders_text import (
    GAVE_UP,
    AtMark,
    at_mark,
    by_mark,
    refusals,
    stacks_text,
    summary,
    surely_beside,
)
from analysis.page.markup import folded, grid_html, shown, shown_lines
from analysis.page.pictures import figure_html
from analysis.plot.holders import most_held, most_of, plot_holders
from analysis.text import count
from analysis.trace import Trace
from probes.events import PIN_OPS

#: Marks that a page has room for.
MARKS = 24
MORE = "mapcount holders --all"


def holders_section(trace: Trace) -> str:
    """The refusals, the picture of the folio with the most references, and the folios held at
    each mark.

    Folios whose references are all mappings and caches are left out.  "": there are no others,
    and the trace was recorded without --pins.
    """
    held, refused = trace.held, trace.df_refusals()
    some = held.references[surely_beside(held.references)]
    looked = any(entry["op"] in PIN_OPS for entry in trace.plan.entries)
    if not (looked or len(some) or len(refused)):
        return ""
    parts = [f"<p>{shown(summary(held, refused))}</p>"]
    stacks: set[int] = set()
    if len(refused):
        grid, stacks = refusals(trace, refused, every=False)
        parts += [f"<p>{shown(GAVE_UP)}</p>", grid_html(grid, MORE)]
    parts += _marks(trace, Held(some, held.holders), stacks)
    if stacks:
        lines = "\n".join(stacks_text(trace, stacks))
        parts.append(folded("The kernel stacks", f"<pre>{shown_lines(lines)}</pre>"))
    return "\n".join(parts)


def _marks(trace: Trace, held: Held, stacks: set[int]) -> list[str]:
    """The picture, and a table of each mark, of which the one of the picture is open; the numbers
    of the stacks that are named in them are added to ``stacks``."""
    life = most_held(held.references)
    if life is None:
        return []
    words = f"references of life {life}, the life with the most of them"
    parts = [folded("The picture", figure_html(plot_holders(trace, life), words), is_open=True)]
    number = int(most_of(held.references[held.references["life"] == life])["snapshot"])
    marks = list(by_mark(held))
    for found, who in marks[:MARKS]:
        mark = at_mark(trace, found, who, every=False)
        stacks |= mark.stacks
        is_open = int(found["snapshot"].iloc[0]) == number
        words = f"{mark.head}: {count(len(found), 'folio')} held"
        parts.append(folded(words, _mark(mark), is_open))
    if len(marks) > MARKS:
        left = f"{len(marks) - MARKS} marks more: <code>mapcount holders</code>"
        parts.append(f'<p class="sub">{left}</p>')
    return parts


def _mark(mark: AtMark) -> str:
    parts = [grid_html(mark.folios, MORE)]
    parts += [grid_html(mark.holders, MORE)] * bool(mark.holders.rows)
    parts += [f'<p class="sub">{shown(line)}</p>' for line in mark.remarks]
    return "\n".join(parts)
