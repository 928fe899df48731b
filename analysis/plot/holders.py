# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws the references to one folio by kind, mark by mark."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.plot.figure import Picture, put_title, recorded
from analysis.plot.labels import fitted
from analysis.plot.style import DPI, GRID, MARK
from analysis.trace import Trace

#: Inches: the page, a row, and from the page's edges to the rows.
WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 12.0, 0.62, 1.5, 3.2, 0.95, 1.15
#: The parts, with their colours, which differ for all eyes (Okabe and Ito's).
PARTS = {
    "references": "#444444",
    "mappings": "#0072b2",
    "page_cache": "#56b4e9",
    "swap_cache": "#cc79a7",
    "private": "#999999",
    "pins": "#e69f00",
    "unexplained": "#d55e00",
}
#: Marks with names below and numbers in the rows; of more, bars alone are drawn.
NAMED = 24
#: Points for the names beside a row.
NAMES = 210.0


def most_held(references: pd.DataFrame) -> int | None:
    """The life with the most references besides mappings and caches; None: there is none."""
    return int(most_of(references)["life"]) if len(references) else None


def most_of(references: pd.DataFrame) -> pd.Series:
    """The row with the most references besides mappings and caches."""
    beside = references["pins"].fillna(0) + references["unexplained"].abs()
    ordered = references.assign(beside=beside).sort_values(
        ["beside", "references"], ascending=False, kind="stable"
    )
    return ordered.iloc[0]


def plot_holders(trace: Trace, life: int | None = None) -> Figure:
    """Draw one life, by default ``most_held``; each row has a scale of its own."""
    held = trace.held
    one = most_held(held.references) if life is None else life
    if one is None:
        figure = Picture(figsize=(WIDTH, 1.5), dpi=DPI)
        figure.text(0.5, 0.5, "no folio was seen at a mark", ha="center", color=MARK)
        return figure
    found = held.references[held.references["life"] == one]
    if not len(found):
        raise AnalysisError(f"life {one} was seen at no mark: give one that `holders` lists")
    shown = [name for name in PARTS if name == "references" or found[name].fillna(0).ne(0).any()]
    height = TOP + BOTTOM + ROW * len(shown)
    figure = Picture(figsize=(WIDTH, height), dpi=DPI)
    for place, name in enumerate(shown):
        bottom = height - TOP - ROW * (place + 1)
        panel = figure.add_axes(
            (LEFT / WIDTH, bottom / height, (WIDTH - LEFT - RIGHT) / WIDTH, ROW * 0.8 / height)
        )
        _row(panel, found, name)
        if place == len(shown) - 1:
            _names(panel, found)
    _title(figure, trace, found)
    _who(figure, height, held.holders[held.holders["life"] == one])
    return figure


def _row(panel: Axes, found: pd.DataFrame, name: str) -> None:
    """One part at each mark; its number on each bar, where there is room."""
    values = found[name].fillna(0).to_numpy(np.int64)
    x = np.arange(len(values))
    panel.bar(x, values, width=0.72, color=PARTS[name], lw=0)
    most = max(1, int(np.abs(values).max()))
    panel.set_xlim(-0.6, len(values) - 0.4)
    panel.set_ylim(min(0, int(values.min())), most * 1.45)
    panel.set_ylabel(
        name.replace("_", " "), rotation=0, ha="right", va="center", fontsize=9, color=PARTS[name]
    )
    panel.set(xticks=[], yticks=[])
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(GRID)
    if len(values) <= NAMED:
        for place, value in zip(x.tolist(), values.tolist(), strict=True):
            if value:
                panel.annotate(
                    str(value), (place, max(value, 0)), ha="center", va="bottom", fontsize=8,
                    color=MARK, xytext=(0, 1), textcoords="offset points",
                )  # fmt: skip


def _names(panel: Axes, found: pd.DataFrame) -> None:
    if len(found) > NAMED:
        panel.set_xlabel(f"{len(found)} marks", fontsize=9)
        return
    names = [fitted(str(name), 80, 8.5) for name in found["name"]]
    panel.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8.5)
    panel.tick_params(length=0)


def _who(figure: Figure, height: float, holders: pd.DataFrame) -> None:
    """Beside the rows: who pinned it or got references, at most at one mark."""
    taken = holders[holders["kind"] != "maps"]
    lines = []
    for (kind, comm, tid), rows in taken.groupby(["kind", "comm", "tid"], observed=True):
        lines.append(f"{kind} by {comm}/{tid}: {int(rows['number'].max())}")
    maps = holders[holders["kind"] == "maps"]
    for (comm, tid), rows in maps.groupby(["comm", "tid"]):
        lines.append(f"mapped by {comm}/{tid}: {int(rows['number'].max())} pages")
    x = 1 - (RIGHT - 0.2) / WIDTH
    for place, line in enumerate(lines[:12]):
        figure.text(
            x, 1 - (TOP + 0.15 + 0.24 * place) / height, fitted(line, NAMES, 9), fontsize=9,
            color="#444444", va="center",
        )  # fmt: skip
    if len(lines) > 12:
        left = f"and {len(lines) - 12} more: mapcount holders"
        figure.text(x, 1 - (TOP + 0.15 + 0.24 * 12) / height, left, fontsize=9, color=MARK)


def _title(figure: Figure, trace: Trace, found: pd.DataFrame) -> None:
    one = found.iloc[0]
    title = f"Who holds folio {one['head_pfn']:#x} (order {one['order']}, life {one['life']})"
    words = f"{recorded(trace.recording)}; references at each mark, each row by its own scale"
    put_title(figure, 0.3, 0.3, title, words)
