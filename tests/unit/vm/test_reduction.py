# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of steps made short: what is left is shown, and nothing of it can be spared."""

from collections.abc import Sequence
from itertools import combinations

import pytest

from vm.reduction import reduce


class Machine:
    """Shows something when all of NEEDED were done, in their order; counts what it was asked."""

    def __init__(self, *needed: int) -> None:
        self.needed = needed
        self.rounds = 0

    def __call__(self, lists: Sequence[tuple[int, ...]]) -> list[bool]:
        self.rounds += 1
        return [
            self.needed == tuple(step for step in steps if step in self.needed) for steps in lists
        ]


@pytest.mark.parametrize("needed", [(7,), (0, 39), (3, 4, 5), (1, 20, 21, 38)])
def test_only_what_is_needed_is_left(needed: tuple[int, ...]) -> None:
    # GIVEN forty steps, of which some are needed WHEN they are made short
    machine = Machine(*needed)
    # THEN those are left, after few rounds: each is a guest
    assert reduce(tuple(range(40)), machine) == needed
    assert machine.rounds <= 16


def test_equal_steps_are_told_apart() -> None:
    # GIVEN steps that are equal, of which two are needed
    def shows(lists: Sequence[tuple[str, ...]]) -> list[bool]:
        return [steps.count("a") >= 2 for steps in lists]

    # WHEN they are made short THEN two are left
    assert reduce(("a", "b", "a", "a", "b"), shows) == ("a", "a")


def test_nothing_can_be_spared_of_what_is_left() -> None:
    # GIVEN something that any two of four steps show, but no one alone
    def shows(lists: Sequence[tuple[int, ...]]) -> list[bool]:
        return [len({2, 3, 5, 7}.intersection(steps)) >= 2 for steps in lists]

    # WHEN the steps are made short THEN two of them are left
    left = reduce(tuple(range(10)), shows)
    assert left in tuple(combinations((2, 3, 5, 7), 2))


def test_all_is_left_where_nothing_shows_it_again() -> None:
    assert reduce((1, 2, 3), lambda lists: [False for _ in lists]) == (1, 2, 3)
