# SPDX-License-Identifier: GPL-2.0-or-later
"""Partially mapped folios, a section of a page: by process, as a picture, and one by one."""

from __future__ import annotations

from analysis.page.markup import folded, grid_html, shown
from analysis.page.pictures import figure_html
from analysis.plot.waste import plot_waste
from analysis.trace import Trace
from analysis.waste_text import folios, processes, summary, unsaid

MORE = "mapcount waste --all"


def waste_section(trace: Trace) -> str:
    """The sum, the processes, the picture and the folios; "": no folio was partially mapped."""
    found = trace.wasted
    if not len(found.spans):
        return ""
    parts = [
        f"<p>{shown(summary(trace, found))}</p>",
        grid_html(processes(found, every=False), MORE),
        folded("The picture", figure_html(plot_waste(trace), "kept and not mapped"), is_open=True),
        folded("The folios", grid_html(folios(trace, found, every=False), MORE)),
        *(f'<p class="sub">{shown(line)}</p>' for line in unsaid(found)),
    ]
    return "\n".join(parts)
