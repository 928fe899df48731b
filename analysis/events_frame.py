# SPDX-License-Identifier: GPL-2.0-or-later
"""The log as the data frame of ``Trace.df_events``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.clock import time_of_day
from analysis.columns import category, flags, integers
from analysis.log import Log
from analysis.plan import RETURN
from analysis.tasks import TaskNames
from probes.counters import COUNTERS
from probes.events import LEVELS, MARK_FIRST, OPS, PHASES


def events_frame(
    log: Log,
    names: TaskNames,
    meta: dict[str, Any],
    counters: frozenset[str],
    life: Ints | None = None,
) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_events``."""
    folio = log.about_folio
    columns: dict[str, object] = {
        "ts": log.ts,
        "time": time_of_day(meta, log.ts),
        "seq": log.raw["seq"].astype(np.int64),
        "cpu": log.raw["cpu"].astype(np.int32),
        "tid": log.tid.astype(np.int32),
        "pid": log.pid.astype(np.int32),
        "event": category(log.function, log.plan.functions),
        "op": category(log.op, OPS),
        "phase": category(log.phase, PHASES),
        "site": category(log.plan.site[log.raw["probe"]], log.plan.sites),
        "level": category(np.where(folio, np.minimum(log.level, len(LEVELS) - 1), -1), LEVELS),
        "pfn": log.pfn,
        "head_pfn": log.head,
        "order": log.order.astype(np.int16),
        "nr": log.nr.astype(np.int32),
        "delta": log.delta.astype(np.int8),
    }
    for row in COUNTERS:
        values, valid = log.counter(row.name)
        kept = valid & (row.name in counters)
        flag = row.unit == "flag"
        columns[row.name] = flags(values > 0, kept) if flag else integers(values, kept)
    columns["mm"] = integers(*log.mm, np.uint64)
    columns["address"] = integers(*log.address, np.uint64)
    columns["refcount"] = integers(log.raw["refcount"].astype(np.int64), log.read)
    columns["flags"] = integers(log.raw["flags"].astype(np.int64), log.read, np.int64)
    columns["anon"] = log.anon
    columns["hugetlb"] = log.hugetlb
    columns["freed"] = log.freed
    columns["stack"] = integers(log.aux, log.has_stack)
    planned = log.raw["probe"] < MARK_FIRST
    columns["ret"] = integers(log.aux, (log.phase == RETURN) & planned)
    if life is not None:
        columns["life"] = life.astype(np.int32)
    frame = pd.DataFrame(columns)
    frame.insert(6, "comm", names.comm(frame["ts"], frame["tid"]))
    return frame
