# SPDX-License-Identifier: GPL-2.0-or-later
"""Many spans or lines drawn as one shape, and as an image where there are too many."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.plot.style import MANY, Floats


def bars(ax: Axes, spans: Floats, bottom: float = 0.0, top: float = 1.0, **style: Any) -> None:
    """Fill spans of time (rows: from, to) between two heights of the panel."""
    if len(spans):
        ax.broken_barh(
            np.stack([spans[:, 0], spans[:, 1] - spans[:, 0]], axis=1).tolist(),
            (bottom, top - bottom), transform=ax.get_xaxis_transform(),
            rasterized=len(spans) > MANY, **style,
        )  # fmt: skip


def uprights(ax: Axes, x: Floats, bottom: float = 0.0, top: float = 1.0, **style: Any) -> None:
    """Draw upright lines at places in time between two heights of the panel."""
    if len(x):
        ax.vlines(
            x, bottom, top, transform=ax.get_xaxis_transform(), rasterized=len(x) > MANY, **style
        )
