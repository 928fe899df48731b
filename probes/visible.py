# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes text that others chose harmless where it is shown: any process names itself."""

from __future__ import annotations

from typing import Iterable


def visible(text: object) -> str:
    """TEXT on one line, with whatever would act on its reader as an escape sequence in letters.

    That is control characters (newlines and ESC among them), what turns the direction of
    writing, what has no width, and lone surrogates: all that ``str.isprintable`` refuses.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(one if one.isprintable() else _spelled(one) for one in plain)


def visible_lines(lines: Iterable[str]) -> str:
    """Several lines as one text, each of them made visible."""
    return "\n".join(map(visible, lines))


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
