# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders the recorder's reads of memory that BPF programs write on other CPUs.

Python has no loads with acquire semantics.  Where a processor reorders loads, membarrier(2) is the
fence: MEMBARRIER_CMD_GLOBAL_EXPEDITED executes smp_mb() on the CPU that calls it (and does nothing
where one CPU is online, to which its own accesses are in order).
"""

from __future__ import annotations

from probes import arch, syscalls

_GLOBAL_EXPEDITED = 1 << 1


def fence() -> None:
    """A full memory barrier: reads before it are done before reads and writes after it."""
    number = arch.here().MEMBARRIER
    if number is not None:
        syscalls.membarrier(number, _GLOBAL_EXPEDITED)
