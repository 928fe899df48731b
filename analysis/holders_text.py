# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds folios, as text: at each mark the references taken apart, and who has them."""

from __future__ import annotations

from collections.abc import Iterator
from errno import errorcode

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.holders_frame import Held
from analysis.json_form import Row, rows
from analysis.text import count, duration, table
from analysis.trace import Trace

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
KINDS = {"maps": "maps pages", "pinned": "pinned", "got": "got, its end unseen"}


def chosen(held: Held, life: int | None, pfn: int | None, mark: str | None) -> Held:
    """The part about one life or page, and about one mark (its name or number).

    AnalysisError where there is no such mark.
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
    """What gave up, for each mark who holds what, and the stacks that are named; ``every``: all
    rows."""
    lines: list[str] = []
    stacks: set[int] = set()
    if len(refused):
        lines += [*_refusals(trace, refused, every, stacks), ""]
    if not len(held.references):
        lines.append("no folio was seen at a mark")
    for number, found in held.references.groupby("snapshot", sort=True):
        who = held.holders[held.holders["snapshot"] == number]
        lines += [*_mark(trace, found, who, every, stacks), ""]
    for stack in sorted(stacks):
        lines.append(f"stack {stack}:")
        lines += [f"  {name}" for name, _ in trace.stacks.get(stack, [])]
    return "\n".join(lines).rstrip("\n")


def _refusals(trace: Trace, refused: pd.DataFrame, every: bool, stacks: set[int]) -> Iterator[str]:
    shown = rows(refused if every else refused.head(SHOWN))
    yield "gave up on a folio that was held:"
    yield table(REFUSALS, [_refusal(one, trace.census.first_ts) for one in shown])
    if len(shown) < len(refused):
        yield f"and {count(len(refused) - len(shown), 'row')} more: --all"
    stacks.update(one["stack"] for one in shown if one["stack"] in trace.stacks)


def _refusal(one: Row, zero: int) -> list[object]:
    values = ["?" if one[name] is None else one[name] for name in ("mappings", "pins", "beyond")]
    return [
        f"{(one['ts'] - zero) / 1e6:.3f}", one["life"], f"{one['head_pfn']:#x}", one["order"],
        one["function"], f"{one['comm']}/{one['tid']}", one["tries"],
        "mapped" if one["result"] is None else errorcode[-one["result"]], one["references"],
        *values,
        one["held_by"] or "-", "-" if one["stack"] is None else one["stack"],
    ]  # fmt: skip


def _mark(
    trace: Trace, found: pd.DataFrame, who: pd.DataFrame, every: bool, stacks: set[int]
) -> Iterator[str]:
    ts = int(found["ts"].iloc[0])
    into = duration(ts - trace.census.first_ts)
    # What is held beside its mappings comes first.
    beside = (found["unexplained"] != 0) | (found["pins"].fillna(0) != 0)
    keys = found.assign(beside=~beside, small=-found["order"])
    ordered = keys.sort_values(["beside", "small", "life"], kind="stable")
    shown = ordered if every else ordered.head(SHOWN)
    yield f"mark {found['name'].iloc[0]}, {into} into the trace"
    yield table(FOLIOS, [_folio(one) for one in rows(shown)])
    if len(shown) < len(found):
        yield f"and {count(len(found) - len(shown), 'folio')} more: --all"
    held = rows(who[who["life"].isin(shown["life"])])
    if held:
        yield table(HOLDERS, [_holder(one, ts) for one in held])
    stacks.update(one["stack"] for one in held if one["stack"] in trace.stacks)
    for one in rows(shown):
        yield from _remarks(one)


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
