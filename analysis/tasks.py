# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of threads over time: from the list at the start and the records of changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import texts
from analysis.log import Log


class TaskNames:
    """Knows what each thread was called at any time of the recording."""

    def __init__(self, alive: list[tuple[int, int, str]]) -> None:
        self._known = pd.DataFrame(
            {
                "ts": np.zeros(len(alive), dtype=np.int64),
                "tid": np.array([tid for tid, _, _ in alive], dtype=np.int64),
                "comm": texts(comm for _, _, comm in alive),
            }
        )

    def learn(self, log: Log) -> None:
        """Take in the names that the records of a log give."""
        parts = [self._known]
        for op in ("task_new", "task_rename", "task_exit"):
            rows, names = log.texts(op)
            # A new task's record is its parent's: the pfn word names the child.
            child = (log.raw["pfn"][rows] & np.uint64(0xFFFFFFFF)).astype(np.int64)
            tid = child if op == "task_new" else log.tid[rows]
            parts.append(pd.DataFrame({"ts": log.ts[rows], "tid": tid, "comm": texts(names)}))
        known = pd.concat([part for part in parts if len(part)] or parts[:1])
        self._known = known.sort_values("ts", kind="stable", ignore_index=True)

    def comm(self, ts: pd.Series[int], tid: pd.Series[int]) -> pd.Series[Any]:
        """The name of each thread at each time (ascending); "?" where none is known.

        A thread that is named only later, by its exit for one, gets that name.
        """
        asked = pd.DataFrame({"ts": ts.to_numpy(), "tid": tid.to_numpy().astype(np.int64)})
        past = pd.merge_asof(asked, self._known, on="ts", by="tid")["comm"]
        if past.isna().any():
            later = pd.merge_asof(asked, self._known, on="ts", by="tid", direction="forward")
            past = past.where(past.notna(), later["comm"])
        past = past.where(past.notna(), "?").where(asked["tid"] != 0, "swapper")
        past.index = ts.index
        return past.astype("category")
