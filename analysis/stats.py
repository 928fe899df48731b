# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in a trace: totals, rates, losses and how far the probes reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.losses import sequence_gaps
from analysis.trace import Trace
from probes.events import MARKS


@dataclass(frozen=True)
class Stats:
    """Totals of one trace.

    ``by_event``: ``op``, ``event``, ``phase``, ``events``, ``rate`` (per second);
    ``by_task``: ``tid``, ``comm``, ``events``; ``losses``: ``cpu``, ``event``, ``kind``,
    ``lost``; ``gaps``: ``cpu``, ``lost`` by the CPUs' own numbering; ``silent``: planned
    probes that never fired; ``births``, ``deaths``: lives by kind; ``lives``: by order.
    """

    events: int
    duration_ns: int
    by_event: pd.DataFrame
    by_task: pd.DataFrame
    losses: pd.DataFrame
    gaps: pd.DataFrame
    silent: list[str]
    lives: dict[int, int]
    births: dict[str, int]
    deaths: dict[str, int]
    changes: int
    raced_reads: int

    @property
    def lost(self) -> int:
        """Events that the recorder counted as lost."""
        return int(self.losses["lost"].sum())


def _silent(trace: Trace) -> list[str]:
    fired = set(np.unique(trace.log.raw["probe"]).tolist())
    # Marks and task records do not carry the id of the probe that made them.
    told = {MARKS[probe] for probe in fired & set(MARKS)}
    return [
        trace.plan.label(entry["id"])
        for entry in trace.plan.entries
        if entry["id"] not in fired and entry["op"] not in told
    ]


def stats_of(trace: Trace) -> Stats:
    """Count everything once."""
    events, lives = trace.df_events(), trace.df_lives()
    span = int(events["ts"].iloc[-1] - events["ts"].iloc[0]) if len(events) else 0
    keys = ["op", "event", "phase"]
    by_event = events.groupby(keys, observed=True).size().rename("events").reset_index()
    by_event["rate"] = by_event["events"] / (span / 1e9) if span else 0.0
    by_task = events.groupby("tid").agg(comm=("comm", "last"), events=("ts", "size"))
    losses = trace.df_losses().groupby(["cpu", "event", "kind"])["lost"].sum().reset_index()
    orders, numbers = np.unique(lives["order"], return_counts=True)
    return Stats(
        events=len(events),
        duration_ns=span,
        by_event=by_event,
        by_task=by_task.reset_index().sort_values("events", ascending=False, kind="stable"),
        losses=losses,
        gaps=sequence_gaps(trace.log).groupby("cpu")["lost"].sum().reset_index(),
        silent=_silent(trace),
        lives=dict(zip(orders.tolist(), numbers.tolist(), strict=True)),
        births={str(k): int(v) for k, v in lives["birth"].value_counts().items() if v},
        deaths={str(k): int(v) for k, v in lives["death"].value_counts().items() if v},
        changes=int(lives["changes"].sum()),
        raced_reads=int(trace.windows["over_death"].sum()),
    )
