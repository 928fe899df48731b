# SPDX-License-Identifier: GPL-2.0-or-later
"""The partially mapped folios as the data frame of ``Trace.df_waste``, and as steps over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import Ints, changes, segment_cumsum
from analysis.columns import category, integers, integers_or_na, texts
from analysis.doubt import Doubt
from analysis.each_part import each
from analysis.part import Part, Parted
from analysis.parties import Parties
from analysis.recording import Recording
from analysis.waste import ENDS, Span, Waste, waste_of


@dataclass(frozen=True)
class Wasted:
    """``spans``: the frame of ``Trace.df_waste``.  ``unknown``: number of lives not known.

    ``ts`` (ns, ascending), ``change`` (bytes) and ``span`` (a row of ``spans``): when the memory
    that is kept unmapped changed, by how much, and of which span.  Spans that last until the end
    of the recording have no last change.
    """

    spans: pd.DataFrame
    unknown: int
    ts: Ints
    change: Ints
    span: Ints


def wasted(trace: Parted) -> Wasted:
    """The partially mapped folios of a trace, and their unmapped memory, part by part."""
    frames, steps, unknown = [], [], 0
    for (frame, of_part, without), numbers in each(trace, _part):
        frames.append(frame.assign(life=numbers[frame["life"]]))
        steps.append(of_part)
        unknown += without
    before = np.cumsum([0, *(len(frame) for frame in frames)])
    ts, change = (np.concatenate([step[row] for step in steps]) for row in (0, 1))
    span = np.concatenate([step[2] + at for step, at in zip(steps, before, strict=False)])
    # Rows are in the order of time, and of lives where two began at once.
    whole = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    by_time = np.lexsort((whole["life"], whole["from_ts"]))
    place = np.empty(len(whole), dtype=np.int64)
    place[by_time] = np.arange(len(whole))
    in_time = np.argsort(ts, kind="stable")
    return Wasted(
        spans=whole.iloc[by_time].reset_index(drop=True),
        unknown=unknown,
        ts=ts[in_time],
        change=change[in_time],
        span=place[span[in_time]],
    )


def _part(recording: Recording, part: Part) -> tuple[pd.DataFrame, tuple[Ints, Ints, Ints], int]:
    found = waste_of(part)
    size = int(recording.meta.get("page_size", 4096))
    ts, change, span = [_ints([])], [_ints([])], [_ints([])]
    for number, kept in enumerate(found.spans):
        over = () if kept.end == "alive" else (kept.until,)
        ts.append(np.append(kept.ts, _ints(list(over))))
        change.append(size * np.diff(kept.pages, prepend=0, append=_ints([0] * len(over))))
        span.append(np.full(len(ts[-1]), number))
    steps = (np.concatenate(ts), np.concatenate(change), np.concatenate(span))
    return _frame(recording, part, found, size), steps, found.unknown


def _ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _byte_seconds(span: Span, size: int) -> float:
    return float(span.pages @ np.diff(span.ts, append=span.until)) * size / 1e9


def _frame(recording: Recording, part: Part, found: Waste, size: int) -> pd.DataFrame:
    lives, spans = part.lives, found.spans
    doubt = Doubt(recording)
    life = _ints([span.life for span in spans])
    begin = _ints([int(span.ts[0]) for span in spans])
    end = _ints([span.until for span in spans])
    rows = _ints([span.row for span in spans])
    nobody = np.full_like(rows, -1)
    actor = Parties(part, rows, lives.first[life], nobody)
    since = part.since[life].tolist()
    queued = _ints([span.queued for span in spans])
    return pd.DataFrame(
        {
            "life": life,
            "head_pfn": lives.head[life],
            "order": lives.order[life].astype(np.int16),
            "from_ts": begin,
            "to_ts": end,
            "end": category(_ints([ENDS.index(span.end) for span in spans]), ENDS),
            "most_bytes": size * _ints([int(span.pages.max()) for span in spans]),
            "last_bytes": size * _ints([int(span.pages[-1]) for span in spans]),
            "byte_seconds": np.array([_byte_seconds(span, size) for span in spans], dtype=float),
            "function": texts(actor.function),
            "comm": texts(actor.comm),
            "tid": actor.tid,
            "pid": actor.pid,
            "queued_ts": integers(queued, queued >= 0, np.int64),
            "tries": _ints([span.tries for span in spans]),
            "result": integers_or_na([span.result for span in spans]),
            "references": integers_or_na([span.references for span in spans]),
            "doubt": texts(map(doubt.reason_counter, since, end.tolist())),
        }
    )


def by_process(found: Wasted) -> pd.DataFrame:
    """Memory kept unmapped, by the process that unmapped the rest, the most first.

    * index ``pid``: int64, -1: folios partially mapped when first seen; ``comm``: str
    * ``folios``: int64; ``most_bytes``: int64, at the same time; ``byte_seconds``: float;
      ``end_bytes``: int64, when the recording ended
    """
    spans = found.spans
    left = spans["last_bytes"].where(spans["end"] == "alive", 0)
    frame = (
        spans.assign(left=left)
        .groupby("pid", sort=False)
        .agg(
            comm=("comm", "last"),
            folios=("life", "nunique"),
            byte_seconds=("byte_seconds", "sum"),
            end_bytes=("left", "sum"),
        )
    )
    owner = spans["pid"].to_numpy()[found.span]
    by_owner = np.argsort(owner, kind="stable")
    kept = segment_cumsum(found.change[by_owner], changes(owner[by_owner]))
    frame["most_bytes"] = pd.Series(kept).groupby(owner[by_owner]).max().reindex(frame.index)
    return frame.sort_values(["byte_seconds", "most_bytes"], ascending=False, kind="stable")
