# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns numbers and tables into plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from probes.visible import visible


def duration(ns: int) -> str:
    """A time span with a suitable unit."""
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1000)):
        if abs(ns) >= size:
            return f"{ns / size:.3f} {unit}"
    return f"{ns} ns"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


class Grid(NamedTuple):
    """A table to be printed; ``left``: a note of the rows that it leaves out."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    left: str = ""


def left_out(number: int, singular: str, plural: str | None = None) -> str:
    """The note of a grid about so many rows that it leaves out."""
    return f"and {count(number, singular, plural)} more" if number else ""


def grid_text(grid: Grid, more: str = "--all") -> Iterator[str]:
    """A table, and the note of the rows that it leaves out."""
    yield table(grid.header, grid.rows)
    if grid.left:
        yield f"{grid.left}: {more}"


def of_numbers(cells: Sequence[Sequence[str]], columns: int) -> list[bool]:
    """A mask of the columns with only numbers, which are aligned to the right."""
    return [
        bool(cells) and all(row[i].lstrip("-+").replace(".", "").isdigit() for row in cells)
        for i in range(columns)
    ]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns padded to their widest cell; numbers to the right, words to the left."""
    cells = [[visible(cell) for cell in row] for row in rows]
    right = of_numbers(cells, len(header))
    lines = [list(header), *cells]
    width = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width[i]) if right[i] else cell.ljust(width[i])
            for i, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )
