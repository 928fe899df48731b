# SPDX-License-Identifier: GPL-2.0-or-later
"""Kretprobes as trace events: they have room for many tasks, and count the returns they miss.

A kretprobe keeps the return address of each task that is in the function.  One that perf makes
has room for no more tasks than CPUs, or twice as many, and nobody is told of a task for which
there was none: of a function that sleeps, as copy_huge_pmd() does, most returns would be missed
under load.  fexit needs no room; kernels before 5.17 do not have what our programs need for it.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Callable, Dict, Iterable

from probes import syscalls, tracefs

#: KRETPROBE_MAXACTIVE_MAX, the most that the kernel gives; some 64 bytes for each.
ROOM = 4096
GROUP = "mapcount"
#: The longest that is waited for what a recorder had attached to be detached.
CLOSING_SECONDS = 10.0


class Kretprobes:
    """The kretprobes of one recording; ``guard`` is told the name of each before it is made, to
    remove it if the recorder dies."""

    def __init__(self, guard: Callable[[str], None]) -> None:
        self._guard = guard
        self._names: Dict[int, str] = {}

    def attach(self, program: int, probe: int, function: str) -> int:
        """Attach a program to the return of a function, for a probe's id.

        Returns the descriptor of the link.  Raises OSError.
        """
        name = f"pid{os.getpid()}_{probe}"
        self._guard(name)
        tracefs.change_kprobes(f"r{ROOM}:{GROUP}/{name} {function}")
        self._names[probe] = name
        return syscalls.attach_tracepoint(program, tracefs.number(f"{GROUP}/{name}"))

    def missed(self) -> Dict[int, int]:
        """By probe, how many returns were missed so far because too many tasks were in it."""
        if not self._names:
            return {}
        counts = tracefs.missed()
        return {probe: counts.get(name, 0) for probe, name in self._names.items()}

    def remove(self) -> None:
        """Remove those to which nothing is attached any more."""
        remove_when_free(self._names.values())
        self._names = {}


def remove_when_free(names: Iterable[str]) -> None:
    """Remove kretprobes by their names; those to which something is attached as soon as it is not.

    A recorder that dies is detached when its descriptors are closed, each in turn.
    """
    left, until = list(names), time.monotonic() + CLOSING_SECONDS
    while left:
        left = [name for name in left if not _removed(name)]
        if not left or time.monotonic() > until:
            return
        time.sleep(0.1)


def _removed(name: str) -> bool:
    """Remove it unless something is attached to it; whether it is gone."""
    try:
        tracefs.change_kprobes(f"-:{GROUP}/{name}")
    except OSError as error:
        return error.errno != errno.EBUSY
    return True
