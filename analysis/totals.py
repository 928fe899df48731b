# SPDX-License-Identifier: GPL-2.0-or-later
"""The totals of all lives of a trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Ints
from analysis.life_table import Table
from analysis.lives import BIRTHS, DEATHS
from analysis.windows import Windows


@dataclass(frozen=True)
class Totals:
    """``orders``: lives by order; ``births``, ``deaths``: by kind, the most frequent first;
    ``changes``: records that change a map count; ``windows`` and ``raced_reads``: readers'
    windows, and those in which the folio was freed or split."""

    lives: int
    orders: dict[int, int]
    births: dict[str, int]
    deaths: dict[str, int]
    changes: int
    windows: int
    raced_reads: int


def totals(parts: Iterable[tuple[Table, Windows]]) -> Totals:
    """Add up the parts of a trace."""
    orders: Counter[int] = Counter()
    births, deaths = np.zeros(len(BIRTHS), np.int64), np.zeros(len(DEATHS), np.int64)
    changes = windows = raced = 0
    for table, readers in parts:
        orders.update(dict(enumerate(np.bincount(table["order"]).tolist())))
        births += np.bincount(table["birth"], minlength=len(BIRTHS))
        deaths += np.bincount(table["death"], minlength=len(DEATHS))
        changes += int(table["changes"].sum())
        windows += len(readers)
        raced += int(readers.over_death.sum())
    return Totals(
        lives=int(births.sum()),
        orders={order: orders[order] for order in sorted(orders) if orders[order]},
        births=_named(births, BIRTHS),
        deaths=_named(deaths, DEATHS),
        changes=changes,
        windows=windows,
        raced_reads=raced,
    )


def _named(numbers: Ints, names: tuple[str, ...]) -> dict[str, int]:
    most = np.argsort(-numbers, kind="stable").tolist()
    return {names[code]: int(numbers[code]) for code in most if numbers[code]}
