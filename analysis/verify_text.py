# SPDX-License-Identifier: GPL-2.0-or-later
"""The result of a verification as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.text import count, duration, table
from analysis.trace import Trace
from analysis.verify import CHECKS, Verification
from probes.visible import visible

#: Lines of differences printed before the rest is summed up.
SHOWN = 40


def _difference(trace: Trace, row: dict[str, Any]) -> str:
    life = trace.df_lives().loc[row["life"]]
    first, last = row["subpage"], row["last_subpage"]
    pages = f"page {first}" if first == last else f"pages {first} to {last}"
    page = "" if first < 0 else f" of {pages}"
    text = (
        f"{'possible' if row['doubt'] else 'difference'}: {row['snapshot']}: life {row['life']} "
        f"({life['id']}): {row['counter']}{page}: replayed {row['replayed']}, "
        f"truth {row['truth']}"
    )
    if row["doubt"]:
        text += f"; possible because {row['doubt']}"
    if row["first_row"] >= 0:
        event = trace.df_events().loc[row["first_row"]]
        since = duration(int(event["ts"]) - int(life["birth_ts"]))
        text += (
            f"; first record that disagrees: {row['first_row']}, {since} after birth, "
            f"{event['event']} by {event['comm']}/{event['tid']}"
        )
    elif not row["doubt"]:
        text += "; every record of it agrees: no probe saw the change"
    return visible(text)


def _runs(differences: pd.DataFrame) -> pd.DataFrame:
    """One row for neighbouring pages that are wrong in the same way."""
    same = ["snapshot", "life", "counter", "replayed", "truth", "doubt"]
    before = differences[same].shift()
    begins = (differences[same] != before).any(axis=1)
    begins |= differences["subpage"].diff() != 1
    group = begins.cumsum()
    runs = differences.groupby(group).first()
    return runs.assign(last_subpage=differences.groupby(group)["subpage"].last())


def _torn(trace: Trace) -> list[str]:
    """Whose page tables were not compared, by snapshot and reason."""
    lines = []
    for number, shot in enumerate(trace.snapshots):
        for reason in sorted(set(shot.torn.values())):
            tasks = [pid for pid, why in shot.torn.items() if why == reason]
            lines.append(
                f"unknown: {number} {shot.name}: page tables of {count(len(tasks), 'task')} "
                f"({', '.join(map(str, tasks[:SHOWN]))}): {reason}"
            )
    return lines


def verify_text(trace: Trace, result: Verification) -> str:
    """The table, the differences and one line that sums up."""
    columns = ["snapshot", "lives", "busy", *CHECKS, "unknown", "differences", "possible"]
    used = [c for c in columns if c not in CHECKS or result.table[c].any()]
    names = [c.removesuffix("_mapcount").replace("nr_pages_", "") for c in used]
    lines = [table(names, result.table[used].to_numpy().tolist())] if len(result.table) else []
    lines += _torn(trace)
    runs = _runs(result.differences)
    runs = runs.iloc[np.argsort(runs["doubt"] != "", kind="stable")]
    for row in runs.head(SHOWN).to_dict("records"):
        lines.append(_difference(trace, {str(name): value for name, value in row.items()}))
    if len(runs) > SHOWN:
        lines.append(f"and {len(runs) - SHOWN} more like these")
    if result.unlisted:
        lines.append(
            f"and {count(result.unlisted, 'difference')} that are only counted: "
            "`mapcount slice` makes a smaller trace, of some pages"
        )
    lines.append(
        f"{count(result.checked, 'value')} checked in {count(len(result.table), 'snapshot')}: "
        f"{count(result.certain, 'difference')}, {result.possible} possible"
    )
    return "\n".join(lines)
