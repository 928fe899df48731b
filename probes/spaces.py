# SPDX-License-Identifier: GPL-2.0-or-later
"""Which processes share an address space: vfork() and clone(CLONE_VM) make such.

Page tables belong to the address space.  Walked once for each of its processes, every
mapping in it would be counted several times.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
from typing import Iterable, List

from probes.hold import ENDED, threads

#: kcmp(2), for which the C library has no function.
_NUMBERS = {"x86_64": 312, "aarch64": 272}
KCMP_VM = 1
#: What it says of two processes: the same, and an order that says nothing else.
_ORDER = {0: 0, 1: -1, 2: 1}


def kcmp_vm(first: int, second: int) -> int:
    """0 if two tasks share an address space, else an order.  Raises OSError: ENOSYS where the
    kernel was built without CONFIG_KCMP, ESRCH where one has ended."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    result = syscall(number, first, second, KCMP_VM, 0, 0)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return _ORDER[result]


def living_thread(pid: int) -> int:
    """A thread of a process that has an address space: its first may have ended.  0: none."""
    living = (tid for tid, one in sorted(threads(pid).items()) if one.state not in ENDED)
    return next(living, 0)


def address_spaces(pids: Iterable[int]) -> List[List[int]]:
    """The processes that have not ended, by address space.

    Raises OSError where the kernel does not tell which of them share one.
    """
    tid_of = {pid: living_thread(pid) for pid in pids}
    living = sorted(pid for pid, tid in tid_of.items() if tid)

    def compare(first: int, second: int) -> int:
        return kcmp_vm(tid_of[first], tid_of[second])

    living.sort(key=functools.cmp_to_key(compare))
    groups: List[List[int]] = []
    for pid in living:
        if groups and compare(groups[-1][0], pid) == 0:
            groups[-1].append(pid)
        else:
            groups.append([pid])
    return groups
