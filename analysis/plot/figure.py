# SPDX-License-Identifier: GPL-2.0-or-later
"""A figure that a notebook shows, and of which pyplot does not know: nothing has to be closed."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """One of ours."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png")
        return data.getvalue()
