# SPDX-License-Identifier: GPL-2.0-or-later
"""Collects the data of one life's picture, and makes its time axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import Bools, Ints
from analysis.audit import audit_part
from analysis.columns import category
from analysis.counts import Counts
from analysis.divergence import divergences
from analysis.doubt import Doubt
from analysis.errors import AnalysisError
from analysis.life_table import ids, some_of
from analysis.lives import BIRTHS, DEATHS
from analysis.oops import Oops
from analysis.plan import RETURN
from analysis.plot.axis import Span, TimeAxis, compress
from analysis.plot.style import Floats
from analysis.replay import Replay
from analysis.trace import Trace
from probes.events import LEVELS, OPS

#: Races that are shown large and told in words; the others are red all the same.
TOLD = 2
#: Begin and end (ns) of what is wanted of a life; None: all of it.
Window = tuple[int, int] | None


TOP = len(LEVELS) - 1


@dataclass(frozen=True)
class Doubtful:
    """The time (ns) from which on the replay is in doubt, and the reason."""

    since: int
    why: str


@dataclass(frozen=True)
class Scene:
    """One life: its ``counts`` and the events, windows, marks and losses beside it.

    ``begin`` and ``end`` (ns) are its birth and its death, or the end of the recording;
    ``first`` and ``last`` are the times that are shown.  ``wrong``: rows of the log at which the
    replay differs from the observation; ``findings``: the audit's findings about this life,
    except races; ``unlisted``: how many more breaches it counted in the memory around it.
    ``events`` are the rows to be drawn as operations: a life may have a million, so they have
    only the columns ts, tid, comm, op, level and delta of df_events.
    ``oops``: the death of the kernel, if it is in the picture.
    """

    trace: Trace
    counts: Counts
    name: str
    birth: str
    begin: int
    end: int
    death: str
    first: int
    last: int
    axis: TimeAxis
    wrong: Ints
    findings: pd.DataFrame
    unlisted: int
    doubtful: Doubtful | None
    events: pd.DataFrame
    windows: pd.DataFrame
    marks: pd.DataFrame
    losses: pd.DataFrame
    oops: Oops | None

    def shows(self, ts: Ints) -> Bools:
        """A mask of the times that are in the picture."""
        inside: Bools = (ts >= self.first) & (ts <= self.last)
        return inside

    @property
    def until(self) -> int:
        """The last moment (ns) of the life that is shown."""
        return min(self.end, self.last)

    def spread(self, value: Ints) -> Ints:
        """The values of a counter that are shown, with the value before them."""
        low, high = np.searchsorted(self.counts.ts, [self.first, self.last], "right")
        return value[max(0, low - 1) : high]

    def spans(self, there: Bools) -> Floats:
        """Places (rows: from, to) between which a condition holds after the records of a life."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], there, [0]])))
        spans = np.append(self.counts.ts, self.end)[edges].reshape(-1, 2)
        spans = spans[(spans[:, 1] >= self.first) & (spans[:, 0] <= self.until)]
        return self.axis.x(spans.clip(self.first, self.until))

    @property
    def kind(self) -> str:
        """hugetlb, anonymous, file or shmem, unmapped or never mapped, as its records show it."""
        counts = self.counts
        if counts.hugetlb:
            return "hugetlb"
        if counts.anon:
            return "anonymous"
        mapped = self.trace.log.delta[counts.event] != 0
        known = counts.entire_known and counts.pte_total()[1].all()
        if mapped.any() or (counts.entire > 0).any() or (counts.pte_sum > 0).any():
            return "file or shmem"
        return "never mapped" if known and self.birth == "alloc" else "unmapped"


def _drawn_operations(trace: Trace, life: int) -> pd.DataFrame:
    """Operations of a life, each once: brackets by the end that has the effect."""
    log = trace.log
    mine = (trace.lives.of == life) & log.about_folio
    shown = np.where(log.phase == RETURN, log.delta != 0, True)
    rows = np.flatnonzero(mine & shown)
    folio = log.about_folio[rows]
    events = pd.DataFrame(
        {
            "ts": log.ts[rows],
            "tid": log.tid[rows].astype(np.int32),
            "op": category(log.op[rows], OPS),
            "level": category(np.where(folio, np.minimum(log.level[rows], TOP), -1), LEVELS),
            "delta": log.delta[rows],
        },
        index=rows,
    )
    events["comm"] = trace.names.comm(events["ts"], events["tid"])
    opens = (events["op"] == "dup") & (events["delta"] == 0)
    return events[(events["op"] != "read") & ~opens]


def _wrong(trace: Trace, run: Replay) -> Ints:
    found = divergences(trace.log, trace.lives, run, trace.counters)
    return np.unique(np.concatenate([one.row for one in found]))


def _findings(whole: Trace, near: Trace, life: int | str, number: int) -> tuple[pd.DataFrame, int]:
    """What is wrong with the counters of a life, that has this number in the trace around it, and
    how many more breaches are counted."""
    if isinstance(life, int) and "audit" in vars(whole):
        made, number = whole.audit, life
    else:
        made = whole.audit if near is whole else audit_part(near.recording, near.whole)
    found = made.findings
    found = found[(found["life"] == number) & (found["severity"] == "error")]
    return found.reset_index(drop=True), made.unlisted


def _doubtful(trace: Trace, life: int, begin: int, end: int) -> Doubtful | None:
    """Nothing sets the replay right again: what may be missing is missing until the end."""
    doubt = Doubt(trace.recording)
    if doubt.missing:
        return Doubtful(begin, doubt.missing)
    lost = doubt.first_loss(int(trace.whole.since[life]), end)
    if lost is None:
        return None
    return Doubtful(max(begin, lost), "events were lost")


def _shown(axis_times: list[Ints], window: Window, begin: int, end: int) -> Ints:
    """The times that the axis is made of: all, or those in the window and its ends."""
    times = np.concatenate(axis_times)
    if window is None:
        return times
    first, last = max(window[0], begin), min(window[1], int(times.max()))
    inside = times[(times >= first) & (times <= last)]
    return np.append(inside, [first, last])


def scene_of(whole: Trace, life: int | str, window: Window = None) -> Scene:
    """Collect all data of one life, or of a window of time of it."""
    trace, number = whole.alone(life)
    # First of all, as it needs the most memory.
    findings, unlisted = _findings(whole, trace, life, number)
    run = trace.replay([number])
    counts, lives, log = trace.whole.counts(number, run), trace.lives, trace.log
    begin = int(log.ts[lives.first[number]])
    death = DEATHS[lives.death[number]]
    end = int(log.ts[lives.death_row[number]] if death != "alive" else log.ts[-1])
    if window is not None and (window[0] > end or window[1] < begin):
        zero = whole.census.first_ts
        raise AnalysisError(
            f"life {life} is not in that time: it lasts from {(begin - zero) / 1e6:.3f} to "
            f"{(end - zero) / 1e6:.3f} ms"
        )

    windows = trace.windows
    inside = (windows["pfn"] >= counts.head) & (windows["pfn"] < counts.head + (1 << counts.order))
    # Who came while the end was under way may have died of it.
    inside &= (windows["ts"] <= end) | (windows["life"] == number)
    inside &= windows["end_ts"] >= begin
    windows = windows[inside]
    marks = trace.df_marks()
    marks = marks[(marks["ts"] >= begin) & (marks["ts"] <= end)]
    losses = trace.df_losses().groupby(["from_ts", "to_ts"])["lost"].sum().reset_index()
    losses = losses[(losses["from_ts"] <= end) & (losses["to_ts"] >= begin)]

    times: list[Ints] = [counts.ts, np.array([begin, end]), marks["ts"].to_numpy()]
    times += [windows[name].to_numpy() for name in ("ts", "end_ts")]
    times += [findings["seen_ts"].to_numpy().clip(begin, end)]
    times += [losses[name].to_numpy().clip(begin, end) for name in ("from_ts", "to_ts")]
    shown = _shown(times, window, begin, end)
    first, last = int(shown.min()), int(shown.max())
    oops = trace.oops
    if oops is not None and (oops.ts is None or not first <= oops.ts <= last):
        oops = None
    zoomed: list[Span] = []
    for one in windows[windows["over_death"]].head(TOLD).to_dict("records"):
        if first <= one["ts"] and one["end_ts"] <= last:
            zoomed.append((one["ts"], one["end_ts"], 0.14))
            # The end may follow the free within nanoseconds: that it FOLLOWS is the point.
            zoomed.append((end, one["end_ts"], 0.05))
    events = _drawn_operations(trace, number)

    def within(frame: pd.DataFrame, begins: str = "ts", ends: str = "ts") -> pd.DataFrame:
        return frame[(frame[begins] <= last) & (frame[ends] >= first)].reset_index(drop=True)

    return Scene(
        trace=trace,
        counts=counts,
        name=ids(some_of(trace.whole.table, np.array([number])))[0],
        birth=BIRTHS[lives.birth[number]],
        begin=begin,
        end=end,
        death=death,
        first=first,
        last=last,
        axis=compress(shown, zoomed),
        wrong=_wrong(trace, run),
        findings=findings,
        unlisted=unlisted,
        doubtful=_doubtful(trace, number, begin, end),
        events=within(events),
        windows=within(windows, ends="end_ts"),
        marks=within(marks),
        losses=within(losses, "from_ts", "to_ts"),
        oops=oops,
    )
