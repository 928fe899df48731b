# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace piece by piece, so that the whole need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.arrays import Ints
from analysis.trace import Trace


def pieces(trace: Trace, ordered: bool = False) -> Iterator[tuple[Trace, Ints]]:
    """The parts of a trace, and the number of each of their lives in ``df_lives``.

    The last element is nobody's number, -1, as -1 is nobody.
    ORDERED: their logs know the place of each record in the order of the whole.
    """
    known: dict[str, int] = {}
    for part, place in trace.parts():
        if part is trace:
            yield part, np.append(np.arange(len(part.lives)), -1)
            return
        if not known:
            known = {life: number for number, life in enumerate(trace.life_ids)}
        if ordered:
            part.log.rank = trace.order.rank[place]
            part.log.following = trace.order.following[place]
        yield part, np.array([*(known[life] for life in part.life_ids), -1], dtype=np.int64)
