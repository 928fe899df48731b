# SPDX-License-Identifier: GPL-2.0-or-later
"""Crowds of spans and lines cost a picture no more than it can show of them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.plot.shapes import PLACES, bars, joined, uprights
from analysis.plot.style import MANY


def test_crowd_is_drawn_as_what_is_seen_of_it() -> None:
    # GIVEN fifty thousand spans, with one wide gap between them, and a long one over some of them
    begins = np.concatenate([np.linspace(0, 0.4, 25_000), np.linspace(0.6, 1, 25_000), [0.1]])
    spans = np.column_stack([begins, begins + 1e-6])
    spans[-1, 1] = 0.5
    # WHEN they and their beginnings are drawn
    ax = Figure().subplots()
    bars(ax, spans)
    uprights(ax, spans[:, 0])
    filled, lines = ax.collections
    # THEN there are as many shapes as can be told apart, and the gap is one
    boxes = sorted((path.get_extents().x0, path.get_extents().x1) for path in filled.get_paths())
    np.testing.assert_allclose(boxes, [(0, 0.5), (0.6, 1)], atol=2e-6)
    assert len(lines.get_segments()) <= PLACES + 1
    places = sorted(segment[0, 0] for segment in lines.get_segments())
    assert (places[0], places[-1]) == (0, 1) and 0.19 < max(np.diff(places)) < 0.21


def test_all_are_drawn_when_they_are_no_crowd() -> None:
    # GIVEN spans that lie on each other WHEN they are drawn THEN each one is there
    spans = np.tile([[0.0, 1.0]], (MANY, 1))
    ax = Figure().subplots()
    bars(ax, spans)
    uprights(ax, spans[:, 0])
    filled, lines = ax.collections
    assert len(filled.get_paths()) == len(lines.get_segments()) == MANY


def test_spans_that_lie_on_each_other_are_one_when_they_are_joined() -> None:
    # GIVEN spans in any order, two of which overlap WHEN they are joined THEN these are one
    spans = np.array([[5.0, 6.0], [0.0, 2.0], [1.0, 3.0]])
    assert joined(spans).tolist() == [[0, 3], [5, 6]]
    assert joined(spans[:0]).shape == (0, 2)
