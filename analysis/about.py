# SPDX-License-Identifier: GPL-2.0-or-later
"""The summary of a trace that a notebook shows: one line of text, or a small table as HTML."""

from __future__ import annotations

import os
import shlex
from html import escape

import numpy as np

from analysis.clock import time_of_day
from analysis.recording import Recording
from analysis.text import count, duration
from probes.visible import visible

#: Marks that are named.
MARKS = 12


def line(recording: Recording) -> str:
    """The file, its events and its kernel."""
    said = [f"{os.path.basename(recording.path)}: {_events(recording)}", _kernel(recording)]
    said += ["the kernel died"] * (recording.oops is not None)
    return visible(f"<Trace {', '.join(said)}>")


def html(recording: Recording) -> str:
    """The same and the other facts that need no records, a row for each."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(visible(value))}</td></tr>"
        for name, value in _facts(recording)
    )
    return f"<table><caption>{escape(visible(recording.path))}</caption>{rows}</table>"


def _kernel(recording: Recording) -> str:
    return f"Linux {recording.meta.get('kernel', {}).get('release', '?')}"


def _events(recording: Recording) -> str:
    counted = recording.census
    span = duration(counted.last_ts - counted.first_ts)
    lost = sum(loss.lost for loss in recording.losses)
    return f"{count(counted.events, 'event')} in {span}" + f", {lost} lost" * (lost > 0)


def _facts(recording: Recording) -> list[tuple[str, str]]:
    command = shlex.join(recording.meta.get("command") or [])
    begin = time_of_day(recording.meta, np.array([recording.census.first_ts]))[0]
    facts = [
        ("kernel", _kernel(recording)),
        ("command", command or "the whole machine"),
        ("begin (UTC)", str(begin) if recording.census.events else "-"),
        ("events", _events(recording)),
        ("tasks", str(len(recording.census.tids))),
    ]
    _, marks = recording.common.texts("mark")
    if marks:
        more = f" and {len(marks) - MARKS} more" * (len(marks) > MARKS)
        facts.append(("marks", ", ".join(marks[:MARKS]) + more))
    if recording.oops is not None:
        facts.append(("the kernel died", recording.oops.title))
    return facts + [("warning", text) for text in recording.warnings]
