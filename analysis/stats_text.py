# SPDX-License-Identifier: GPL-2.0-or-later
"""The totals of a trace as text for a terminal."""

from __future__ import annotations

import shlex

import numpy as np

from analysis.oops import Oops
from analysis.rights import Rights
from analysis.source import recovered
from analysis.stats import Stats, stats_of
from analysis.text import count, duration, table
from analysis.trace import Trace
from probes.visible import visible

#: Lines of a list before the rest is summed up.
SHOWN = 12


def _head(trace: Trace, stats: Stats) -> list[str]:
    kernel = trace.meta.get("kernel", {})
    command = shlex.join(trace.meta.get("command") or []) or "none (the whole machine)"
    ended = trace.trailer.get("end", "in order") if trace.trailer else "no trailer"
    if trace.recovery is not None:
        ended = f"the kernel died; {recovered(trace.recovery)}"
    total = stats.lives
    lives = ", ".join(f"{number} of order {order}" for order, number in total.orders.items())
    births = ", ".join(f"{number} by {kind}" for kind, number in total.births.items())
    deaths = ", ".join(f"{number} {kind}" for kind, number in total.deaths.items())
    shots = trace.snapshots
    shared, unknown = np.sum([(0, 0), *(Rights(shot).totals() for shot in shots)], axis=0)
    skipped = sum(shot.skipped for shot in shots)
    truth = ", ".join(f"{shot.name} ({count(len(shot.frames), 'frame')})" for shot in shots)
    # Of an old trace, and of processes that share nothing, there is nothing to be told.
    rights = [
        f"shared      {count(int(shared), 'anonymous page')} that several address spaces map, in "
        f"all snapshots; of {unknown} it is not known which of these may write them"
    ] * bool(shared)
    rate = stats.events / (stats.duration_ns / 1e9) if stats.duration_ns else 0
    sliced = [f"slice of    {trace.meta['slice'].get('of')}"] if "slice" in trace.meta else []
    return [
        *sliced,
        f"kernel      {kernel.get('release')} {kernel.get('machine')}",
        f"command     {command}",
        f"counters    {', '.join(trace.meta.get('counters', []))}",
        f"duration    {duration(stats.duration_ns)}",
        f"ended       {ended}",
        f"events      {stats.events}, {rate:.0f} per second, {total.changes} change a map count",
        f"lost        {stats.lost}",
        f"lives       {lives or 'none'}",
        f"births      {births or 'none'}",
        f"deaths      {deaths or 'none'}",
        f"readers     {count(total.windows, 'window')}, in {total.raced_reads} of them "
        "the folio was freed or split",
        f"truth       {truth or 'no snapshot'}" + (f"; {skipped} frames skipped" * (skipped > 0)),
        *rights,
    ]


def _losses(stats: Stats) -> list[str]:
    if not stats.lost and not stats.gaps:
        return ["losses: none"]
    lines = ["losses"]
    if stats.losses:
        lines.append(table(["cpu", "probe", "kind", "lost"], stats.losses))
    for cpu, lost in stats.gaps.items():
        lines.append(f"gaps in the numbering of cpu {cpu}: {lost} events")
    return lines


def _oops(trace: Trace, oops: Oops) -> list[str]:
    since = duration(oops.ts - trace.census.first_ts) if oops.ts is not None else "an unknown time"
    about = f" ± {duration(oops.within_ns)}" if oops.within_ns else ""
    return [f"oops        {oops.title}, at {since}{about}", *(f"  {line}" for line in oops.lines)]


def stats_text(trace: Trace) -> str:
    """The whole report."""
    stats = stats_of(trace)
    rows = [
        [op, event, phase, number, f"{rate:.1f}"]
        for op, event, phase, number, rate in stats.by_event
    ]
    parts = [
        list(map(visible, _head(trace, stats))),
        [table(["op", "function", "phase", "events", "per second"], rows)],
        [table(["tid", "comm", "events"], stats.by_task[:SHOWN])],
        _losses(stats),
    ]
    if len(stats.by_task) > SHOWN:
        parts[2].append(f"and {len(stats.by_task) - SHOWN} more tasks")
    coverage = [f"probes      {len(trace.plan.entries)} planned, {len(stats.silent)} never fired"]
    coverage += [f"  silent    {name}" for name in stats.silent]
    for gap in trace.plan.missing:
        names = ", ".join(gap["functions"]) or gap["op"]
        coverage.append(f"  missing   {names}: {gap['reason']}; unseen: {gap['lost']}")
    parts.append(list(map(visible, coverage)))
    if trace.oops is not None:
        parts.append(list(map(visible, _oops(trace, trace.oops))))
    return "\n\n".join("\n".join(part) for part in parts)
