# SPDX-License-Identifier: GPL-2.0-or-later
"""The base of all pictures: figures with a title, and below it the recording that they show.

A notebook shows them; they are not registered with pyplot, so they need not be closed.
"""

from __future__ import annotations

import io
import shlex
import warnings
from typing import Any

from matplotlib.figure import Figure

from analysis.plot.labels import fitted
from analysis.recording import Recording

#: Inches from the upper edge to the title and to the line below it; their sizes in points.
TITLE_AT, LINE_AT, TITLE_SIZE, LINE_SIZE = 0.3, 0.55, 14, 9.5


class Picture(Figure):
    """The figure of a picture."""

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """As matplotlib does, without a warning for glyphs that the font lacks."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            super().savefig(*args, **kwargs)

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png")
        return data.getvalue()


def recorded(recording: Recording) -> str:
    """The kernel's release and the command line of a recording, for the line below a title."""
    words = f"Linux {recording.meta.get('kernel', {}).get('release', '?')}"
    command = shlex.join(recording.meta.get("command") or [])
    return words + (f"; recorded: {command}" if command else "")


def put_title(figure: Figure, left: float, right: float, title: str, line: str) -> None:
    """Write both above the panels; ``left``, ``right``: inches from the edges of the page."""
    width, height = figure.get_size_inches()
    figure.text(
        left / width, 1 - TITLE_AT / height, title,
        fontsize=TITLE_SIZE, fontweight="bold", va="center",
    )  # fmt: skip
    figure.text(
        left / width, 1 - LINE_AT / height, fitted(line, (width - left - right) * 72, LINE_SIZE),
        fontsize=LINE_SIZE, color="#444444", va="center",
    )  # fmt: skip
