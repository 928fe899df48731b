# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours and sizes that the panels share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Dots per inch of a picture for the screen.
DPI = 110

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

#: op: (colour, marker, place within its lane).  The colours differ for eyes that lack one of
#: the three cones, and those that come in crowds also differ in shape and height.
OPS: dict[str, tuple[str, str, float]] = {
    "alloc": ("#222222", "^", 0.0),
    "map": ("#00795a", "|", 0.3),
    "dup": ("#3aa0dd", "+", 0.08),
    "unmap": ("#d55e00", "x", -0.12),
    "deferred_split": ("#7a6a00", "_", -0.32),
    "split_pmd": ("#7b4ab0", "D", 0.0),
    "migrate": ("#1f5fa8", "s", 0.0),
    "collapse": ("#6b8e23", "P", 0.0),
    "split_folio": ("#c2188f", "*", 0.0),
    "free": (RACE, "v", 0.0),
}
#: Operations that come once for each page, and whose marks are thick for a PMD mapping.
CROWDS = ("map", "dup", "unmap")
#: Shapes of one kind in a panel from which it is drawn as an image also in vector formats.
MANY = 2000
