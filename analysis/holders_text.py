# SPDX-License-Identifier: GPL-2.0-or-later
"""The holders of folios, as text: at each mark the references by kind, and who has them."""

from __future__ import annotations

from collections.abc import Iterator
from errno import errorcode
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.holders_frame import Held
from analysis.json_form import Row, rows
from analysis.text import Grid, count, duration, grid_text, left_out
from analysis.trace import Trace
from probes.visible import visible

#: Folios of a mark before the rest is summed up.
SHOWN = 20
PARTS = ("references", "mappings", "page_cache", "swap_cache", "private", "pins", "unexplained")
FOLIOS = (
    "life", "pfn", "order", "references", "mappings", "page cache", "swap cache", "private", "pins",
    "unexplained",
)  # fmt: skip
REFUSALS = (
    "ms", "life", "pfn", "order", "function", "task", "tries", "result", "references", "mappings",
    "pins", "beyond", "held by", "stack",
)  # fmt: skip
HOLDERS = ("life", "what", "number", "task", "for", "function", "stack")
KINDS = {"maps": "maps pages", "pinned": "pinned", "got": "got, its end not seen"}
GAVE_UP = "gave up on a folio that was held:"


class AtMark(NamedTuple):
    """The text of a mark: the references to its folios, the holders of those that are listed,
    remarks, and the numbers of the stacks that are named."""

    head: str
    folios: Grid
    holders: Grid
    remarks: list[str]
    stacks: set[int]


def chosen(held: Held, life: int | None, pfn: int | None, mark: str | None) -> Held:
    """The rows about one life or page, and about one mark (its name or number).

    Raises AnalysisError if there is no such mark.
    """
    found, who = held.references, held.holders
    if mark is not None:
        here = (found["name"] == mark) | (found["snapshot"].astype(str) == mark)
        if not here.any():
            names = dict.fromkeys(found["name"].tolist())
            raise AnalysisError(
                f"no folio was seen at mark {mark!r}: give one of {', '.join(names)}"
            )
        found = found[here]
    found = of_folio(found, life, pfn)
    key = pd.MultiIndex.from_frame(found[["snapshot", "life"]])
    return Held(found, who[pd.MultiIndex.from_frame(who[["snapshot", "life"]]).isin(key)])


def of_folio(found: pd.DataFrame, life: int | None, pfn: int | None) -> pd.DataFrame:
    """The rows about one life, or about a page."""
    if life is not None:
        found = found[found["life"] == life]
    if pfn is not None:
        pages = np.int64(1) << found["order"].to_numpy(np.int64)
        found = found[(found["head_pfn"] <= pfn) & (pfn < found["head_pfn"] + pages)]
    return found


def holders_text(trace: Trace, held: Held, refused: pd.DataFrame, every: bool) -> str:
    """The refusals, the holders at each mark, and the stacks named; ``every``: all rows."""
    lines: list[str] = [summary(held, refused), ""]
    stacks: set[int] = set()
    if len(refused):
        grid, stacks = refusals(trace, refused, every)
        lines += [GAVE_UP, *grid_text(grid), ""]
    for found, who in by_mark(held):
        mark = at_mark(trace, found, who, every)
        lines += [mark.head, *grid_text(mark.folios)]
        lines += grid_text(mark.holders) if mark.holders.rows else ()
        lines += [*mark.remarks, ""]
        stacks |= mark.stacks
    return "\n".join([*lines, *stacks_text(trace, stacks)]).rstrip("\n")


def summary(held: Held, refused: pd.DataFrame) -> str:
    """The number of folios that are held, and of refusals, in a sentence."""
    found = held.references
    if len(found):
        certain = found[surely_beside(found)]
        pinned = certain["life"][_pinned(certain)].nunique()
        other = certain["life"][_unexplained(certain)].nunique()
        said = count(certain["life"].nunique(), "folio")
        said += " with references besides mappings and caches"
        said += f" ({pinned} pinned, {other} with unexplained ones)" if len(certain) else ""
        said += f", at {certain['snapshot'].nunique()} of "
        said += count(found["snapshot"].nunique(), "mark")
    else:
        said = "no folio was seen at a mark"
    if len(refused):
        said += f"; {count(int(refused['tries'].sum()), 'try', 'tries')} to split or move "
        said += f"{count(refused['life'].nunique(), 'folio')} gave up"
    return said


def stacks_text(trace: Trace, stacks: set[int]) -> Iterator[str]:
    """The stacks with these numbers."""
    for stack in sorted(stacks):
        yield f"stack {stack}:"
        yield from (f"  {name}" for name, _ in trace.stacks.get(stack, []))


def refusals(trace: Trace, refused: pd.DataFrame, every: bool) -> tuple[Grid, set[int]]:
    """The refusals, and the numbers of the stacks that are named."""
    shown = rows(refused if every else refused.head(SHOWN))
    cells = [_refusal(one, trace.census.first_ts) for one in shown]
    return Grid(REFUSALS, cells, left_out(len(refused) - len(shown), "row")), _named(trace, shown)


def _named(trace: Trace, shown: list[Row]) -> set[int]:
    return {one["stack"] for one in shown if one["stack"] in trace.stacks}


def _refusal(one: Row, zero: int) -> list[object]:
    values = ["?" if one[name] is None else one[name] for name in ("mappings", "pins", "beyond")]
    return [
        f"{(one['ts'] - zero) / 1e6:.3f}", one["life"], f"{one['head_pfn']:#x}", one["order"],
        one["function"], f"{one['comm']}/{one['tid']}", one["tries"],
        "mapped" if one["result"] is None else errorcode[-one["result"]], one["references"],
        *values,
        one["held_by"] or "-", "-" if one["stack"] is None else one["stack"],
    ]  # fmt: skip


def surely_beside(references: pd.DataFrame) -> pd.Series:
    """A mask of the folios that certainly have references besides mappings and caches; the count
    of pins is one value and cannot be torn."""
    return _pinned(references) | _unexplained(references)


def _pinned(references: pd.DataFrame) -> pd.Series:
    return references["pins"].fillna(0) != 0


def _unexplained(references: pd.DataFrame) -> pd.Series:
    return (references["unexplained"] != 0) & (references["doubt"] == "")


def by_mark(held: Held) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """The folios of each mark, and their holders."""
    who = {number: rows for number, rows in held.holders.groupby("snapshot")}
    for number, found in held.references.groupby("snapshot"):
        yield found, who.get(number, held.holders.head(0))


def at_mark(trace: Trace, found: pd.DataFrame, who: pd.DataFrame, every: bool) -> AtMark:
    """The text of one mark, with its folios and their holders."""
    ts = int(found["ts"].iloc[0])
    into = duration(ts - trace.census.first_ts)
    # Folios with references besides mappings come first.
    beside = _pinned(found) | (found["unexplained"] != 0)
    keys = found.assign(beside=~beside, small=-found["order"])
    ordered = keys.sort_values(["beside", "small", "life"], kind="stable")
    shown = rows(ordered if every else ordered.head(SHOWN))
    holders = rows(who[who["life"].isin([one["life"] for one in shown])])
    left = left_out(len(found) - len(shown), "folio")
    return AtMark(
        head=f"mark {visible(found['name'].iloc[0])}, {into} into the trace",
        folios=Grid(FOLIOS, [_folio(one) for one in shown], left),
        holders=Grid(HOLDERS, [_holder(one, ts) for one in holders]),
        remarks=[remark for one in shown for remark in _remarks(one)],
        stacks=_named(trace, holders),
    )


def _folio(one: Row) -> list[object]:
    values = ["?" if one[name] is None else one[name] for name in PARTS]
    return [one["life"], f"{one['head_pfn']:#x}", one["order"], *values]


def _holder(one: Row, ts: int) -> list[object]:
    since = one["since_ts"]
    return [
        one["life"], KINDS[one["kind"]], one["number"], f"{one['comm']}/{one['tid']}",
        "-" if since is None else duration(ts - since), one["function"] or "-",
        "-" if one["stack"] is None else one["stack"],
    ]  # fmt: skip


def _remarks(one: Row) -> Iterator[str]:
    """What else there is to know of a folio."""
    name = f"life {one['life']}"
    seen, pins = one["pins_seen"], one["pins"]
    if one["unexplained"] > 0 and one["lru"] is False:
        yield f"{name}: on no LRU list, so in the batch of a CPU (lru_add_drain()), or isolated"
    if pins is not None and seen is not None and seen != pins:
        yield f"{name}: the records give {count(seen, 'pin')}, the kernel counts {pins}"
    if one["doubt"]:
        yield f"{name}: {one['doubt']}"
