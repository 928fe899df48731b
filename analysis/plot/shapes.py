# SPDX-License-Identifier: GPL-2.0-or-later
"""Many spans or lines drawn as one shape, or as an image if there are too many."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.plot.style import MANY, Floats

#: Places in time that no picture tells apart any more.
PLACES = 4_000


def joined(spans: Floats) -> Floats:
    """The same spans; those that overlap or have no visible gap between them are merged."""
    if len(spans) == 0:
        return spans
    low, high = spans[np.argsort(spans[:, 0])].T
    reach = np.maximum.accumulate(high)
    apart = low[1:] > reach[:-1] + (reach[-1] - low[0]) / PLACES
    first = np.flatnonzero(np.concatenate([[True], apart]))
    return np.column_stack([low[first], reach[np.append(first[1:], len(low)) - 1]])


def told_apart(x: Floats) -> Floats:
    """Those of some places in time that are distinct in the picture."""
    if len(x) <= MANY:
        return x
    step = max(float(np.ptp(x)) / PLACES, np.finfo(float).tiny)
    _, place = np.unique(np.floor((x - x.min()) / step), return_index=True)
    return np.asarray(x[place])


def bars(ax: Axes, spans: Floats, bottom: float = 0.0, top: float = 1.0, **style: Any) -> None:
    """Fill spans of time (rows: from, to) between two heights of the panel."""
    spans = joined(spans) if len(spans) > MANY else spans
    if len(spans):
        ax.broken_barh(
            np.stack([spans[:, 0], spans[:, 1] - spans[:, 0]], axis=1).tolist(),
            (bottom, top - bottom), transform=ax.get_xaxis_transform(),
            rasterized=len(spans) > MANY, **style,
        )  # fmt: skip


def uprights(ax: Axes, x: Floats, bottom: float = 0.0, top: float = 1.0, **style: Any) -> None:
    """Draw vertical lines at places in time between two heights of the panel."""
    x = told_apart(x)
    if len(x):
        ax.vlines(
            x, bottom, top, transform=ax.get_xaxis_transform(), rasterized=len(x) > MANY, **style
        )
