# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts in the cells of exported tables: names must not act on the program that opens them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.columns import category
from probes.visible import visible

#: What a spreadsheet takes for the begin of a formula.
FORMULA = ("=", "+", "-", "@")


def cell(text: str) -> str:
    """A text for a spreadsheet: control characters escaped, and never run as a formula."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def rewritten(frame: pd.DataFrame, write: Callable[[str], str]) -> pd.DataFrame:
    """The frame with WRITE applied to its texts; numbers stay numbers."""
    changed = frame.copy(deep=False)
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            old = [str(one) for one in column.cat.categories]
            new = [write(one) for one in old]
            if new != old:
                # Two that differed may be the same now.
                kept = list(dict.fromkeys(new))
                place = np.array([*map(kept.index, new), -1], dtype=np.int64)
                changed[name] = category(place[column.cat.codes.to_numpy()], kept)
        elif column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            changed[name] = column.map(lambda one: write(one) if isinstance(one, str) else one)
    return changed
