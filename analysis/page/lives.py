# SPDX-License-Identifier: GPL-2.0-or-later
"""The lives of a page as columns: a row of the table for each, and the drawing of some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Bools, Ints
from analysis.counts import Counts
from analysis.divergence import divergences
from analysis.each_part import each_part
from analysis.life_table import Table
from analysis.page.columns import Columns
from analysis.page.rectangles import rectangles
from analysis.page.verdict import KIND
from analysis.part import Part
from analysis.trace import Trace

#: What a script takes for no value.
NOTHING = -(1 << 31)
#: What drawing a life costs at least, in records.
LEAST = 5
#: Columns of numbers that the table has as they are.
PLAIN = ("life", "head_pfn", "order", "birth", "death", "changes", "tasks", "reads",
         "raced_reads", "events", "parent")  # fmt: skip
#: Columns in which each number is a little more than the one before.
STEPS = ("life", "birth_ts", "records.ts", "windows.ts", "quads.from", "quads.to")


def ranking(table: Table, findings: pd.DataFrame) -> Ints:
    """Rows of a table of lives, the most interesting first.

    Lives with findings come first, beginning with the life in which the kernel died and those with
    the first finding of a kind; then folios before single pages, by their changes.
    """
    place = findings.groupby(KIND, observed=True).cumcount().where(~findings["died"], -1)
    wanted = findings["life"].loc[place.sort_values(kind="stable").index].drop_duplicates()
    found = pd.Series(np.arange(len(wanted)), index=wanted.to_numpy())
    at = found.reindex(table["life"], fill_value=len(wanted)).to_numpy()
    return np.lexsort((-table["events"], -table["changes"], table["order"] == 0, at))


def add_table(columns: Columns, trace: Trace, table: Table, findings: pd.DataFrame) -> None:
    """A row for each life of a table, times in ns since the first record."""
    zero = trace.census.first_ts
    for name in PLAIN:
        columns.add(f"lives.{name}", table[name], name in STEPS)
    columns.add("lives.kind", np.where(table["hugetlb"], 2, np.where(table["anon"], 0, 1)))
    columns.add("lives.birth_ts", table["birth_ts"] - zero, True)
    lived = np.where(table["dead"], table["death_ts"] - table["birth_ts"], NOTHING)
    columns.add("lives.lived", lived)
    number = findings["life"].value_counts()
    columns.add("lives.findings", number.reindex(table["life"], fill_value=0).to_numpy())


def drawable(table: Table, ranked: Ints, records: int) -> Ints:
    """The lives that are drawn: the first ranked ones, as many as fit into the limit of records.

    A life with too many records is skipped, and those after it are still considered.
    """
    kept, left = [], records
    events_of = zip(table["life"][ranked].tolist(), table["events"][ranked].tolist(), strict=True)
    for life, events in events_of:
        cost = max(events, LEAST)
        if cost <= left:
            kept.append(life)
            left -= cost
    return np.array(sorted(kept), dtype=np.int64)


def add_drawn(columns: Columns, trace: Trace, wanted: Ints) -> Ints:
    """Add records, readers' windows and page counts of the wanted lives, life by life.

    ``drawn.life`` are their numbers; ``drawn.records`` and so on say how many rows each has.
    Returns the threads that appear in them.
    """
    rows: dict[str, list[Ints]] = defaultdict(list)
    made: dict[int, dict[str, dict[str, Ints]]] = {}
    for part, numbers in each_part(trace):
        here = np.flatnonzero(np.isin(numbers[:-1], wanted))
        for life, tables in _of_part(trace, part, here):
            made[int(numbers[life])] = tables
    columns.add("drawn.life", list(made := dict(sorted(made.items()))), True)
    for tables in made.values():
        for kind, fields in tables.items():
            rows[f"drawn.{kind}"].append(np.array([len(next(iter(fields.values())))]))
            for name, values in fields.items():
                rows[f"{kind}.{name}"].append(values)
    for name, parts in rows.items():
        columns.add(name, np.concatenate(parts), name in STEPS)
    tids = [rows[f"{kind}.tid"] for kind in ("records", "windows")]
    return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *sum(tids, [])]))


def _of_part(
    trace: Trace, part: Part, here: Ints
) -> Iterator[tuple[int, dict[str, dict[str, Ints]]]]:
    if not len(here):
        return
    run = part.replay(here)
    found = divergences(part.log, part.lives, run, part.counters)
    wrong = np.zeros(len(part.log), dtype=bool)
    for difference in found:
        wrong[difference.row] = True
    windows = part.reader_windows
    for life in here.tolist():
        counts = part.counts(life, run)
        death = int(part.lives.death_row[life])
        end = int(part.log.ts[death]) if death >= 0 else trace.census.last_ts
        seen = np.flatnonzero(windows.life == life)
        yield (
            life,
            {
                "records": _records(trace, part, counts, wrong),
                "windows": {
                    "ts": windows.ts[seen] - trace.census.first_ts,
                    "end": windows.end_ts[seen] - windows.ts[seen],
                    "tid": windows.tid[seen],
                    "function": windows.function[seen],
                    "raced": windows.over_death[seen].astype(np.int64),
                },
                "quads": _quads(trace, counts, end),
            },
        )


def _records(trace: Trace, part: Part, counts: Counts, wrong: Bools) -> dict[str, Ints]:
    log, rows = part.log, counts.event
    total, known = counts.pte_total()
    fields: dict[str, Any] = {
        "ts": log.ts[rows] - trace.census.first_ts,
        "label": log.rank[rows],
        "function": log.function[rows],
        "op": log.op[rows],
        "phase": log.phase[rows],
        "level": log.level[rows],
        "cpu": log.raw["cpu"][rows],
        "tid": log.tid[rows],
        "page": log.pfn[rows] - counts.head,
        "nr": log.nr[rows],
        "delta": log.delta[rows],
        "entire": np.where(counts.entire_known, counts.entire, NOTHING),
        "pte": np.where(known, total, NOTHING),
        "double_map": counts.double_map,
        "wrong": wrong[rows],
    }
    for name in ("entire_mapcount", "mapcount"):
        value, valid = log.counter(name)
        fields[name] = np.where(valid[rows] & (name in part.counters), value[rows], NOTHING)
    return {name: np.asarray(values).astype(np.int64) for name, values in fields.items()}


def _quads(trace: Trace, counts: Counts, end: int) -> dict[str, Ints]:
    quads = rectangles(counts, end)
    for name in ("from", "to"):
        quads[name] = quads[name] - trace.census.first_ts
    return quads
