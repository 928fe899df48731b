# SPDX-License-Identifier: GPL-2.0-or-later
"""Many lives in one figure: a lane for each, with the times when it was mapped by PMD or PTEs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.arrays import Bools, Ints, changes
from analysis.counts import Counts
from analysis.each_part import each_part
from analysis.errors import AnalysisError
from analysis.life_table import Table, some_of
from analysis.lives import DEATHS
from analysis.plot.annotate import ENDINGS
from analysis.plot.figure import Picture, put_title, recorded
from analysis.plot.style import DPI, GRID, LOSS, MARK, OPS, PMD, PTE, RACE, UNKNOWN, WRONG, Floats
from analysis.text import count
from analysis.trace import Trace

#: Lives that are drawn where none are asked for, the busiest; and what a figure can hold.
FEW, MOST = 40, 400
#: Inches: width, margins and the height of a lane.
WIDTH, LEFT, RIGHT, TOP, BOTTOM, LANE = 12.0, 2.2, 0.3, 0.75, 0.95, 0.22
#: A lane's upper half tells of PMD mappings, its lower half of PTE mappings.
UPPER, LOWER, HALF = -0.36, 0.02, 0.34


def plot_lives(trace: Trace, lives: Iterable[int | str] | None = None) -> Figure:
    """Draw them; the public function of the same name in analysis describes it."""
    table = _wanted(trace, lives)
    number = len(table["life"])
    high = TOP + BOTTOM + LANE * number
    figure = Picture(figsize=(WIDTH, high), dpi=DPI)
    ax = figure.add_axes(
        (LEFT / WIDTH, BOTTOM / high, 1 - (LEFT + RIGHT) / WIDTH, LANE * number / high)
    )
    _lanes(ax, trace, table)
    _across(ax, trace)
    _ends(ax, trace, table)
    _found(ax, trace, table)
    ax.set_xlim(*_limits(trace, table))
    ax.set_ylim(number - 0.4, -0.6)
    ax.set_yticks(np.arange(number), labels=_names(table), fontsize=7.5, family="monospace")
    ax.set_xlabel("ms since the first record of the trace", fontsize=9)
    ax.grid(axis="x", color=GRID, lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    all_of_them = count(sum(trace.totals.orders.values()), "life", "lives")
    put_title(figure, LEFT, RIGHT, f"{number} of {all_of_them}", recorded(trace.recording))
    figure.legend(handles=_legend(), loc="lower center", ncols=8, fontsize=8, frameon=False)
    return figure


def _wanted(trace: Trace, lives: Iterable[int | str] | None) -> Table:
    """The lives to draw, in the order of birth."""
    if lives is not None:
        numbers = {trace.life_number(life) for life in lives}
        table = trace.life_table(lambda each: np.isin(each["life"], list(numbers)))
    else:
        table = trace.life_table()
        busy = np.lexsort((-table["events"], -table["changes"], table["order"] == 0))
        table = some_of(table, np.sort(busy[:FEW]))
    if not 0 < len(table["life"]) <= MOST:
        raise AnalysisError(
            f"{count(len(table['life']), 'life', 'lives')} for one figure: it takes 1 to {MOST}"
        )
    return table


def _names(table: Table) -> list[str]:
    names = zip(*(table[name].tolist() for name in ("life", "head_pfn", "order")), strict=True)
    return [f"{life}: {head:#x} order {order}" for life, head, order in names]


def _ms(trace: Trace, ts: Ints) -> Floats:
    since: Floats = (ts - trace.census.first_ts) / 1e6
    return since


def _limits(trace: Trace, table: Table) -> tuple[float, float]:
    """From the first birth to the last end, with some room."""
    ends = np.where(table["dead"], table["death_ts"], trace.census.last_ts)
    first, last = _ms(trace, np.array([table["birth_ts"].min(), ends.max()]))
    room = max(0.02 * (last - first), 1e-6)
    return float(first - room), float(last + room)


def _lanes(ax: Axes, trace: Trace, table: Table) -> None:
    lane_of = {life: lane for lane, life in enumerate(table["life"].tolist())}
    for part, numbers in each_part(trace):
        here = np.flatnonzero(np.isin(numbers[:-1], table["life"]))
        if not len(here):
            continue
        run = part.replay(here)
        for life in here.tolist():
            counts = part.counts(life, run)
            death = int(part.lives.death_row[life])
            end = int(part.log.ts[death]) if death >= 0 else trace.census.last_ts
            _lane(ax, trace, counts, end, lane_of[int(numbers[life])])


def _lane(ax: Axes, trace: Trace, counts: Counts, end: int, lane: int) -> None:
    known = np.full(len(counts.ts), counts.entire_known)
    begin = _ms(trace, counts.ts[:1])
    ax.plot([begin[0], _ms(trace, np.array([end]))[0]], [lane, lane], color=LOSS, lw=0.8, zorder=1)
    signals = ((UPPER, PMD, counts.entire, known), (LOWER, PTE, *counts.pte_total()))
    for low, colour, value, sure in signals:
        for state, shade in ((sure & (value > 0), colour), (~sure, UNKNOWN)):
            spans = list(_spans(trace, counts.ts, state, end))
            ax.broken_barh(spans, (lane + low, HALF), color=shade, lw=0, zorder=2)


def _spans(trace: Trace, ts: Ints, state: Bools, end: int) -> Iterator[tuple[float, float]]:
    """Begin and length of each run of rows in a state."""
    first = np.flatnonzero(changes(state.astype(np.int64)))
    edges = _ms(trace, np.append(ts[first], max(end, int(ts[-1]))))
    for row, begin, until in zip(first.tolist(), edges[:-1], edges[1:], strict=True):
        if state[row]:
            yield float(begin), float(until - begin)


def _across(ax: Axes, trace: Trace) -> None:
    """Marks and losses, which lie across all lanes."""
    for ts in _ms(trace, trace.df_marks()["ts"].to_numpy()):
        ax.axvline(ts, color=MARK, lw=0.9, ls="--", zorder=0)
    losses = trace.df_losses()[["from_ts", "to_ts"]].drop_duplicates().to_numpy()
    for begin, end in _ms(trace, losses):
        ax.axvspan(begin, end, color=LOSS, alpha=0.35, lw=0, zorder=0)


def _ends(ax: Axes, trace: Trace, table: Table) -> None:
    for end, op in (("free", "free"), ("split", "split_folio")):
        lanes = np.flatnonzero(table["dead"] & (table["death"] == DEATHS.index(end)))
        colour, marker, _ = OPS[op]
        at = _ms(trace, table["death_ts"][lanes])
        ax.plot(at, lanes, ls="", marker=marker, ms=5, color=colour, zorder=3)


def _found(ax: Axes, trace: Trace, table: Table) -> None:
    findings = trace.df_findings()
    for lane, life in enumerate(table["life"].tolist()):
        own = findings[findings["life"] == life]
        for severity, colour, marker in (("error", WRONG, "X"), ("race", RACE, "D")):
            seen = own.loc[own["severity"] == severity, "seen_ts"].to_numpy()
            at = _ms(trace, seen)
            ax.plot(at, [lane] * len(at), ls="", marker=marker, ms=6, color=colour, zorder=4)


def _legend() -> list[Line2D | Patch]:
    def sign(name: str, colour: str, marker: str) -> Line2D:
        return Line2D([], [], ls="", marker=marker, color=colour, label=name)

    return [
        Patch(color=PMD, label="mapped by PMD"),
        Patch(color=PTE, label="mapped by PTE"),
        Patch(color=UNKNOWN, label="not known"),
        sign(ENDINGS["free"], OPS["free"][0], OPS["free"][1]),
        sign(ENDINGS["split"], OPS["split_folio"][0], OPS["split_folio"][1]),
        sign("counter is wrong", WRONG, "X"),
        sign("a reader raced", RACE, "D"),
        Line2D([], [], color=MARK, ls="--", label="mark"),
    ]
