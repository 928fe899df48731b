# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours and sizes that the panels share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PMD, PTE = "#1f5fa8", "#d2691e"
DOUBLE_MAP = "#7b4ab0"
LOSS = "#9a9a9a"
RACE = "#d7191c"
READER = "#4d7ea8"
MARK = "#555555"
GRID = "#dddddd"
UNKNOWN = "#e6e0d4"
WRONG = "#ff00aa"

#: op: (colour, marker, place within its lane)
OPS: dict[str, tuple[str, str, float]] = {
    "alloc": ("#222222", "^", 0.0),
    "map": ("#2a9d4a", "|", 0.2),
    "dup": ("#00a0a8", "|", 0.2),
    "split_pmd": ("#7b4ab0", "D", 0.0),
    "unmap": ("#d2691e", "|", -0.05),
    "deferred_split": ("#8c6d46", "|", -0.3),
    "migrate": ("#1f5fa8", "s", 0.0),
    "collapse": ("#6b8e23", "s", 0.0),
    "split_folio": ("#c2188f", "*", 0.0),
    "free": (RACE, "v", 0.0),
}
#: Points of one panel from which it is drawn as an image also in vector formats.
MANY = 100_000
