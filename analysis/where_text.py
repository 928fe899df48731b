# SPDX-License-Identifier: GPL-2.0-or-later
"""Where folios are mapped, as text: at each mark a table by process and mapping."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analysis.effects import RMAP
from analysis.json_form import Row, rows
from analysis.lives import BIRTHS
from analysis.text import count, duration, table
from analysis.trace import Trace
from analysis.where_frame import Moment, moments_of
from probes.visible import visible

if TYPE_CHECKING:
    import pandas as pd

#: Rows of each table before the rest is summed up.
SHOWN = 20
MAPPINGS = ("pid", "comm", "mapping", "name", "kind", "folios", "KiB")
PLACES = ("pid", "comm", "address", "name", "kind", "from page", "pages", "runs")


def where_text(
    trace: Trace, frame: pd.DataFrame, mark: str | None, one_life: bool, every: bool
) -> str:
    """A table for each moment, or each of one name, of FRAME: rows of ``Trace.df_where``.

    ``one_life``: of each place, not summed up; ``every``: all rows of each table.
    """
    lines: list[str] = []
    for moment in moments_of(trace.recording):
        if mark in (None, moment.name):
            here = frame[frame["snapshot"] == moment.number]
            lines += _at(trace, moment, here, one_life, every)
    return "\n".join([*lines, *_unsaid(trace)])


def only(frame: pd.DataFrame, pid: int | None, life: int | None) -> pd.DataFrame:
    """The rows of a process, of a life."""
    for column, value in (("pid", pid), ("life", life)):
        if value is not None:
            frame = frame[(frame[column] == value).fillna(False)]
    return frame


def by_mapping(frame: pd.DataFrame) -> pd.DataFrame:
    """By process, mapping and kind: how many folios, and how many bytes of them are mapped."""
    keys = ["pid", "comm", "mm", "vma_start", "vma_end", "vma", "kind"]
    grouped = frame.groupby(keys, dropna=False, sort=False)
    return grouped.agg(folios=("life", "nunique"), bytes=("bytes", "sum")).reset_index()


def _at(
    trace: Trace, moment: Moment, here: pd.DataFrame, one_life: bool, every: bool
) -> Iterator[str]:
    after = duration(max(moment.ts - trace.census.first_ts, 0))
    head = f"{visible(moment.name)} ({after} into the trace)"
    if not len(here):
        yield f"{head}: nothing is mapped"
        return
    whole = here if one_life else by_mapping(here)
    shown = rows(whole if every else whole.head(SHOWN))
    yield f"{head}:"
    yield table(PLACES, map(_place, shown)) if one_life else table(MAPPINGS, map(_mapping, shown))
    if len(whole) > len(shown):
        yield f"and {count(len(whole) - len(shown), 'row')} more: --all"
    yield ""


def _who(one: Row) -> list[object]:
    return ["-" if one["pid"] is None else one["pid"], one["comm"] or "-"]


def _mapping(one: Row) -> list[object]:
    known = one["vma_start"] is not None
    span = f"{one['vma_start']:x}-{one['vma_end']:x}" if known else "-"
    return [*_who(one), span, one["vma"] or "-", one["kind"], one["folios"], one["bytes"] >> 10]


def _place(one: Row) -> list[object]:
    return [
        *_who(one), f"{one['address']:x}", one["vma"] or "-", one["kind"], one["first_page"],
        one["pages"], one["runs"],
    ]  # fmt: skip


def _unsaid(trace: Trace) -> Iterator[str]:
    """What is not told, and why."""
    older = trace.life_table(
        lambda lives: (lives["order"] > 0) & (lives["birth"] == BIRTHS.index("first sight"))
    )
    if len(older["life"]):
        yield (
            f"{count(len(older['life']), 'folio')} older than the recording: only what was mapped "
            "since is told"
        )
    for gap in trace.plan.missing:
        if gap.get("op") in (*RMAP, "moved"):
            names = "/".join(gap.get("functions", []))
            yield visible(f"{names}: {gap.get('reason')}; not told: {gap.get('lost')}")
