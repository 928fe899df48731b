# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws where folios are mapped over time: a lane for each range of addresses of a process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.each_part import each_part
from analysis.errors import AnalysisError
from analysis.plot.figure import Picture, put_title, recorded
from analysis.plot.labels import fitted
from analysis.plot.shapes import bars, joined
from analysis.plot.style import DPI, GRID, LOSS, MANY, MARK, PMD, PTE
from analysis.plot.whole import Times, draw_marks
from analysis.text import count
from analysis.trace import Trace
from analysis.where import Span, page_size_of, spans_of

#: Lanes of a figure: the ranges with the most memory over time.
MOST = 40
#: Inches: the page, and from its edges to the panel; the height of a lane.
WIDTH, LEFT, RIGHT, TOP, BOTTOM, LANE = 14.0, 3.6, 0.3, 1.3, 0.95, 0.5
#: Of a lane's height what is drawn in.
FILLED = 0.8
#: Ranges that are no further apart than so many pages are one.
APART = 512
#: Points for the name of a lane.
NAME = (LEFT - 0.2) * 72


class Lane(NamedTuple):
    """A range of addresses of an address space, and what was mapped in it."""

    mm: int
    begin: int
    end: int
    spans: list[Span]


def plot_where(trace: Trace, life: int | str | None = None, pid: int | None = None) -> Figure:
    """Draw it; the public function of the same name in analysis describes it."""
    number = trace.life_number(life) if life is not None else None
    times = Times(trace)
    size = page_size_of(trace.whole)
    owners = _owners(trace)
    spans = [
        span
        for span in _spans(trace, times.end)
        if number in (None, span.life) and (pid is None or pid in owners.get(span.mm, ()))
    ]
    lanes = _lanes(spans, size)
    order = {mm: place for place, mm in enumerate(owners)}
    shown = sorted(
        sorted(lanes, key=_used)[-MOST:],
        key=lambda lane: (order.get(lane.mm, len(order)), lane.mm, lane.begin),
    )
    high = TOP + BOTTOM + LANE * max(len(shown), 1)
    figure = Picture(figsize=(WIDTH, high), dpi=DPI)
    ax = figure.add_axes(
        (LEFT / WIDTH, BOTTOM / high, 1 - (LEFT + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / high)
    )
    for at, lane in enumerate(shown):
        _draw(ax, lane, at, times, size)
    if not shown:
        ax.text(0.5, 0.5, "nothing is mapped", transform=ax.transAxes, ha="center", color=MARK)
    names = [_name(trace, lane, owners) for lane in shown]
    _finish(ax, trace, times, names)
    draw_marks([ax], trace, times)
    what = "all processes" if life is None and pid is None else ""
    what += f"life {number}" if number is not None else ""
    what += f"{', ' if life is not None else ''}process {pid}" if pid is not None else ""
    _title(figure, trace, what, len(lanes) - len(shown))
    return figure


def _spans(trace: Trace, end: int) -> Iterable[Span]:
    if not trace.plan.where:
        raise AnalysisError(
            f"{trace.path} does not tell where pages are mapped: record with --where"
        )
    for part, numbers in each_part(trace):
        for span in spans_of(part, end):
            yield span._replace(life=int(numbers[span.life]))


def _owners(trace: Trace) -> dict[int, list[int]]:
    """The processes that had each address space at any time, in the order of time."""
    found: dict[int, list[int]] = {}
    for mm, pid in trace.recording.spaces.every():
        found.setdefault(mm, []).append(pid)
    return found


def _lanes(spans: Iterable[Span], size: int) -> list[Lane]:
    """The ranges of addresses in which something is mapped, by address space and address."""
    found: list[Lane] = []
    for span in sorted(spans, key=lambda span: (span.mm, span.address)):
        end = span.address + span.pages * size
        last = found[-1] if found else None
        if last and last.mm == span.mm and span.address - last.end <= APART * size:
            last.spans.append(span)
            found[-1] = last._replace(end=max(last.end, end))
        else:
            found.append(Lane(span.mm, span.address, end, [span]))
    return found


def _used(lane: Lane) -> int:
    """Pages that were mapped in it, times ns."""
    return sum(span.pages * (span.end - span.begin) for span in lane.spans)


def _draw(ax: Axes, lane: Lane, at: int, times: Times, size: int) -> None:
    """Low addresses are at the bottom of the lane."""
    scale = FILLED / (lane.end - lane.begin)
    bottom = at + FILLED / 2
    for pmd, colour in ((False, PTE), (True, PMD)):
        some = [span for span in lane.spans if span.pmd == pmd]
        ts = np.array([(span.begin, span.end) for span in some], dtype=np.int64).reshape(-1, 2)
        left, right = times.x(ts).T
        low = bottom - scale * np.array([span.address - lane.begin for span in some])
        high = low - scale * size * np.array([span.pages for span in some])
        corners = [(left, low), (left, high), (right, high), (right, low)]
        shapes = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)
        ax.add_collection(
            PolyCollection(list(shapes), facecolors=colour, lw=0, rasterized=len(some) > MANY)
        )


def _name(trace: Trace, lane: Lane, owners: dict[int, list[int]]) -> str:
    pids = owners.get(lane.mm, [])
    first = min(span.begin for span in lane.spans)
    who = f"mm {lane.mm:#x}"
    if pids:
        codes, names = trace.names.at(np.array([first]), np.array(pids[-1:]))
        who = f"{names[int(codes[0])]} ({pids[-1]})"
    vmas = [vma for shot in trace.snapshots for pid in pids for vma in shot.vmas.get(pid, [])]
    named = (vma.name for vma in vmas if vma.start < lane.end and lane.begin < vma.end)
    name = next(filter(None, named), "")
    return f"{who} {lane.begin:x}-{lane.end:x} {name}".rstrip()


def _finish(ax: Axes, trace: Trace, times: Times, names: list[str]) -> None:
    ax.set_xlim(0, float(times.x(np.array([times.end]))[0]))
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    labels = [fitted(name, NAME, 8) for name in names]
    ax.set_yticks(np.arange(len(names)), labels=labels, fontsize=8)
    ax.set_xlabel(f"{times.unit} since the first record", fontsize=9)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID, lw=0.6)
    ax.set_axisbelow(True)
    bars(ax, joined(times.x(trace.recording.lost[:, :2])), color=LOSS, alpha=0.4, lw=0, zorder=0)


def _title(figure: Figure, trace: Trace, what: str, left_out: int) -> None:
    figure.legend(
        handles=[Patch(color=PMD, label="by a PMD"), Patch(color=PTE, label="by PTEs")],
        loc="lower right", ncols=2, fontsize=9, frameon=False,
    )  # fmt: skip
    words = recorded(trace.recording)
    words += f"; {count(left_out, 'range')} with less are left out" if left_out else ""
    words += "; events were lost (grey)" if trace.losses else ""
    put_title(figure, LEFT, RIGHT, f"Where folios are mapped: {what}", words)
