# SPDX-License-Identifier: GPL-2.0-or-later
"""When a record's CPU or task is known to have come further."""

import numpy as np

from analysis.time_order import following


def next_rows(cpus: list[int], tids: list[int]) -> list[int]:
    return following(np.array(cpus, np.uint16), np.array(tids, np.uint32)).tolist()


def test_following_when_a_task_goes_on_elsewhere() -> None:
    # GIVEN a task that records on CPU 0, and next on CPU 1, while nobody else runs on CPU 0
    # THEN the first record is followed by the second
    assert next_rows([0, 1, 1], [7, 7, 8]) == [1, 2, 3]


def test_following_when_the_cpu_runs_another_task_sooner() -> None:
    # GIVEN the same task, but another one on CPU 0 in between THEN that one follows
    assert next_rows([0, 0, 1], [7, 8, 7]) == [1, 3, 3]


def test_following_when_cpus_are_idle() -> None:
    # GIVEN interrupts of two CPUs that were idle THEN they are not of one task
    assert next_rows([0, 1, 0], [0, 0, 0]) == [2, 3, 3]
