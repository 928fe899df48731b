# SPDX-License-Identifier: GPL-2.0-or-later
"""Columns of numbers as one compressed text, and an index from which a script finds each."""

from __future__ import annotations

import base64
import gzip

import numpy as np
import numpy.typing as npt

#: Types that a script has arrays of, smallest first; the last holds every time in ns of a century.
TYPES = ("i1", "i2", "i4", "f8")


class Columns:
    """Collects columns; ``index`` has of each: type, first byte, length, and whether it has steps.

    A column of steps has the differences between successive numbers, which are small for
    ascending numbers and compress well.
    """

    def __init__(self) -> None:
        self.index: dict[str, tuple[str, int, int, bool]] = {}
        self._kept: list[bytes] = []
        self._size = 0

    def add(self, name: str, values: npt.ArrayLike, steps: bool = False) -> None:
        """Add a column of whole numbers."""
        column = np.asarray(values).astype(np.int64)
        if steps:
            column = np.diff(column, prepend=0)
        low, high = int(column.min(initial=0)), int(column.max(initial=0))
        fits = (kind for kind in TYPES[:-1] if _holds(kind, low, high))
        kind = next(fits, TYPES[-1])
        kept = column.astype(f"<{kind}").tobytes()
        self.index[name] = (kind, self._size, len(column), steps)
        self._kept.append(kept)
        self._size += len(kept)

    def text(self) -> str:
        """All columns, compressed."""
        return packed(b"".join(self._kept))


def packed(content: bytes) -> str:
    """Bytes, compressed, as a text that the page's script unpacks."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _holds(kind: str, low: int, high: int) -> bool:
    info = np.iinfo(kind)
    return bool(info.min <= low and high <= info.max)
