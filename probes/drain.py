# SPDX-License-Identifier: GPL-2.0-or-later
"""Empties the rings into the sink of a recording, in a thread of its own.

Snapshots take seconds if many tasks are traced, and a ring may fill in a fraction of that.
Most of the time of a snapshot are system calls and compression, during which Python lets other
threads run; otherwise they run at each switch interval.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Callable, Optional, Type

from probes.events import SLOT_SIZE
from probes.ring import Rings

#: Seconds between looks at the rings: they are looked at again at once while they fill.
POLL_SECONDS = 0.005
#: A ring that is less full than this part of it is left alone for a while: a block for each of
#: many CPUs at each look would cost more than the records in it.
WORTH, WORTH_SECONDS = 64, 0.05
#: Seconds after which Python takes the processor from a thread that another one waits for.
SWITCH_SECONDS = 0.0005


class Drain:
    """A context that drains the rings in a thread; ``now`` drains them at any time.

    ``write``: called with the number of a ring, slots and their count; never in two threads at
    the same time.
    """

    def __init__(self, rings: Rings, write: Callable[[int, memoryview, int], None]) -> None:
        self.events = 0
        self._rings, self._write = rings, write
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)
        self._ended = False
        self._error: Optional[Exception] = None

    def __enter__(self) -> "Drain":
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._ended = True
        self._thread.join()

    def now(self, least: int = 0) -> int:
        """Write the complete records of the rings with at least so many bytes.  Returns how many
        records that were."""
        with self._lock:
            count = self._rings.drain(self._write, least)
            self.events += count
            return count

    def check(self) -> None:
        """Raise the exception that ended the thread, if there was one."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        worth = self._rings.size // WORTH
        everything = 0.0
        try:
            while not self._ended:
                started = time.monotonic()
                if started >= everything:
                    everything = started + WORTH_SECONDS
                    count = self.now()
                else:
                    count = self.now(worth)
                # The fuller the rings, the sooner the next look.
                if count * SLOT_SIZE < worth:
                    time.sleep(POLL_SECONDS)
        except Exception as error:
            self._error = error
