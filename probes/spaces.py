# SPDX-License-Identifier: GPL-2.0-or-later
"""The processes that share an address space, because of vfork() or clone(CLONE_VM).

Page tables belong to the address space.  Walked once for each of its processes, every
mapping in it would be counted several times.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import Callable, Dict, Iterable, List, Optional

from probes import arch
from probes.errors import ProbeError
from probes.hold import ENDED, threads
from probes.kernel import Memory

#: Of kcmp(2), for which the C library has no function.
KCMP_VM = 1
#: What it says of two processes: the same, and an order that says nothing else.
_ORDER = {0: 0, 1: -1, 2: 1}


def kcmp_vm(first: int, second: int) -> int:
    """0 if two tasks share an address space, else an order.  Raises OSError: ENOSYS if the
    kernel was built without CONFIG_KCMP, ESRCH if a task has ended."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    result = syscall(arch.here().KCMP, first, second, KCMP_VM, 0, 0)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return _ORDER[result]


def living_thread(pid: int) -> int:
    """A thread of a process that has an address space, as the first may have ended.  0: none."""
    living = (tid for tid, one in sorted(threads(pid).items()) if one.state not in ENDED)
    return next(living, 0)


class TaskList:
    """The kernel's own list of processes, read from the kernel's memory, from one task on."""

    #: More processes than Linux can have: the list was changed under the walk.
    MOST = 1 << 22

    def __init__(self, kcore: Memory, offsets: Dict[str, int], start: int) -> None:
        self._kcore = kcore
        self._start = start
        self._at = {name: offsets[name] for name in ("tasks", "mm", "tgid")}
        self._first = min(self._at.values())
        self._size = max(self._at.values()) + 8 - self._first

    def mms(self) -> Dict[int, int]:
        """The address of each process's mm_struct; 0 for a kernel thread.  Raises OSError
        if the list cannot be read."""
        found: Dict[int, int] = {}
        task = self._next(self._start, found)
        for _ in range(self.MOST):
            if task == self._start:
                return found
            task = self._next(task, found)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _next(self, task: int, found: Dict[int, int]) -> int:
        try:
            data = self._kcore.read(task + self._first, self._size)
        except ProbeError as error:
            raise OSError(errno.ENXIO, str(error)) from None
        word = {
            name: int.from_bytes(data[at - self._first : at - self._first + 8], "little")
            for name, at in self._at.items()
        }
        found[word["tgid"] & 0xFFFFFFFF] = word["mm"]
        return word["tasks"] - self._at["tasks"]


def address_spaces(pids: Iterable[int], listed: Optional[TaskList] = None) -> List[List[int]]:
    """The processes that have not ended, by address space; ``listed``: the kernel's task list,
    used if kcmp(2) is missing.

    Raises OSError if neither shows which of them share an address space.
    """
    tid_of = {pid: living_thread(pid) for pid in pids}
    living = sorted(pid for pid, tid in tid_of.items() if tid)

    def compare(first: int, second: int) -> int:
        return kcmp_vm(tid_of[first], tid_of[second])

    try:
        return _grouped(living, compare)
    except OSError as error:
        if error.errno != errno.ENOSYS or listed is None:
            raise
    mm = listed.mms()
    if not all(mm.get(pid) for pid in living):
        # Its first thread has ended, and the others are in no list of this kind.
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
    return _grouped(living, lambda a, b: (mm[a] > mm[b]) - (mm[a] < mm[b]))


def _grouped(pids: List[int], compare: Callable[[int, int], int]) -> List[List[int]]:
    groups: List[List[int]] = []
    for pid in sorted(pids, key=functools.cmp_to_key(compare)):
        if groups and compare(groups[-1][0], pid) == 0:
            groups[-1].append(pid)
        else:
            groups.append([pid])
    return groups
