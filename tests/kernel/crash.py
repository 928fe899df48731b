# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in a guest, recorded: work that reaches the host, work that stays in the ring, a crash.

The recorder, which is the parent, is stopped before the second half: what comes then can
reach the host only out of the dead guest's memory.
"""

import ctypes
import mmap
import os
import signal
import sys
import time

HUGE = 2 << 20
ROUNDS = 20


def work():
    """Map a huge page, and give it back."""
    region = mmap.mmap(-1, 2 * HUGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(region)) % HUGE
    region.madvise(mmap.MADV_HUGEPAGE, start, HUGE)
    region[start] = 1
    region.close()


def mark(name):
    """Write a mark in a child, which stops there: nobody will continue it."""
    pid = os.fork()
    if pid == 0:
        with open("/sys/kernel/tracing/trace_marker", "w") as file:
            file.write(f"mapcount: {name}")
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)


end = time.monotonic() + 3
while time.monotonic() < end:
    work()
if sys.argv[1:] == ["wait"]:
    # For the test that kills the whole guest.
    while True:
        work()
time.sleep(0.5)
os.kill(os.getppid(), signal.SIGSTOP)
for _ in range(ROUNDS):
    work()
mark("last words")
with open("/proc/sysrq-trigger", "w") as file:
    file.write("c")
