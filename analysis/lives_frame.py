# SPDX-License-Identifier: GPL-2.0-or-later
"""The lives as the data frame of ``Trace.df_lives``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.columns import category, integers, texts
from analysis.life_table import Table, ids
from analysis.lives import BIRTHS, DEATHS


def lives_frame(table: Table) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_lives``."""
    frame = pd.DataFrame(
        {
            "id": texts(ids(table)),
            **{name: table[name] for name in ("head_pfn", "order", "anon", "hugetlb")},
            "birth": category(table["birth"], BIRTHS),
            "birth_ts": table["birth_ts"],
            "death": category(table["death"], DEATHS),
            "death_ts": integers(table["death_ts"], table["dead"], np.int64),
            "parent": integers(table["parent"], table["parent"] >= 0, np.int64),
            **{name: table[name] for name in ("events", "changes", "tasks")},
            "mms": integers(table["mms"], table["mms"] >= 0, np.int64),
            **{name: table[name] for name in ("reads", "raced_reads")},
        }
    ).astype({"order": np.int16})  # fmt: skip
    frame.index.name = "life"
    return frame
