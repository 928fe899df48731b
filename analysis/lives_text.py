# SPDX-License-Identifier: GPL-2.0-or-later
"""Folio lives as a table of text, made line by line: a trace may have a million."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.arrays import Ints
from analysis.life_table import Table, ids, slices, some_of
from analysis.lives import BIRTHS, DEATHS
from analysis.trace import Trace

HEADER = (
    "life", "id", "pfn", "order", "kind", "born ms", "by", "died ms", "of", "parent",
    "changes", "tasks", "reads", "raced",
)  # fmt: skip


def lives_text(trace: Trace, lives: Table) -> str:
    """All lines of a small table."""
    return "\n".join(lives_lines(trace, lives))


def lives_lines(trace: Trace, lives: Table) -> Iterator[str]:
    """One line per life; times in ms since the first event of the trace."""
    if not len(lives["life"]):
        yield "no lives of folios: record with --min-order 0, or look at `lives --all`"
        return
    zero = trace.census.first_ts
    widest = zip(HEADER, _cells(some_of(lives, _widest(lives)), zero), strict=True)
    widths = [max(len(name), *map(len, cells)) for name, cells in widest]
    # Columns of numbers alone are to the right.
    left = {"id", "pfn", "kind", "by", "of"}
    left |= {"died ms"} if not lives["dead"].all() else set()
    left |= {"parent"} if (lives["parent"] < 0).any() else set()
    form = "  ".join(
        f"{{:{'<' if name in left else '>'}{width}}}"
        for name, width in zip(HEADER, widths, strict=True)
    )
    yield form.format(*HEADER).rstrip()
    for some in slices(lives):
        for cells in zip(*_cells(some, zero), strict=True):
            yield form.format(*cells).rstrip()


def _cells(lives: Table, zero: int) -> Iterator[Sequence[str]]:
    """The columns of some lives, in the order of HEADER."""

    def numbers(name: str) -> list[str]:
        return [str(value) for value in lives[name].tolist()]

    def ms(name: str) -> list[str]:
        return [f"{value / 1e6:.3f}" for value in (lives[name] - zero).tolist()]

    kind = np.where(lives["hugetlb"], 2, np.where(lives["anon"], 1, 0))
    dead, parent = lives["dead"].tolist(), lives["parent"].tolist()
    yield numbers("life")
    yield ids(lives)
    yield [f"{pfn:#x}" for pfn in lives["head_pfn"].tolist()]
    yield numbers("order")
    yield [("file", "anon", "hugetlb")[code] for code in kind.tolist()]
    yield ms("birth_ts")
    yield [BIRTHS[code] for code in lives["birth"].tolist()]
    yield [text if ended else "-" for text, ended in zip(ms("death_ts"), dead, strict=True)]
    yield [DEATHS[code] for code in lives["death"].tolist()]
    yield [str(life) if life >= 0 else "-" for life in parent]
    yield from map(numbers, ("changes", "tasks", "reads", "raced_reads"))


def _widest(lives: Table) -> list[int]:
    """Rows among which each column has its longest cell."""
    rows = [int(np.argmax(_digits(lives["birth_ts"], 10) + _digits(lives["head_pfn"], 16)))]
    ends = np.where(lives["dead"], lives["death_ts"], lives["birth_ts"])
    for column in (*lives.values(), ends):
        rows += [int(column.argmin()), int(column.argmax())]
    for name in ("birth", "death"):
        rows += np.unique(lives[name], return_index=True)[1].tolist()
    return rows


def _digits(values: Ints, base: int) -> Ints:
    """How many digits numbers have, which are not negative."""
    powers = np.array([base**power for power in range(1, 64) if base**power < 1 << 63])
    return np.searchsorted(powers, values, "right")
