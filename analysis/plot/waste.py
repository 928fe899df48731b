# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws the unmapped memory of partially mapped folios over time: by process, and by their end."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arrays import Ints
from analysis.plot.figure import Picture, put_title, recorded
from analysis.plot.labels import fitted
from analysis.plot.shapes import bars, joined
from analysis.plot.style import DPI, GRID, LOSS, MARK, Floats
from analysis.plot.whole import Times, draw_marks
from analysis.text import count
from analysis.trace import Trace
from analysis.waste_frame import Wasted, by_process

#: Inches: the page, and from its edges to the panels.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, GAP = 14.0, 6.8, 0.95, 3.1, 1.3, 0.65, 0.25
#: Processes with a colour of their own; what others keep is added up.
PROCESSES = 6
#: Okabe and Ito's colours, which differ for all eyes.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
#: What became of a span, with its colour: the later ones on top.
FATES = {
    "split at last": "#009e73",
    "queued for a split": "#e69f00",
    "a split failed": "#d55e00",
    "never queued": "#7a6a00",
}
#: Moments that are drawn; of more, the largest of each time is.
COLUMNS = 3000
#: Points for a name beside the panels.
LEGEND = 200.0
UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def plot_waste(trace: Trace) -> Figure:
    """Draw both panels over the whole time of a trace."""
    found = trace.wasted
    figure = Picture(figsize=(WIDTH, HEIGHT), dpi=DPI)
    high = (HEIGHT - TOP - BOTTOM - GAP) / 2
    panels = [
        figure.add_axes((LEFT / WIDTH, at / HEIGHT, (WIDTH - LEFT - RIGHT) / WIDTH, high / HEIGHT))
        for at in (BOTTOM + high + GAP, BOTTOM)
    ]
    kept = np.cumsum(found.change).max(initial=0)
    unit, size = next((one for one in UNITS if kept >= one[1]), UNITS[-1])
    times = Times(trace)
    owners, named = _by_process(found)
    fates, colours = _by_fate(found)
    _stack(panels[0], found, times, owners, dict(zip(named, COLOURS, strict=False)), size)
    _stack(panels[1], found, times, fates, colours, size)
    for panel, title in zip(panels, ("partially unmapped by", "what became of them"), strict=True):
        _finish(panel, trace, times, title, unit)
    panels[0].tick_params(labelbottom=False)
    panels[1].set_xlabel(f"{times.unit} since the first record", fontsize=9)
    draw_marks(panels, trace, times)
    _title(figure, trace, found)
    return figure


def _by_process(found: Wasted) -> tuple[Ints, list[str]]:
    """By span the number of its process among those with a colour, and their names."""
    frame = by_process(found)
    names = [
        f"{comm} ({pid})" if pid >= 0 else "before the recording"
        for pid, comm in list(zip(frame.index.tolist(), frame["comm"], strict=True))[:PROCESSES]
    ]
    place = {pid: min(number, PROCESSES) for number, pid in enumerate(frame.index.tolist())}
    more = len(frame) - len(names)
    owner = np.array([place[pid] for pid in found.spans["pid"].tolist()], dtype=np.int64)
    return owner, names + ([count(more, "other process", "other processes")] if more else [])


def _by_fate(found: Wasted) -> tuple[Ints, dict[str, str]]:
    """By span the number of its fate among those that occur, and these with their colours."""
    spans = found.spans
    tried, queued = (spans["tries"] > 0).to_numpy(), spans["queued_ts"].notna().to_numpy()
    done = (spans["end"] == "split").to_numpy()
    code = np.select([done, tried, queued], [0, 2, 1], default=3)
    there = sorted(set(code.tolist()))
    names = list(FATES)
    return np.searchsorted(there, code), {names[one]: FATES[names[one]] for one in there}


def _stack(
    ax: Axes, found: Wasted, times: Times, group: Ints, colours: dict[str, str], size: int
) -> None:  # fmt: skip
    """What each group of spans keeps, one upon the other; ``colours``: by name, in order."""
    if not len(found.ts):
        ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", color=MARK)
        return
    ts, column = np.unique(found.ts, return_inverse=True)
    change = np.zeros((len(colours), len(ts)))
    np.add.at(change, (group[found.span], column), found.change)
    kept = np.cumsum(change, axis=1) / size
    # What is kept at the end is kept to the end.
    x, kept = times.x(np.append(ts, times.end)), np.append(kept, kept[:, -1:], axis=1)
    shown = _largest(x, kept.sum(axis=0))
    ax.stackplot(
        x[shown], kept[:, shown], labels=[fitted(name, LEGEND, 9) for name in colours],
        colors=list(colours.values()), step="post", lw=0,
    )  # fmt: skip


def _largest(x: Floats, total: Floats) -> Ints:
    """Moments to draw: the first, the last and the largest of each of so many columns."""
    if len(x) <= COLUMNS:
        return np.arange(len(x))
    column = np.minimum((x - x[0]) / (x[-1] - x[0]) * COLUMNS, COLUMNS - 1).astype(np.int64)
    order = np.lexsort((-total, column))
    first = np.append(True, np.diff(column[order]) > 0)
    chosen: Ints = np.unique(np.concatenate([order[first], [0, len(x) - 1]]))
    return chosen


def _finish(ax: Axes, trace: Trace, times: Times, title: str, unit: str) -> None:
    ax.set_xlim(0, float(times.x(np.array([times.end]))[0]))
    ax.set_ylim(bottom=0)
    ax.set_ylabel(f"kept and not mapped, {unit}", fontsize=9)
    handles, names = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], names[::-1], title=title, alignment="left", title_fontsize=9, fontsize=9,
        loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False,
    )  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=GRID, lw=0.6)
    ax.set_axisbelow(True)
    lost = joined(times.x(trace.recording.lost[:, :2]))
    bars(ax, lost, color=LOSS, alpha=0.4, lw=0, zorder=0)


def _title(figure: Figure, trace: Trace, found: Wasted) -> None:
    folios = count(found.spans["life"].nunique(), "anonymous folio")
    words = recorded(trace.recording)
    words += "; events were lost (grey)" if trace.losses else ""
    put_title(figure, LEFT, 0.3, f"Kept and not mapped: {folios} partially mapped", words)
