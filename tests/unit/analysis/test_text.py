# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers and tables as text."""

from __future__ import annotations

import pytest

from analysis.text import count, duration, table


@pytest.mark.parametrize(
    ("ns", "text"),
    [(7, "7 ns"), (1500, "1.500 µs"), (2_500_000, "2.500 ms"), (3_000_000_000, "3.000 s")],
)
def test_duration_has_a_fitting_unit_when_ns_are_many(ns: int, text: str) -> None:
    # GIVEN a number of ns WHEN it is written THEN the unit fits
    assert duration(ns) == text


def test_count_has_its_plural_when_it_is_not_one() -> None:
    # GIVEN one and two WHEN they are written THEN the noun follows
    assert count(1, "window") == "1 window"
    assert count(2, "window") == "2 windows"


def test_table_aligns_numbers_to_the_right_when_words_go_left() -> None:
    # GIVEN rows of a word and a number
    text = table(["name", "n"], [["a", 5], ["bcd", 123]])
    # WHEN the table is made THEN words begin and numbers end in line
    assert text == "name    n\na       5\nbcd   123"
