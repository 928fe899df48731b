# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a trace that is still being written, as frames of its new events."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pandas as pd

from analysis.errors import AnalysisError
from analysis.events_frame import events_frame
from analysis.log import Log
from analysis.plan import Plan
from analysis.records import Chunk
from analysis.source import Source
from analysis.tasks import TaskNames

#: Seconds after which there must be a header, and without a sign of life: a recorder gives one
#: each second (``Writer.beat``), but a machine that is emulated may take its time.
PATIENCE, SILENCE = 10.0, 30.0


def new_chunks(source: Source, poll: float) -> Iterator[list[Chunk]]:
    """Read on until the trailer, or a recovery; yields the new records of each read, maybe none.

    It also ends if the recorder gives no sign of life.  Raises AnalysisError if it never began.
    """
    stuck, beat = None, source.beat()
    begun = lived = time.monotonic()
    while True:
        yield source.read()
        if source.ended:
            return
        if source.beat() != beat:
            beat, lived = source.beat(), time.monotonic()
        if not source.header and time.monotonic() - begun > PATIENCE:
            raise AnalysisError(
                f"{source.path} has had no complete header for {PATIENCE:.0f} s: follow a trace "
                "that `mapcount record` is writing"
            )
        if time.monotonic() - lived > SILENCE:
            return
        # A block in flight is whole at the next look; a damaged one never will be.
        damage = source.damage
        if damage is not None and not damage.cut_off:
            if damage.offset == stuck:
                raise AnalysisError(
                    f"{source.path}: {damage}: open it without following to use what is before"
                )
            stuck = damage.offset
        time.sleep(poll)


def follow_frames(path: str, poll: float) -> Iterator[pd.DataFrame]:
    """Yield frames like ``Trace.df_events`` without ``life``; see ``analysis.follow``."""
    with Source(path) as source:
        events = 0
        names: TaskNames | None = None
        for chunks in new_chunks(source, poll):
            if not source.header or not chunks:
                continue
            names = names or TaskNames(source.tasks)
            log = Log(chunks, Plan(source.header))
            names.learn(log)
            # What was handed out is the caller's to keep, not ours.
            source.chunks.clear()
            counters = frozenset(source.header.get("counters", [])) | {"mapcount"}
            frame = events_frame(log, names, source.header, counters)
            frame.index = pd.RangeIndex(events, events + len(log))
            events += len(log)
            yield frame
