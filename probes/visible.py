# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes untrusted text harmless for output: any process chooses its own name."""

from __future__ import annotations

from typing import Dict, Iterable


def visible(text: object) -> str:
    """TEXT on one line, with special characters written as escape sequences.

    These are control characters (newlines and ESC among them), those that change the direction
    of writing, those without width, and lone surrogates: all that ``str.isprintable`` rejects.
    """
    plain = str(text)
    return plain if plain.isprintable() else plain.translate(_SHOWN)


def visible_lines(lines: Iterable[str]) -> str:
    """Several lines as one text, each of them made visible."""
    return "\n".join(map(visible, lines))


class _Shown(Dict[int, str]):
    """How each character is shown, found when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if not character.isprintable():
            character = character.encode("unicode_escape").decode("ascii")
        return self.setdefault(code, character)


_SHOWN = _Shown()
