# SPDX-License-Identifier: GPL-2.0-or-later
"""The totals of a trace: events, rates, losses and probe coverage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from analysis.plan import Plan
from analysis.totals import Totals
from analysis.trace import Trace
from probes.events import MARKS, OPS, PHASES


@dataclass(frozen=True)
class Stats:
    """Totals of one trace.

    ``by_event``: operation, function, phase, events, events per second; ``by_task``: tid,
    comm, events, the busiest first; ``losses``: cpu, function, kind, records lost;
    ``gaps``: by CPU, the number of missing sequence numbers; ``silent``: attached probes that
    never fired.
    """

    events: int
    duration_ns: int
    by_event: list[tuple[str, str, str, int, float]]
    by_task: list[tuple[int, str, int]]
    losses: list[tuple[int, str, str, int]]
    gaps: dict[int, int]
    silent: list[str]
    lives: Totals

    @property
    def lost(self) -> int:
        """Events that the recorder counted as lost."""
        return sum(lost for *_, lost in self.losses)


def _silent(trace: Trace) -> list[str]:
    fired = set(np.flatnonzero(trace.census.probes).tolist())
    # Marks and task records do not carry the id of the probe that made them.
    told = {MARKS[probe] for probe in fired & set(MARKS)}
    return [
        trace.plan.label(entry["id"])
        for entry in trace.plan.entries
        if entry["id"] not in fired
        and entry["op"] not in told
        # Of a pin one record is made, at the return.
        and not (entry["op"] == "pin" and entry.get("phase") == "enter")
    ]


def _by_event(
    plan: Plan, probes: dict[int, int], seconds: float
) -> list[tuple[str, str, str, int, float]]:
    events: Counter[tuple[int, int, int]] = Counter()
    for probe, number in probes.items():
        if plan.op[probe] >= 0:
            key = int(plan.op[probe]), int(plan.function[probe]), int(plan.phase[probe])
            events[key] += number
    return [
        (
            OPS[op],
            plan.functions[function],
            PHASES[phase],
            number,
            number / seconds if seconds else 0,
        )
        for (op, function, phase), number in sorted(events.items())
    ]


def stats_of(trace: Trace) -> Stats:
    """The totals of a trace."""
    counted = trace.census
    span = counted.last_ts - counted.first_ts
    fired = np.flatnonzero(counted.probes)
    probes = dict(zip(fired.tolist(), counted.probes[fired].tolist(), strict=True))
    codes, names = trace.names.at(counted.tid_last, counted.tids)
    busiest = np.argsort(-counted.tid_events, kind="stable")
    losses: Counter[tuple[int, str, str]] = Counter()
    for loss in trace.losses:
        losses[loss.cpu, loss.event, loss.kind] += loss.lost
    return Stats(
        events=counted.events,
        duration_ns=span,
        by_event=_by_event(trace.plan, probes, span / 1e9),
        by_task=[
            (int(counted.tids[one]), names[codes[one]], int(counted.tid_events[one]))
            for one in busiest.tolist()
        ],
        losses=[(*key, lost) for key, lost in sorted(losses.items())],
        gaps=trace.cpu_lost,
        silent=_silent(trace),
        lives=trace.totals,
    )
