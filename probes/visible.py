# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes text that others chose harmless where it is shown: any process names itself."""

from __future__ import annotations

from typing import Dict, Iterable


def visible(text: object) -> str:
    """TEXT on one line, with whatever would act on its reader as an escape sequence in letters.

    That is control characters (newlines and ESC among them), what turns the direction of
    writing, what has no width, and lone surrogates: all that ``str.isprintable`` refuses.
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
