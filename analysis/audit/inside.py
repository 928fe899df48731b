# SPDX-License-Identifier: GPL-2.0-or-later
"""Which collapse a task was in at a time: a collapse is recorded by its entry and its return."""

from __future__ import annotations

from bisect import bisect_right

from analysis.plan import ENTER
from analysis.recording import Recording


class Collapses:
    """The spans of time that tasks spent in collapses."""

    def __init__(self, recording: Recording) -> None:
        log = recording.collapses
        left = {int(enter): row for row, enter in enumerate(log.enter_of.tolist()) if enter >= 0}
        #: By task: when it entered, when it returned (None: that is not told), and what.
        self._spans: dict[int, list[tuple[int, int | None, str]]] = {}
        for row in range(len(log)):
            if log.phase[row] == ENTER:
                end = int(log.ts[left[row]]) if row in left else None
                span = (int(log.ts[row]), end, recording.plan.functions[log.function[row]])
                self._spans.setdefault(int(log.tid[row]), []).append(span)

    def around(self, tid: int, ts: int) -> str:
        """The function of the collapse that a task was in at a time (ns); "": none."""
        spans = self._spans.get(tid, [])
        at = bisect_right(spans, ts, key=lambda span: span[0]) - 1
        if at < 0:
            return ""
        _, end, function = spans[at]
        return function if end is None or ts <= end else ""
