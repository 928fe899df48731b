# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts, tables and data as HTML: what others have named is only ever shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from probes.visible import visible

#: What could end a script element, or begin a comment in it, in the JSON spelling of it.
SPELLED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def shown(text: object) -> str:
    """A text between tags or in the quotes of an attribute."""
    return escape(visible(text))


def shown_lines(text: str) -> str:
    """A text of several lines."""
    return "\n".join(map(shown, text.split("\n")))


def data(name: str, value: Any) -> str:
    """A script element that holds a value for the page's own scripts, whatever is in it."""
    text = json.dumps(value, separators=(",", ":"))
    for sign, spelled in SPELLED.items():
        text = text.replace(sign, spelled)
    return f'<script type="application/json" id="{name}">{text}</script>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A small table; numbers are set to the right."""
    head = "".join(f"<th scope=col>{shown(name)}</th>" for name in header)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n{body}</table></div>'


def _cell(value: object) -> str:
    number = isinstance(value, int | float)
    return f"<td class=num>{value}</td>" if number else f"<td>{shown(value)}</td>"
