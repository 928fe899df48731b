# SPDX-License-Identifier: GPL-2.0-or-later
"""One finding of an audit, before names and times are put to its records."""

from __future__ import annotations

from dataclasses import dataclass

#: More ranges of pages than these are not written out.
MOST_RANGES = 4


@dataclass(frozen=True)
class Finding:
    """A breach of a rule.

    ``rows``: the records that show it, in time order.  ``actor``: the record of the task that
    did it, ``other`` that of the second task (which freed the page that was read); -1: none.
    ``doubt``: why it is only possible and what would make it certain; empty: certain.
    ``words``: a sentence in which {actor}, {other} and {function} stand for names, and
    {event[N]} for the record N; names chosen by users go through ``plain``.
    ``expected`` and ``observed`` are logical values of ``counter``, if there is one;
    ``seen``: when (ns) a snapshot observed it; None: the last of the records did.
    ``inside``: the function that did it, by its entry and return, if it has no record of a page.
    ``pid``: the process whose files in /proc show it, if there is no actor; -1: none.
    ``died``: the kernel died in it.
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
    pid: int = -1
    inside: str = ""
    died: bool = False


def plain(text: str) -> str:
    """A text with its braces escaped, for the words of a finding."""
    return text.replace("{", "{{").replace("}", "}}")


def pages_text(pages: tuple[int, ...]) -> str:
    """Some pages of a folio in words."""
    listed = sorted(pages)
    ends = [at for at, page in enumerate(listed) if listed[at + 1 : at + 2] != [page + 1]]
    begins = [0, *(end + 1 for end in ends[:-1])]
    if len(ends) > MOST_RANGES:
        return f"{len(listed)} pages between {listed[0]} and {listed[-1]}"
    ranges = [
        f"{listed[begin]} to {listed[end]}" if begin < end else f"{listed[begin]}"
        for begin, end in zip(begins, ends, strict=True)
    ]
    return f"page{'s' * (len(listed) > 1)} {' and '.join(ranges)}"
