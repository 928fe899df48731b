# SPDX-License-Identifier: GPL-2.0-or-later
"""Partially mapped folios as text: the memory kept in all, by process, and one by one."""

from __future__ import annotations

from collections.abc import Iterator
from errno import errorcode

import numpy as np

from analysis.json_form import Row, rows
from analysis.text import Grid, count, duration, grid_text, left_out
from analysis.trace import Trace
from analysis.waste_frame import Wasted, by_process

#: Rows of each table before the rest is summed up.
SHOWN = 20
PROCESSES = ("pid", "comm", "folios", "most KiB", "KiB s", "end KiB")
FOLIOS = (
    "life", "pfn", "order", "from ms", "for", "mean KiB", "by", "function", "queued", "split",
    "end",
)  # fmt: skip


def waste_text(trace: Trace, found: Wasted, every: bool) -> str:
    """The sum, and both tables; ``every``: all of their rows."""
    if not len(found.spans):
        lines = ["no anonymous folio was partially mapped"]
    else:
        lines = [summary(trace, found), "", *grid_text(processes(found, every)), ""]
        lines += grid_text(folios(trace, found, every))
    return "\n".join([*lines, *unsaid(found)])


def unsaid(found: Wasted) -> Iterator[str]:
    """Notes on what is missing, or may be wrong."""
    if found.unknown:
        yield (
            f"{count(found.unknown, 'folio')} older than the recording: not known which of the "
            "pages are mapped"
        )
    doubtful = found.spans["doubt"][found.spans["doubt"] != ""]
    if len(doubtful):
        why = doubtful.iloc[0].split(";")[0]
        yield f"{count(len(doubtful), 'row')} may be wrong: {why}"


def _kib(size: float) -> str:
    return f"{size / 1024:.3f}".rstrip("0").rstrip(".")


def summary(trace: Trace, found: Wasted) -> str:
    """The memory that all of them kept, in a sentence."""
    kept = np.cumsum(found.change)
    most = int(kept.argmax())
    at = duration(int(found.ts[most]) - trace.census.first_ts)
    return (
        f"{count(found.spans['life'].nunique(), 'folio')} partially mapped: at most "
        f"{_kib(int(kept[most]))} KiB kept and not mapped, {at} into the trace; "
        f"{_kib(found.spans['byte_seconds'].sum())} KiB s in all"
    )


def processes(found: Wasted, every: bool) -> Grid:
    """Memory kept unmapped, by the process that unmapped the rest, the most first."""
    frame = by_process(found).reset_index()
    shown = frame if every else frame.head(SHOWN)
    cells = [
        [
            one["pid"] if one["pid"] >= 0 else "-", one["comm"] or "before the recording",
            one["folios"], _kib(one["most_bytes"]), _kib(one["byte_seconds"]),
            _kib(one["end_bytes"]),
        ]
        for one in rows(shown)
    ]  # fmt: skip
    return Grid(PROCESSES, cells, left_out(len(frame) - len(shown), "process", "processes"))


def folios(trace: Trace, found: Wasted, every: bool) -> Grid:
    """Each span in which a folio was partially mapped, by byte-seconds."""
    zero = trace.census.first_ts
    ordered = found.spans.sort_values("byte_seconds", ascending=False, kind="stable")
    shown = ordered if every else ordered.head(SHOWN)
    cells = [
        [
            one["life"], f"{one['head_pfn']:#x}", one["order"],
            f"{(one['from_ts'] - zero) / 1e6:.3f}", duration(one["to_ts"] - one["from_ts"]),
            _mean(one), f"{one['comm']}/{one['pid']}" if one["pid"] >= 0 else "-",
            one["function"] or "-", _queued(one), _split(one), one["end"],
        ]
        for one in rows(shown)
    ]  # fmt: skip
    return Grid(FOLIOS, cells, left_out(len(ordered) - len(shown), "row"))


def _mean(one: Row) -> str:
    """KiB over the time: an exit unmaps page by page, so that the most is all but one page."""
    seconds = (one["to_ts"] - one["from_ts"]) / 1e9
    return f"{one['byte_seconds'] / seconds / 1024 if seconds else one['most_bytes'] / 1024:.0f}"


def _queued(one: Row) -> str:
    """When it was queued for a split, counted from when it was partially mapped."""
    queued = one["queued_ts"]
    return "never" if queued is None else f"after {duration(queued - one['from_ts'])}"


def _split(one: Row) -> str:
    """How often a split was tried, how the last try ended, and who else held the folio then."""
    if not one["tries"]:
        return "not tried"
    result, held = one["result"], one["references"]
    if result is None:
        ended = "result not seen"
    elif result == 0:
        ended = "done"
    else:
        ended = errorcode.get(-result, str(result))
    text = f"{count(one['tries'], 'try', 'tries')}: {ended}"
    if result and held is not None:
        text += f", {count(held, 'reference')} besides its mappings"
    return text
