# SPDX-License-Identifier: GPL-2.0-or-later
"""The difference between the clock of the kernel's messages and CLOCK_MONOTONIC.

printk stamps a message with local_clock(), which is not CLOCK_MONOTONIC: both count from
boot, but have different starts and drift.  A message of our own, with CLOCK_MONOTONIC read
before and after, shows the difference at that moment.
"""

from __future__ import annotations

import os
import time
from typing import Any, Dict

#: The kernel allows ten messages in five seconds.
TRIES = 3
#: <7>: debug, so that a console that is slow does not print it.
MESSAGE = b"<7>mapcount: %d sets its clock\n"


def printk_clock(path: str = "/dev/kmsg") -> Dict[str, Any]:
    """``printk_ns`` and ``monotonic_ns`` of the same moment, exact to ``within_ns``.

    Raises OSError if messages cannot be written or read.
    """
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return min((_compare(fd) for _ in range(TRIES)), key=lambda found: int(found["within_ns"]))
    finally:
        os.close(fd)


def _compare(fd: int) -> Dict[str, Any]:
    mine = MESSAGE % os.getpid()
    os.lseek(fd, 0, os.SEEK_END)
    before = time.monotonic_ns()
    os.write(fd, mine)
    after = time.monotonic_ns()
    text = mine[3:].strip()
    # One message a read: "priority,number,microseconds,flags;text".
    while message := os.read(fd, 8192):
        head, _, found = message.partition(b";")
        if found.startswith(text):
            # A stamp stands for the whole microsecond.
            return {
                "printk_ns": int(head.split(b",")[2]) * 1000 + 500,
                "monotonic_ns": (before + after) // 2,
                "within_ns": (after - before) // 2 + 500,
            }
    raise OSError("our own message did not come back")
