# SPDX-License-Identifier: GPL-2.0-or-later
"""What all pictures are: figures that tell of which recording they are.

A notebook shows them, and pyplot does not know of them: nothing has to be closed.
"""

from __future__ import annotations

import io
import shlex
import warnings
from typing import Any

from matplotlib.figure import Figure

from analysis.recording import Recording


class Picture(Figure):
    """One of ours."""

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """As matplotlib does; a glyph that the font lacks is a box, and no warning."""
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
