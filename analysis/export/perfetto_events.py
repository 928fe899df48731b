# SPDX-License-Identifier: GPL-2.0-or-later
"""What ui.perfetto.dev shows of a trace: slices, counters and arrows, as Trace Event Format.

Each folio is a process: its life is a slice, its map counts are counters, and an arrow leads from
a split to the folios that came of it.  The tasks are processes too: an operation on a folio is
an instant, or a slice where the function was entered and left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.arrays import Bools, Ints, changes
from analysis.counts import Counts, counts_of
from analysis.each_part import each_part
from analysis.life_table import Table, folios, ids
from analysis.lives import BIRTHS, DEATHS
from analysis.part import Part
from analysis.plan import RETURN
from analysis.trace import Trace
from probes.events import MARK_FIRST
from probes.visible import visible

Event = dict[str, Any]
#: Beyond the greatest pid of a kernel (PID_MAX_LIMIT): folios' process numbers.
FOLIOS = 1 << 22


def perfetto_events(trace: Trace) -> Iterator[Event]:
    """Yield the events; times are µs since the first record."""
    first = trace.census.first_ts
    table = trace.life_table(folios)
    yield from _folios(trace, table)
    tasks: dict[int, int] = {}
    for part, numbers in each_part(trace):
        yield from _counters(part, numbers, first)
        yield from _operations(part, numbers, first)
        tasks |= zip(part.log.tid.tolist(), part.log.pid.tolist(), strict=True)
    yield from _marks(trace)
    tids = np.array(sorted(tasks), dtype=np.int64)
    codes, names = trace.names.at(np.full(len(tids), trace.census.last_ts), tids)
    for tid, code in zip(tids.tolist(), codes.tolist(), strict=True):
        yield _named("thread_name", tasks[tid], names[code], tid)
        if tid == tasks[tid]:
            yield _named("process_name", tid, names[code], tid)


def _named(what: str, pid: int, name: str, tid: int = 0) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": visible(name)}}


def _us(ns: int) -> float:
    return ns / 1000


def _folios(trace: Trace, table: Table) -> Iterator[Event]:
    """A process for each folio with its life as a slice, and arrows from splits."""
    first, last = trace.census.first_ts, trace.census.last_ts
    row_of = {life: row for row, life in enumerate(table["life"].tolist())}
    for row, (life, name) in enumerate(zip(table["life"].tolist(), ids(table), strict=True)):
        head, order, parent = (int(table[key][row]) for key in ("head_pfn", "order", "parent"))
        born = int(table["birth_ts"][row])
        end = int(table["death_ts"][row]) if table["dead"][row] else last
        kind = "hugetlb" if table["hugetlb"][row] else "anon" if table["anon"][row] else "file"
        pid = FOLIOS + life
        birth, death = BIRTHS[table["birth"][row]], DEATHS[table["death"][row]]
        yield _named("process_name", pid, f"folio {head:#x} order {order} {kind}, life {life}")
        above = {"sort_index": row - len(row_of)}  # of the tasks, which have 0
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": above}
        yield {
            "ph": "X", "name": f"life: {birth} to {death}", "cat": "life", "pid": pid, "tid": pid,
            "ts": _us(born - first), "dur": _us(max(1, end - born)),
            "args": {"id": name, "events": int(table["events"][row])},
        }  # fmt: skip
        if parent in row_of:
            arrow = {"name": "split", "cat": "split", "id": life}
            # Inside the slice that it leaves, or it would belong to none.
            split = _us(int(table["death_ts"][row_of[parent]]) - first - 1)
            whole = FOLIOS + parent
            yield {"ph": "s", "pid": whole, "tid": whole, "ts": split, **arrow}
            yield {"ph": "f", "bp": "e", "pid": pid, "tid": pid, "ts": _us(born - first), **arrow}


def _counters(part: Part, numbers: Ints, first: int) -> Iterator[Event]:
    """The replayed map counts of each folio, where they change."""
    lives = part.lives
    wanted = np.flatnonzero(lives.order > 0)
    run = part.replay(wanted)
    for life in wanted.tolist():
        counts = counts_of(part.log, lives, run, life, part.counters)
        for name, value, known in _signals(counts):
            at = np.flatnonzero(known & changes(value, known.astype(np.int64)))
            for when, number in zip(counts.ts[at].tolist(), value[at].tolist(), strict=True):
                yield {
                    "ph": "C", "name": name, "pid": FOLIOS + int(numbers[life]),
                    "ts": _us(when - first), "args": {"value": number},
                }  # fmt: skip


def _signals(counts: Counts) -> Iterator[tuple[str, Ints, Bools]]:
    known = np.full(len(counts.ts), counts.entire_known)
    yield "PMD mappings", counts.entire, known
    yield "PTE mappings", *counts.pte_total()
    if counts.has("double_map"):
        yield "DoubleMap", counts.double_map, known
    if "nr_pages_mapped" in counts.counters and not counts.hugetlb:
        yield "pages mapped by PTEs", *counts.pages_mapped()


def _operations(part: Part, numbers: Ints, first: int) -> Iterator[Event]:
    """What each task did: slices of functions that were left again, instants of all else."""
    log, lives, functions = part.log, part.lives, part.plan.functions
    raced = np.zeros(len(log), dtype=bool)
    windows = part.reader_windows
    raced[windows.enter[windows.over_death]] = True
    left = log.return_of
    shown = (log.raw["probe"] < MARK_FIRST) & (log.op >= 0) & (log.phase != RETURN)
    for row in np.flatnonzero(shown).tolist():
        event: Event = {
            "name": visible(functions[log.function[row]]), "cat": "operation",
            "pid": int(log.pid[row]), "tid": int(log.tid[row]),
            "ts": _us(int(log.ts[row]) - first),
        }  # fmt: skip
        if left[row] >= 0:
            event |= {"ph": "X", "dur": _us(int(log.ts[left[row]] - log.ts[row]))}
        else:
            event |= {"ph": "i", "s": "t"}
        args: dict[str, Any] = {"cpu": int(log.raw["cpu"][row])}
        if log.about_folio[row]:
            args |= {"pfn": hex(log.pfn[row]), "order": int(log.order[row])}
            args["pages"] = int(log.nr[row])
            if lives.of[row] >= 0:
                args["life"] = int(numbers[lives.of[row]])
        if raced[row]:
            args["race"] = "the folio was freed or split while it was looked at"
            event["cname"] = "terrible"
        yield event | {"args": args}


def _marks(trace: Trace) -> Iterator[Event]:
    log = trace.common
    rows, names = log.texts("mark")
    for row, name in zip(rows.tolist(), names, strict=True):
        yield {
            "ph": "i", "s": "g", "name": visible(name), "cat": "mark", "pid": int(log.pid[row]),
            "tid": int(log.tid[row]), "ts": _us(int(log.ts[row]) - trace.census.first_ts),
        }  # fmt: skip
