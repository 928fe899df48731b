# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recording lost: the recorder's own counts, and gaps in the CPUs' numbering."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.arrays import Bools, Ints, Records
from analysis.plan import Plan

if TYPE_CHECKING:
    import pandas as pd


#: A record's number has 32 bits: after the last one they begin again.
NUMBERS = 1 << 32
#: The kind of loss that leaves a gap: a probe that the kernel skips takes no number.
RING = "ring"


class Loss(NamedTuple):
    """Records of one probe lost on one CPU between two times (ns)."""

    from_ts: int
    to_ts: int
    kind: str
    cpu: int
    probe: int
    event: str
    lost: int


def losses_of(blocks: list[dict[str, Any]], plan: Plan) -> list[Loss]:
    """The losses in the LOSS blocks."""
    return [
        Loss(
            block["from"], block["to"], block["kind"], cpu, probe, plan.label(probe), lost,
        )
        for block in blocks
        for cpu, probe, lost in block["lost"]
    ]  # fmt: skip


def losses_frame(losses: list[Loss]) -> pd.DataFrame:
    """The losses as a frame; the columns are described at ``Trace.df_losses``."""
    import pandas as pd

    from analysis.columns import texts

    def column(name: str) -> Any:
        values = [getattr(loss, name) for loss in losses]
        return texts(values) if name in ("kind", "event") else np.array(values, dtype=np.int64)

    return pd.DataFrame({name: column(name) for name in Loss._fields})


class Gap(NamedTuple):
    """Numbers that are missing in a CPU's numbering between two of its records (ns)."""

    cpu: int
    from_ts: int
    to_ts: int
    lost: int


def sequence_gaps(batches: Iterable[Records]) -> list[Gap]:
    """Gaps in each CPU's numbering."""
    columns = [(batch["cpu"], batch["seq"], batch["ts"]) for batch in batches]
    if not columns:
        return []
    cpu, seq, ts = (np.concatenate(column) for column in zip(*columns, strict=True))
    cpu, seq, ts = (column.astype(np.int64) for column in (cpu, seq, ts))
    seq += NUMBERS * (_began_again(cpu, seq)[cpu] & (seq < NUMBERS >> 1))
    order = np.lexsort((seq, cpu))
    cpu, seq, ts = cpu[order], seq[order], ts[order]
    lost = np.diff(seq) - 1
    gap = np.flatnonzero((np.diff(cpu) == 0) & (lost > 0))
    rows = np.column_stack((cpu[gap], ts[gap], ts[gap + 1], lost[gap]))
    return [Gap(*row) for row in rows.tolist()]


def repeated(batches: Iterable[Records]) -> int:
    """How many records have the same sequence number as another one of their CPU."""
    numbers = [batch["cpu"].astype(np.uint64) << np.uint64(32) | batch["seq"] for batch in batches]
    return sum(map(len, numbers)) - len(np.unique(np.concatenate(numbers))) if numbers else 0


def _began_again(cpu: Ints, seq: Ints) -> Bools:
    """By CPU, whether its numbers began again: then they are nearer over the last one."""
    low, high = np.full((2, 1 << 16), NUMBERS), np.full((2, 1 << 16), -1)
    upper = seq >> 31
    np.minimum.at(low, (upper, cpu), seq)
    np.maximum.at(high, (upper, cpu), seq)
    straight, around = high[1] - low[0], high[0] + NUMBERS - low[1]
    began: Bools = (high >= 0).all(axis=0) & (around < straight)
    return began


def untold(gaps: list[Gap], losses: list[Loss]) -> list[Gap]:
    """The gaps that no LOSS block accounts for.

    The recorder may have died before it wrote the LOSS block, or the file may end before it.
    """
    begins, ends = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for one in losses:
        if one.kind == RING:
            begins[one.cpu].append(one.from_ts)
            ends[one.cpu].append(one.to_ts)
    for times in (*begins.values(), *ends.values()):
        times.sort()
    return [
        gap
        for gap in gaps
        if bisect_right(begins[gap.cpu], gap.to_ts) == bisect_left(ends[gap.cpu], gap.from_ts)
    ]


def kept_gaps(header: dict[str, Any]) -> list[Gap] | None:
    """The gaps of the trace that a slice was cut from, by its header; None: it is no slice.

    A slice leaves records out, so gaps in its own numbering are no losses.
    """
    if "slice" not in header:
        return None
    return [Gap(*map(int, gap)) for gap in header["slice"]["gaps"]]
