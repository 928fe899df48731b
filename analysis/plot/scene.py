# SPDX-License-Identifier: GPL-2.0-or-later
"""Gathers what one life's picture shows, and lays its time axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.counts import Counts
from analysis.lives import DEATHS
from analysis.oops import Oops
from analysis.plan import RETURN
from analysis.plot.axis import Span, TimeAxis, compress
from analysis.trace import Trace

#: Races that are shown large and told in words; the others are red all the same.
TOLD = 2


@dataclass(frozen=True)
class Scene:
    """One life: its ``counts`` and the events, windows, marks and losses beside it.

    ``begin`` and ``end`` (ns) are its birth and its death, or the end of the recording.
    ``events`` are the rows of df_events to be drawn as operations.  ``oops``: the death of
    the kernel, where it lies in the picture.
    """

    trace: Trace
    counts: Counts
    begin: int
    end: int
    death: str
    axis: TimeAxis
    events: pd.DataFrame
    windows: pd.DataFrame
    marks: pd.DataFrame
    losses: pd.DataFrame
    oops: Oops | None


def _drawn_operations(trace: Trace, life: int) -> pd.DataFrame:
    """Operations of a life, each once: brackets by the end that has the effect."""
    log = trace.log
    mine = (trace.lives.of == life) & log.about_folio
    shown = np.where(log.phase == RETURN, log.delta != 0, True)
    rows = np.flatnonzero(mine & shown)
    events = trace.df_events().iloc[rows]
    opens = (events["op"] == "dup") & (events["delta"] == 0)
    return events[(events["op"] != "read") & ~opens]


def scene_of(trace: Trace, life: int) -> Scene:
    """Collect everything of one life."""
    counts, lives, log = trace.counts(life), trace.lives, trace.log
    begin = int(log.ts[lives.first[life]])
    death = DEATHS[lives.death[life]]
    end = int(log.ts[lives.death_row[life]] if death != "alive" else log.ts[-1])

    windows = trace.windows
    inside = (windows["pfn"] >= counts.head) & (windows["pfn"] < counts.head + (1 << counts.order))
    # Who came while the end was under way may have died of it.
    inside &= (windows["ts"] <= end) | (windows["life"] == life)
    inside &= windows["end_ts"] >= begin
    windows = windows[inside].reset_index(drop=True)
    marks = trace.df_marks()
    marks = marks[(marks["ts"] >= begin) & (marks["ts"] <= end)].reset_index(drop=True)
    losses = trace.df_losses().groupby(["from_ts", "to_ts"])["lost"].sum().reset_index()
    losses = losses[(losses["from_ts"] <= end) & (losses["to_ts"] >= begin)]
    losses = losses.reset_index(drop=True)

    times: list[Ints] = [counts.ts, np.array([begin, end]), marks["ts"].to_numpy()]
    times += [windows[name].to_numpy() for name in ("ts", "end_ts")]
    times += [losses[name].to_numpy().clip(begin, end) for name in ("from_ts", "to_ts")]
    shown = np.concatenate(times)
    oops = trace.oops
    if oops is not None and (oops.ts is None or not begin <= oops.ts <= shown.max()):
        oops = None
    zoomed: list[Span] = []
    for window in windows[windows["over_death"]].head(TOLD).to_dict("records"):
        zoomed.append((window["ts"], window["end_ts"], 0.14))
        # The end may follow the free within nanoseconds: that it FOLLOWS is the point.
        zoomed.append((end, window["end_ts"], 0.05))
    return Scene(
        trace=trace,
        counts=counts,
        begin=begin,
        end=end,
        death=death,
        axis=compress(shown, zoomed),
        events=_drawn_operations(trace, life),
        windows=windows,
        marks=marks,
        losses=losses,
        oops=oops,
    )
