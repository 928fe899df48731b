# SPDX-License-Identifier: GPL-2.0-or-later
"""Where folios are mapped, as text: at each mark a table by process and mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from analysis.effects import RMAP
from analysis.json_form import Row, rows
from analysis.lives import BIRTHS
from analysis.text import Grid, count, duration, grid_text, left_out
from analysis.trace import Trace
from analysis.where_frame import Moment, moments_of
from probes.visible import visible

if TYPE_CHECKING:
    import pandas as pd

#: Rows of each table before the rest is summed up.
SHOWN = 20
MAPPINGS = ("pid", "comm", "mapping", "name", "kind", "folios", "KiB")
LEVELS = {"PMDs": True, "PTEs": False}
PLACES = ("pid", "comm", "address", "name", "kind", "from page", "pages", "runs")


def where_text(
    trace: Trace, frame: pd.DataFrame, mark: str | None, one_life: bool, every: bool
) -> str:
    """A table for each moment in FRAME, rows of ``Trace.df_where``.

    ``one_life``: each place by itself, not summed up; ``every``: all rows of each table.
    """
    lines: list[str] = []
    for moment in moments_of(trace.recording):
        if mark in (None, moment.name):
            here = frame[frame["snapshot"] == moment.number]
            grid = places(here, every) if one_life else mappings(here, every)
            lines.append(head(trace, moment, here))
            lines += [*grid_text(grid), ""] if len(here) else []
    return "\n".join([*lines, *unsaid(trace)])


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


def head(trace: Trace, moment: Moment, here: pd.DataFrame) -> str:
    """The mappings at a moment, in a sentence."""
    after = duration(max(moment.ts - trace.census.first_ts, 0))
    said = "nothing is mapped"
    if len(here):
        sums = {
            level: int(here["bytes"][here["pmd"] == pmd].sum()) for level, pmd in LEVELS.items()
        }
        how = [f"{size >> 10} KiB by {level}" for level, size in sums.items() if size]
        spaces = count(here["mm"].nunique(), "address space")
        folios = count(here["life"].nunique(), "folio")
        said = f"{folios} in {spaces}, {' and '.join(how)}"
    return f"{visible(moment.name)} ({after} into the trace): {said}"


def mappings(here: pd.DataFrame, every: bool) -> Grid:
    """The rows of one moment by process and mapping; ``every``: all of them."""
    return _grid(MAPPINGS, by_mapping(here), _mapping, every)


def places(here: pd.DataFrame, every: bool) -> Grid:
    """The rows of one moment, each place by itself."""
    return _grid(PLACES, here, _place, every)


def _grid(
    header: tuple[str, ...], whole: pd.DataFrame, cells: Callable[[Row], list[object]], every: bool
) -> Grid:
    shown = whole if every else whole.head(SHOWN)
    left = left_out(len(whole) - len(shown), "row")
    return Grid(header, [cells(one) for one in rows(shown)], left)


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


def unsaid(trace: Trace) -> Iterator[str]:
    """Notes on what is missing, and why."""
    older = trace.life_table(
        lambda lives: (lives["order"] > 0) & (lives["birth"] == BIRTHS.index("first sight"))
    )
    if len(older["life"]):
        yield (
            f"{count(len(older['life']), 'folio')} older than the recording: only what was mapped "
            "since is told"
        )
    for gap in trace.plan.missing:
        if gap["op"] in (*RMAP, "moved"):
            names = "/".join(gap["functions"])
            yield visible(f"{names}: {gap['reason']}; not told: {gap['lost']}")
