# SPDX-License-Identifier: GPL-2.0-or-later
"""A real-time priority for the recorder: a ring fills while the recorder waits for a CPU."""

from __future__ import annotations

import os
from typing import Optional

#: Above what an ordinary user runs, below the kernel's own threads for interrupts (50).
PRIORITY = 10


def ask() -> Optional[str]:
    """Set SCHED_FIFO for the calling thread, and for those that it starts from now on.

    Returns why the kernel refused it, if it did: even root may not use it in a cgroup without a
    share of the real-time bandwidth (CONFIG_RT_GROUP_SCHED), or without CAP_SYS_NICE.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError as error:
        return error.strerror
    return None


def refusal() -> Optional[str]:
    """Why the kernel would refuse it, if it would; the caller's priority is not changed."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    why = ask()
    if why is None:
        os.sched_setscheduler(0, policy, parameter)
    return why
