# SPDX-License-Identifier: GPL-2.0-or-later
"""One finding of an audit, before names and times are put to its records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A breach of a rule.

    ``rows``: the records that show it, in time order.  ``actor``: the record of whoever
    did it, ``other`` that of the second party (who freed what was looked at); -1: nobody.
    ``doubt``: why it is only possible and what would make it certain; empty: certain.
    ``words``: a sentence in which {actor}, {other} and {function} stand for names, and
    {event[N]} for the record N; what others have named goes through ``plain``.
    ``expected`` and ``observed`` are logical values of ``counter``, if there is one;
    ``seen``: when (ns) a snapshot observed it; None: the last of the records did.
    """

    rule: str
    life: int
    pfn: int
    rows: tuple[int, ...]
    actor: int
    words: str
    other: int = -1
    doubt: str = ""
    counter: str = ""
    expected: int | None = None
    observed: int | None = None
    seen: int | None = None


def plain(text: str) -> str:
    """A text that stands for itself in the words of a finding."""
    return text.replace("{", "{{").replace("}", "}}")
