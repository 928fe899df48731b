# SPDX-License-Identifier: GPL-2.0-or-later
"""The width of a text, clipping it to a width, and finding free space for it in a panel."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

from analysis.plot.style import DPI
from probes.visible import visible

#: What would begin mathematics.
DOLLAR = re.compile(r"(?<!\\)\$")
#: Letters of a text that are looked at, however long it is.
LONGEST = 400
#: Height of a line of text, as a share of the size of its letters; points around a text.
LINE, PAD = 1.35, 3.0
#: Points between a mark's line and its name.
BESIDE = 4.0
#: Points to the next line from which a name is worth cutting short.
SHORTEST = 45.0

#: Left, bottom, right and top of a text in points.
Box = tuple[float, float, float, float]


#: Dots per inch of a screen, where letters begin at whole dots, and of paper.
RESOLUTIONS = (DPI, 720)


@lru_cache(maxsize=len(RESOLUTIONS))
def _renderer(dpi: int) -> Any:
    return RendererAgg(1, 1, dpi)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=4096)
def width(text: str, size: float, bold: bool = False) -> float:
    """Points that the widest line of a text takes, in any output format."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    with warnings.catch_warnings():
        # A glyph that the font lacks is drawn as a box, and as wide as one.
        warnings.simplefilter("ignore")
        points = [
            _renderer(dpi).get_text_width_height_descent(line, font, False)[0] * 72 / dpi
            for line in text[:LONGEST].split("\n")
            for dpi in RESOLUTIONS
        ]
    return float(max(points))


def fitted(text: str, room: float, size: float, bold: bool = False) -> str:
    """The text, shortened with an ellipsis if it is wider than ``room`` points.

    It may contain names chosen by users: it is made visible, and dollars are no mathematics.
    """
    return DOLLAR.sub(r"\\$", _cut_short(visible(text), room, size, bold))


def _cut_short(text: str, room: float, size: float, bold: bool) -> str:
    if len(text) <= LONGEST and width(text, size, bold) <= room:
        return text
    low, high = 0, min(len(text), LONGEST)
    while low < high:
        middle = (low + high + 1) // 2
        if width(text[:middle] + "…", size, bold) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def wrapped(text: str, room: float, size: float, lines: int, bold: bool = False) -> str:
    """The text in at most so many lines of ``room`` points, the last one shortened."""
    found = [""]
    for word in visible(text)[:LONGEST].split(" "):
        longer = f"{found[-1]} {word}".lstrip()
        if not found[-1] or width(longer, size, bold) <= room:
            found[-1] = longer
        else:
            found.append(word)
    if len(found) > lines:
        found = [*found[: lines - 1], " ".join(found[lines - 1 :])]
    return "\n".join(fitted(line, room, size, bold) for line in found)


def size_of(text: str, size: float, bold: bool = False) -> tuple[float, float]:
    """Width and height of a text, with a margin."""
    return width(text, size, bold) + 2 * PAD, (text.count("\n") + 1) * size * LINE + 2 * PAD


@dataclass
class Panel:
    """One panel, and the areas ``taken`` by text; positions are in points from its corner."""

    ax: Axes
    limits: tuple[float, float]
    taken: list[Box] = field(default_factory=list)
    #: Other axes of the same panel that are drawn first; the grid is theirs.
    under: Axes | None = None

    @property
    def width(self) -> float:
        """Points from left to right."""
        return float(self.ax.get_window_extent().width * 72 / self.ax.figure.dpi)

    @property
    def height(self) -> float:
        """Points from bottom to top."""
        return float(self.ax.get_window_extent().height * 72 / self.ax.figure.dpi)

    def points(self, x: float) -> float:
        """The position of a place on the time axis, in points from the left."""
        low, high = self.limits
        return (x - low) / (high - low) * self.width

    def keep_free(self, x: float, share: float) -> None:
        """Keep texts away from what is drawn at a place and a share of the height."""
        left, bottom = self.points(x), share * self.height
        self.taken.append((left - 7, bottom - 7, left + 7, bottom + 7))

    def is_free(self, box: Box) -> bool:
        """Whether an area is inside the panel and free of other texts."""
        left, bottom, right, top = box
        inside = left >= 0 and bottom >= 0 and right <= self.width and top <= self.height
        return inside and not any(
            left < r and right > le and bottom < t and top > b for le, b, r, t in self.taken
        )

    def write(
        self, text: str, corners: Iterable[tuple[float, float]], size: float, colour: str,
        bold: bool = False, target: Any = None, **style: Any,
    ) -> bool:  # fmt: skip
        """Write a text at the first of some positions (its lower left corner) that is free.

        ``target``: (x, y, transform) of the end of an arrow.
        """
        wide, high = size_of(text, size, bold)
        for left, bottom in corners:
            box = (left, bottom, left + wide, bottom + high)
            if not self.is_free(box):
                continue
            self.taken.append(box)
            x, y, space = target or (left + PAD, bottom + high / 2, "axes points")
            arrow = {"arrowstyle": "->", "color": colour, "lw": 1.2} if target else None
            frame = {"facecolor": "white", "edgecolor": "none", "pad": PAD - 1, "alpha": 0.85}
            self.ax.annotate(
                text, (x, y), xycoords=space, xytext=(left + PAD, bottom + high / 2),
                textcoords="axes points", ha="left", va="center", fontsize=size, color=colour,
                fontweight="bold" if bold else "normal", zorder=10, annotation_clip=False,
                bbox=frame | style, arrowprops=arrow,
            )  # fmt: skip
            return True
        return False

    def around(self, text: str, x: float, size: float, bold: bool = False) -> list[Any]:
        """Positions for a text beside ``x`` (points): the nearest first, from the top down."""
        wide, high = size_of(text, size, bold)
        beside = [x + 24, x - 24 - wide, x - wide / 2, 0.0, self.width - wide]
        rows = np.arange(self.height - high - 2, 0, -high / 3).tolist()
        return [(min(max(left, 0), self.width - wide), row) for left in beside for row in rows]


@dataclass(frozen=True)
class Flag:
    """A name at a place in time; ``x`` in points, ``row`` from the bottom; ``left`` of its line."""

    x: float
    name: str
    colour: str
    row: int = 0
    left: bool = False

    def span(self, size: float) -> tuple[float, float]:
        """The left and right end of its name."""
        wide = BESIDE + width(self.name, size) + 2
        return (self.x - wide, self.x - 1) if self.left else (self.x + 1, self.x + wide)


def _clash(one: Flag, other: Flag, size: float) -> bool:
    """Whether a name lies on the other, or the line of one runs through the other's name."""
    (a, b), (c, d) = one.span(size), other.span(size)
    if one.row == other.row and a < d + 4 and b > c - 4:
        return True
    return (a < other.x < b and other.row >= one.row) or (c < one.x < d and one.row >= other.row)


def _spots(
    flag: Flag, found: Sequence[Flag], width: float, rows: int, size: float
) -> Iterator[Flag]:
    """Where a name may go: beside its line or, cut short, up to the next line."""
    # To the left only where the page ends: there it is in the way of the names before it.
    left = flag.span(size)[1] > width
    yield from (replace(flag, row=row, left=left) for row in range(rows))
    room = min((other.x - flag.x for other in found if other.x > flag.x), default=0.0)
    if room >= SHORTEST:
        short = fitted(flag.name, room - BESIDE - 4, size)
        yield from (replace(flag, name=short, row=row) for row in range(rows))


def placed(
    flags: Iterable[Flag], room: float, rows: int, size: float, fixed: Sequence[Flag] = ()
) -> list[Flag]:
    """The flags that are ``fixed``, and those of ``flags`` that fit beside them into so many rows.

    From right to left each takes the lowest row that is free, and lies above the names that
    follow it: no line crosses a name.
    """
    found = list(fixed)
    for flag in flags:
        for spot in _spots(flag, found, room, rows, size):
            begin, end = spot.span(size)
            inside = begin >= 0 and end <= room
            if inside and not any(_clash(spot, other, size) for other in found):
                found.append(spot)
                break
    return found
