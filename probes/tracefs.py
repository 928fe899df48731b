# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace events by tracefs: their numbers, the offsets of their fields, and kprobes as events."""

from __future__ import annotations

import errno
import os
import re
from typing import Dict, Tuple

TRACEFS = "/sys/kernel/tracing"
EVENTS = f"{TRACEFS}/events"
NOT_MOUNTED = f"tracefs is not mounted: mount -t tracefs tracefs {TRACEFS}"
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


def change_kprobes(line: str) -> None:
    """Make or remove an event of a kprobe, by a line of the file kprobe_events.  Raises OSError."""
    path = f"{TRACEFS}/kprobe_events"
    if not os.path.exists(path):
        raise OSError(errno.ENOENT, NOT_MOUNTED)
    # Neither truncated, which removes everybody's, nor sought in, as open() does to append.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


def missed() -> Dict[str, int]:
    """By name of a kprobe's event, how often it was missed.  Raises OSError."""
    with open(f"{TRACEFS}/kprobe_profile") as file:
        return {name: int(missed) for name, _, missed in map(str.split, file)}
