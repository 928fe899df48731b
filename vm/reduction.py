# SPDX-License-Identifier: GPL-2.0-or-later
"""Reduces a list of steps to the fewest that still show something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

#: How many lists a round begins with: the boot of its guest costs as much as some tests.
PARTS = 8
Step = TypeVar("Step")
#: Says of each of some lists whether it shows what is looked for.
Shows = Callable[[Sequence[tuple[Step, ...]]], Sequence[bool]]


def reduce(steps: tuple[Step, ...], shows: Shows[Step]) -> tuple[Step, ...]:
    """A minimal list of STEPS: without any single step of it nothing is shown.

    This is delta debugging (Zeller's ddmin), which leaves out smaller and smaller parts.  All lists
    of a round are tested at once.
    """
    kept = list(range(len(steps)))
    parts = PARTS

    def tested(lists: Sequence[list[int]]) -> Sequence[bool]:
        return shows([tuple(steps[at] for at in places) for places in lists])

    while len(kept) > 1:
        parts = min(parts, len(kept))
        lists = [_without(kept, part, parts) for part in range(parts)]
        good = [some for some, shown in zip(lists, tested(lists), strict=True) if shown]
        if good:
            # What each of them can do without, all together often can.
            both = [at for at in kept if all(at in some for some in good)]
            together = len(good) > 1 and both and tested([both])[0]
            kept = both if together else good[0]
            parts = PARTS
        elif parts == len(kept):
            break
        else:
            parts *= 2
    return tuple(steps[at] for at in kept)


def _without(places: list[int], part: int, parts: int) -> list[int]:
    start, end = (len(places) * at // parts for at in (part, part + 1))
    return [*places[:start], *places[end:]]
