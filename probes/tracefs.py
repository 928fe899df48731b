# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace events by tracefs: their numbers, and the offsets of their fields."""

from __future__ import annotations

import re
from typing import Dict, Tuple

EVENTS = "/sys/kernel/tracing/events"
_FIELD = re.compile(r"field:[^;]*?(\w+)(?:\[\d*\])?;\s*offset:(\d+);\s*size:(\d+);")


def _read(event: str, name: str) -> str:
    with open(f"{EVENTS}/{event}/{name}") as file:
        return file.read()


def number(event: str) -> int:
    """perf's number of an event such as "kmem/mm_page_free".  Raises OSError if tracefs is not
    mounted, or has no such event."""
    return int(_read(event, "id"))


def fields(event: str) -> Dict[str, Tuple[int, int]]:
    """(offset, size) of each of its fields, by name.  Raises OSError as ``number`` does."""
    found = _FIELD.findall(_read(event, "format"))
    return {name: (int(offset), int(size)) for name, offset, size in found}
