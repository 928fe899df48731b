# SPDX-License-Identifier: GPL-2.0-or-later
"""What `--json` prints, as plain values; docs/json.md describes each key.

Rows of a table have the names of the data frame's columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analysis.life_table import Table, ids, slices
from analysis.lives import BIRTHS, DEATHS
from analysis.rights import Rights
from analysis.stats import stats_of
from analysis.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

    from analysis.audit import Audit
    from analysis.verify import Verification

Row = dict[str, Any]
LIVES = ("life", "id", "head_pfn", "order", "anon", "hugetlb", "birth", "birth_ts", "death",
         "death_ts", "parent", "events", "changes", "tasks", "mms", "reads",
         "raced_reads")  # fmt: skip


def rows(frame: pd.DataFrame) -> list[Row]:
    """The rows of a data frame; None where a value is NA."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def stats_json(trace: Trace) -> Row:
    """The totals of a trace."""
    stats = stats_of(trace)
    return {
        "kernel": trace.meta.get("kernel", {}),
        "command": list(trace.meta.get("command") or []),
        "counters": list(trace.meta.get("counters", [])),
        "slice_of": trace.meta.get("slice", {}).get("of"),
        "warnings": list(trace.warnings),
        "end": trace.trailer.get("end") if trace.trailer else None,
        "recovery": trace.recovery,
        "oops": _oops(trace),
        "duration_ns": stats.duration_ns,
        "events": stats.events,
        "changes": stats.lives.changes,
        "lost": stats.lost,
        "lives": [
            {"order": order, "lives": number} for order, number in stats.lives.orders.items()
        ],
        "births": stats.lives.births,
        "deaths": stats.lives.deaths,
        "reads": stats.lives.windows,
        "raced_reads": stats.lives.raced_reads,
        "by_event": _named(("op", "event", "phase", "events", "per_second"), stats.by_event),
        "by_task": _named(("tid", "comm", "events"), stats.by_task),
        "losses": _named(("cpu", "event", "kind", "lost"), stats.losses),
        "gaps": _named(("cpu", "lost"), list(stats.gaps.items())),
        "snapshots": [
            {
                "name": shot.name,
                "ts_begin": shot.ts_begin,
                "ts_end": shot.ts_end,
                "frames": len(shot.frames),
                "skipped": shot.skipped,
                "shared_pages": shared,
                "rights_unknown": unknown,
            }
            for shot in trace.snapshots
            for shared, unknown in [Rights(shot).totals()]
        ],
        "probes": len(trace.plan.entries),
        "silent": stats.silent,
        "missing": [
            {
                "op": gap["op"],
                "functions": gap["functions"],
                "reason": gap["reason"],
                "lost": gap["lost"],
            }
            for gap in trace.plan.missing
        ],
    }


def _named(names: tuple[str, ...], values: list[Any]) -> list[Row]:
    return [dict(zip(names, row, strict=True)) for row in values]


def _oops(trace: Trace) -> Row | None:
    oops = trace.oops
    if oops is None:
        return None
    return {
        "title": oops.title,
        "ts": oops.ts,
        "within_ns": oops.within_ns,
        "lines": list(oops.lines),
    }


def lives_json(table: Table) -> Iterator[Row]:
    """Yield the lives of a table, as ``Trace.df_lives`` has them."""
    for some in slices(table):
        columns: dict[str, list[Any]] = {name: column.tolist() for name, column in some.items()}
        dead, parent = columns["dead"], columns["parent"]
        columns |= {
            "id": ids(some),
            "birth": [BIRTHS[code] for code in columns["birth"]],
            "death": [DEATHS[code] for code in columns["death"]],
            "death_ts": [
                ts if ended else None for ts, ended in zip(columns["death_ts"], dead, strict=True)
            ],
            "parent": [life if life >= 0 else None for life in parent],
            "mms": [number if number >= 0 else None for number in columns["mms"]],
        }
        for values in zip(*(columns[name] for name in LIVES), strict=True):
            yield dict(zip(LIVES, values, strict=True))


def verify_json(trace: Trace, result: Verification) -> Row:
    """The comparison with the snapshots, and the differences."""
    return {
        "checked": result.checked,
        "certain": result.certain,
        "possible": result.possible,
        "unlisted": result.unlisted,
        "snapshots": rows(result.table),
        "differences": rows(result.differences),
        "torn": [
            {"snapshot": number, "name": shot.name, "pid": pid, "reason": reason}
            for number, shot in enumerate(trace.snapshots)
            for pid, reason in sorted(shot.torn.items())
        ],
    }


def where_json(frame: pd.DataFrame) -> list[Row]:
    """Rows of ``Trace.df_where``; the address of an address space is text, as an identifier."""
    return rows(frame.assign(mm=[f"{mm:#x}" for mm in frame["mm"]]))


def audit_json(audit: Audit) -> list[Row]:
    """The findings, as ``Trace.df_findings`` has them."""
    return rows(audit.findings)
