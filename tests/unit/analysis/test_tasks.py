# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of threads over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import analysis
from analysis.tasks import TaskNames
from tests.mock import MockTrace


def test_names_are_those_of_their_time_when_more_are_learnt(tmp_path: Path) -> None:
    # GIVEN the names of the start, which were asked for already
    names = TaskNames([(100, 100, "first")])

    def at(*times: int) -> list[str]:
        codes, known = names.at(np.array(times), np.full(len(times), 100))
        return [known[code] for code in codes.tolist()]

    assert at(0, 1 << 60) == ["first", "first"]
    # WHEN the records tell that a thread got another one
    trace = MockTrace()
    trace.task_rename(100, "second")
    log = analysis.open_trace(str(trace.write(tmp_path / "t.mapcount"))).log
    names.learn(log)
    # THEN it has each at its time, and another thread has none
    renamed = int(log.ts[0])
    assert at(renamed - 1, renamed) == ["first", "second"]
    codes, known = names.at(np.array([renamed]), np.array([7]))
    assert known[int(codes[0])] == "?"
