# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns numbers and tables into plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from probes.visible import visible


def duration(ns: int) -> str:
    """A time span with a unit that fits."""
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1000)):
        if abs(ns) >= size:
            return f"{ns / size:.3f} {unit}"
    return f"{ns} ns"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns padded to their widest cell; numbers to the right, words to the left."""
    cells = [[visible(cell) for cell in row] for row in rows]
    right = [
        bool(cells) and all(row[i].lstrip("-+").replace(".", "").isdigit() for row in cells)
        for i in range(len(header))
    ]
    lines = [list(header), *cells]
    width = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width[i]) if right[i] else cell.ljust(width[i])
            for i, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )
