# SPDX-License-Identifier: GPL-2.0-or-later
"""The data of the page's script besides columns of numbers: words, names and colours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

from analysis.arrays import Ints
from analysis.lives import BIRTHS, DEATHS
from analysis.page.lives import NOTHING
from analysis.page.view import COMPONENTS, SOURCES
from analysis.plot.annotate import ENDINGS
from analysis.plot.discrepancies import LEFT, RIGHT
from analysis.plot.pages import COLOURS
from analysis.plot.style import (
    DOUBLE_MAP,
    LOSS,
    MARK,
    OPS,
    PMD,
    PTE,
    RACE,
    READER,
    UNKNOWN,
    WRONG,
)
from analysis.trace import Trace
from probes import events
from probes.visible import visible

KINDS = ("anon", "file", "hugetlb")
#: Bokeh's name of a marker of the static picture, its size, the angle it is turned by, and its
#: sign in a legend.
MARKERS = {
    "^": ("triangle", 9, 0.0, "▲"), "v": ("inverted_triangle", 9, 0.0, "▼"),
    "|": ("dash", 10, math.pi / 2, "|"), "_": ("dash", 8, 0.0, "-"), "+": ("cross", 8, 0.0, "+"),
    "x": ("x", 7, 0.0, "×"), "D": ("diamond", 10, 0.0, "◆"), "s": ("square", 8, 0.0, "■"),
    "P": ("plus", 10, 0.0, "✚"), "*": ("star", 12, 0.0, "★"),
}  # fmt: skip
OTHER = {"light": "#777777", "dark": "#999999", "marker": "circle", "offset": 0.0, "size": 4,
         "angle": 0.0, "sign": "●"}  # fmt: skip
#: How far a colour of the light page goes towards white on the dark one.
LIGHTER = 0.4


def facts(
    trace: Trace, findings: pd.DataFrame, first_life: int | None, tids: Ints
) -> dict[str, Any]:
    """All of it; ``findings`` are those on the page, ``first_life`` is drawn at first,
    ``tids`` are the threads in the drawn lives."""
    zero = trace.census.first_ts
    losses, oops = trace.df_losses(), trace.oops
    marked, marks = trace.common.texts("mark")
    return {
        "first_ns": str(zero),
        "last_ns": trace.census.last_ts - zero,
        "nothing": NOTHING,
        "library": list(COMPONENTS),
        "words": {"kind": KINDS, "birth": BIRTHS, "death": DEATHS},
        "ops": events.OPS,
        "levels": [*events.LEVELS, ""],
        "phases": ["", ", begin", ", end"],
        "functions": [visible(name) for name in trace.plan.functions],
        "tasks": _tasks(trace, tids),
        "marks": [
            [ts - zero, visible(name)]
            for ts, name in zip(trace.common.ts[marked].tolist(), marks, strict=True)
        ],
        "losses": (losses[["from_ts", "to_ts"]] - zero).to_numpy().tolist(),
        "oops": [oops.ts - zero, visible(oops.title)] if oops and oops.ts is not None else None,
        "found": SOURCES["found"],
        "findings": _findings(trace, findings),
        "ends": ENDINGS,
        "scales": dict.fromkeys(LEFT, "pmd") | dict.fromkeys(RIGHT, "pte"),
        "looks": _looks(),
        "colours": _colours(),
        "first_life": first_life,
    }


def _tasks(trace: Trace, tids: Ints) -> dict[int, str]:
    """What each thread was called last."""
    codes, names = trace.names.at(np.full(len(tids), trace.census.last_ts), tids)
    return {
        tid: visible(f"{names[code]}/{tid}")
        for tid, code in zip(tids.tolist(), codes.tolist(), strict=True)
    }


def _findings(trace: Trace, findings: pd.DataFrame) -> list[dict[str, Any]]:
    heads = trace.df_lives()["head_pfn"]
    return [
        {
            "label": label,
            "life": finding["life"],
            "rule": finding["rule"],
            "ns": finding["seen_ts"] - trace.census.first_ts,
            "counter": finding["counter"],
            "page": finding["pfn"] - int(heads[finding["life"]]),
            "observed": None if pd.isna(finding["observed"]) else int(finding["observed"]),
            "expected": None if pd.isna(finding["expected"]) else int(finding["expected"]),
        }
        for label, finding in zip(findings.index.tolist(), findings.to_dict("records"), strict=True)
        if finding["life"] >= 0
    ]


def _looks() -> dict[str, dict[str, Any]]:
    """How the operations look, as in the static picture."""
    looks = {"other": OTHER}
    for op, (colour, sign, offset) in OPS.items():
        marker, size, angle, shape = MARKERS[sign]
        looks[op] = {"light": colour, "dark": _lighter(colour), "marker": marker,
                     "offset": -offset, "size": size, "angle": angle, "sign": shape}  # fmt: skip
    return looks


#: Colours with the same meaning on both pages, as on the light one.
LINES = {"pmd": PMD, "pte": PTE, "double_map": DOUBLE_MAP, "wrong": WRONG, "loss": LOSS,
         "reader": READER, "mark": MARK, "end": RACE}  # fmt: skip


def _colours() -> dict[str, dict[str, Any]]:
    """Of the light and of the dark page; ``pages``: of one, two and more mappings."""
    shades = colormaps["YlGnBu"]
    light, dark = shades(np.linspace(0.3, 1.0, COLOURS)), shades(np.linspace(0.75, 0.05, COLOURS))
    return {
        "light": LINES
        | {"name": "light", "ink": "#333940", "grid": "#dddddd", "unknown": UNKNOWN}
        | {"pages": list(map(to_hex, light))},
        "dark": {name: _lighter(colour) for name, colour in LINES.items()}
        | {"name": "dark", "ink": "#c9d1d9", "grid": "#3a4149", "unknown": "#4a4438"}
        | {"pages": list(map(to_hex, dark))},
    }


def _lighter(colour: str) -> str:
    red, green, blue = (part + LIGHTER * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))
