# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts, tables and data as HTML: names in them can never act as markup or script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from analysis.text import Grid, of_numbers
from probes.visible import visible

#: What could end a script element, or begin a comment in it, in the JSON spelling of it.
SPELLED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def shown(text: object) -> str:
    """A text, escaped for use between tags or in the quotes of an attribute."""
    return escape(visible(text))


def shown_lines(text: str) -> str:
    """A text of several lines, escaped."""
    return "\n".join(map(shown, text.split("\n")))


def data(name: str, value: Any) -> str:
    """A script element with a value for the page's own scripts; any value is safe."""
    text = json.dumps(value, separators=(",", ":"))
    for sign, spelled in SPELLED.items():
        text = text.replace(sign, spelled)
    return f'<script type="application/json" id="{name}">{text}</script>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A small table; numbers are aligned to the right."""
    cells = [list(map(visible, row)) for row in rows]
    kind = [" class=num" * number for number in of_numbers(cells, len(header))]
    head = _row(
        f"<th scope=col{one}>{shown(name)}</th>" for one, name in zip(kind, header, strict=True)
    )
    lines = (
        _row(f"<td{one}>{escape(cell)}</td>" for one, cell in zip(kind, row, strict=True))
        for row in cells
    )
    body = "\n".join(lines)
    return f'<div class="wide"><table><thead>{head}</thead>\n{body}</table></div>'


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def grid_html(grid: Grid, more: str) -> str:
    """A table, and a note of rows that were left out."""
    left = f'<p class="sub">{grid.left}: <code>{more}</code></p>' if grid.left else ""
    return table(grid.header, grid.rows) + left


def section(name: str, title: str, body: str) -> str:
    """A section of the page with its heading."""
    return f'<section id="{name}">\n<h2>{title}</h2>\n{body}\n</section>'


def folded(words: str, body: str, is_open: bool = False) -> str:
    """Content that a click on some words opens and closes; only the words if it is empty."""
    if not body:
        return f'<p class="sub">{shown(words)}</p>'
    return f"<details{' open' * is_open}><summary>{shown(words)}</summary>{body}</details>"
