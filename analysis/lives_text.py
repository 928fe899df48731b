# SPDX-License-Identifier: GPL-2.0-or-later
"""Folio lives as a table of text."""

from __future__ import annotations

from analysis.life_table import Table, ids
from analysis.lives import BIRTHS, DEATHS
from analysis.text import table
from analysis.trace import Trace

HEADER = (
    "life", "id", "pfn", "order", "kind", "born ms", "by", "died ms", "of", "parent",
    "changes", "tasks", "reads", "raced",
)  # fmt: skip


def lives_text(trace: Trace, lives: Table) -> str:
    """One line per life; times in ms since the first event of the trace."""
    if not len(lives["life"]):
        return "no lives of folios: record with --min-order 0, or look at `lives --all`"
    zero = trace.census.first_ts

    def ms(ts: int) -> str:
        return f"{(ts - zero) / 1e6:.3f}"

    columns = {name: column.tolist() for name, column in lives.items()} | {"id": ids(lives)}
    rows = []
    for values in zip(*columns.values(), strict=True):
        life = dict(zip(columns, values, strict=True))
        kind = "hugetlb" if life["hugetlb"] else "anon" if life["anon"] else "file"
        rows.append([
            life["life"], life["id"], f"{life['head_pfn']:#x}", life["order"], kind,
            ms(life["birth_ts"]), BIRTHS[life["birth"]],
            ms(life["death_ts"]) if life["dead"] else "-", DEATHS[life["death"]],
            life["parent"] if life["parent"] >= 0 else "-",
            life["changes"], life["tasks"], life["reads"], life["raced_reads"],
        ])  # fmt: skip
    return table(HEADER, rows)
