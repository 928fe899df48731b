# SPDX-License-Identifier: GPL-2.0-or-later
"""The lives as the data frame of ``Trace.df_lives``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.arrays import Bools, Ints
from analysis.columns import category, integers, texts
from analysis.effects import RMAP
from analysis.lives import BIRTHS, DEATHS, Lives
from analysis.log import Log


def _per_life(lives: Lives, rows: Bools) -> Ints:
    return np.bincount(lives.of[rows & (lives.of >= 0)], minlength=len(lives)).astype(np.int64)


def lives_frame(log: Log, lives: Lives, windows: pd.DataFrame) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_lives``."""
    birth_ts = log.ts[lives.first]
    seen = windows[windows["life"] >= 0]
    windows_of = np.bincount(seen["life"], minlength=len(lives))
    raced_of = np.bincount(seen.loc[seen["over_death"], "life"], minlength=len(lives))
    of_life = lives.of >= 0
    actors = np.unique((lives.of[of_life] << 32) | log.tid[of_life]) >> 32
    dead = lives.death_row >= 0
    death_ts = np.where(dead, log.ts[lives.death_row], 0) if len(log) else birth_ts
    pairs = zip(birth_ts.tolist(), lives.head.tolist(), strict=True)
    frame = pd.DataFrame(
        {
            "id": texts(f"{ts}-{head:#x}" for ts, head in pairs),
            "head_pfn": lives.head,
            "order": lives.order.astype(np.int16),
            "anon": lives.anon,
            "hugetlb": lives.hugetlb,
            "birth": category(lives.birth, BIRTHS),
            "birth_ts": birth_ts,
            "death": category(lives.death, DEATHS),
            "death_ts": integers(death_ts, dead, np.int64),
            "parent": integers(lives.parent, lives.parent >= 0, np.int64),
            "events": _per_life(lives, of_life),
            "changes": _per_life(lives, np.isin(log.op, RMAP) & (log.delta != 0)),
            "tasks": np.bincount(actors, minlength=len(lives)),
            "reads": windows_of,
            "raced_reads": raced_of,
        }
    )
    frame.index.name = "life"
    return frame
