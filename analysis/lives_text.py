# SPDX-License-Identifier: GPL-2.0-or-later
"""Folio lives as a table of text."""

from __future__ import annotations

import pandas as pd

from analysis.text import table
from analysis.trace import Trace

HEADER = (
    "life", "id", "pfn", "order", "kind", "born ms", "by", "died ms", "of", "parent",
    "changes", "tasks", "reads", "raced",
)  # fmt: skip


def lives_text(trace: Trace, lives: pd.DataFrame) -> str:
    """One line per life; times in ms since the first event of the trace."""
    if lives.empty:
        return "no lives of folios: record with --min-order 0, or look at `lives --all`"
    zero = int(trace.log.ts[0])

    def ms(ts: int) -> str:
        return f"{(ts - zero) / 1e6:.3f}"

    rows = []
    for life in lives.reset_index().to_dict("records"):
        kind = "hugetlb" if life["hugetlb"] else "anon" if life["anon"] else "file"
        rows.append([
            life["life"], life["id"], f"{life['head_pfn']:#x}", life["order"], kind,
            ms(life["birth_ts"]), life["birth"],
            "-" if pd.isna(life["death_ts"]) else ms(life["death_ts"]), life["death"],
            "-" if pd.isna(life["parent"]) else life["parent"],
            life["changes"], life["tasks"], life["reads"], life["raced_reads"],
        ])  # fmt: skip
    return table(HEADER, rows)
