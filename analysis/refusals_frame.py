# SPDX-License-Identifier: GPL-2.0-or-later
"""Splits and migrations that gave up, as the data frame of ``Trace.df_refusals``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.columns import category, integers, integers_or_na, texts
from analysis.each_part import each
from analysis.part import Part, Parted
from analysis.parties import Parties
from analysis.plan import OP, RETURN
from analysis.recording import Recording
from analysis.refusals import REFUSED, Refusal, refusals


def refusals_frame(trace: Parted) -> pd.DataFrame:
    """Build the frame part by part."""
    frames = [frame.assign(life=numbers[frame["life"]]) for frame, numbers in each(trace, _part)]
    some = [frame for frame in frames if len(frame)] or frames[:1]
    whole = pd.concat(some, ignore_index=True)
    return whole.sort_values(["ts", "life"], kind="stable", ignore_index=True)


def _column(values: Iterable[int]) -> Ints:
    return np.array(list(values), dtype=np.int64)


def _part(_recording: Recording, part: Part) -> pd.DataFrame:
    found = refusals(part)
    log, lives = part.log, part.lives
    life = _column(refusal.life for refusal in found)
    first = _column(refusal.rows[0] for refusal in found)
    last = _column(refusal.rows[-1] for refusal in found)
    nobody = np.full_like(last, -1)
    # Whose stack is told: that of the beginning.
    begun = np.where(log.phase[last] == RETURN, log.enter_of[last], last) if len(found) else last
    who = Parties(part, begun, begun, nobody)
    ops = [OP[name] for name in REFUSED]
    known = {
        name: _column(getattr(refusal, name) for refusal in found)
        for name in ("mappings", "pins", "beyond")
    }
    return pd.DataFrame(
        {
            "life": life,
            "head_pfn": lives.head[life],
            "order": lives.order[life].astype(np.int16),
            "what": category(_column(ops.index(op) for op in log.op[last].tolist()), REFUSED),
            "tries": _column(len(refusal.rows) for refusal in found),
            "from_ts": log.ts[first] if len(found) else life,
            "ts": log.ts[last] if len(found) else life,
            "result": integers_or_na([refusal.result for refusal in found]),
            "function": texts(who.function),
            "comm": texts(who.comm),
            "tid": who.tid,
            "pid": who.pid,
            "stack": integers(who.stack, who.has_stack),
            "references": _column(refusal.references for refusal in found),
            **{name: integers(values, values >= 0, np.int64) for name, values in known.items()},
            "page_cache": _column(refusal.cache for refusal in found),
            "held_by": texts(_holders(part, found)),
        }
    )


def _holders(part: Part, found: list[Refusal]) -> Iterator[str]:
    """Who had taken references that are not known to be gone, for each refusal."""
    rows = np.unique(_column(row for refusal in found for row, _, _ in refusal.holders))
    names = Parties(part, rows, rows, np.full_like(rows, -1)).names()
    name_of = dict(zip(rows.tolist(), names, strict=True))
    for refusal in found:
        sums: dict[tuple[str, bool], int] = {}
        for row, pinned, left in refusal.holders:
            key = name_of[row], pinned
            sums[key] = sums.get(key, 0) + left
        yield ", ".join(
            f"{name} {'pinned' if pinned else 'got'} {left}"
            for (name, pinned), left in sums.items()
        )
