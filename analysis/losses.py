# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recording lost: the recorder's own counts, and gaps in the CPUs' numbering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.log import Log
from analysis.plan import Plan


def losses_frame(blocks: list[dict[str, Any]], plan: Plan) -> pd.DataFrame:
    """The LOSS blocks as a frame; the columns are described at ``Trace.df_losses``."""
    rows = [
        (int(block["from"]), int(block["to"]), str(block["kind"]), int(cpu), int(probe), int(lost))
        for block in blocks
        for cpu, probe, lost in block["lost"]
    ]
    frame = pd.DataFrame(rows, columns=["from_ts", "to_ts", "kind", "cpu", "probe", "lost"])
    frame = frame.astype({name: np.int64 for name in frame.columns if name != "kind"})
    frame.insert(5, "event", [plan.label(probe) for probe in frame["probe"]])
    return frame


def sequence_gaps(log: Log) -> pd.DataFrame:
    """Gaps in each CPU's numbering: ``cpu``, ``from_ts``, ``to_ts`` (ns), ``lost``."""
    cpu = log.raw["cpu"].astype(np.int64)
    order = np.lexsort((log.raw["seq"], cpu))
    cpu, seq, ts = cpu[order], log.raw["seq"][order].astype(np.int64), log.ts[order]
    lost = np.diff(seq) - 1
    gap = np.flatnonzero((np.diff(cpu) == 0) & (lost > 0))
    return pd.DataFrame(
        {"cpu": cpu[gap], "from_ts": ts[gap], "to_ts": ts[gap + 1], "lost": lost[gap]}
    )
