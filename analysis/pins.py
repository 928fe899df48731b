# SPDX-License-Identifier: GPL-2.0-or-later
"""Pins by the records: how many a folio has, and which tasks took those that were not dropped.

get_user_pages() takes references (FOLL_GET), whose end, a put_page(), is not recorded;
pin_user_pages() takes pins (FOLL_PIN), of which both ends are recorded (`record --pins`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from weakref import WeakKeyDictionary

import numpy as np

from analysis.arrays import Ints, changes, segment_cumsum
from analysis.log import Log
from analysis.plan import OP
from analysis.replay import AfterEach, Replay

#: How many are told of a folio at a mark: those who took what they hold first.
TOLD = 100

#: What one pin adds to the reference count of a page of order 0, which has no count of pins.
BIAS = 1024


def taken(log: Log, rows: Ints) -> Ints:
    """How many pins the records of some rows add; negative: how many they drop."""
    references = log.raw["mapcount"][rows].astype(np.int64) * (log.raw["entire"][rows] != 0)
    sign = (log.op[rows] == OP["pin"]).astype(np.int64) - (log.op[rows] == OP["unpin"])
    return np.asarray(references * sign)


_FOUND: WeakKeyDictionary[Replay, AfterEach] = WeakKeyDictionary()


def pincounts(run: Replay) -> AfterEach:
    """The pins of all lives of a replay; computed once.

    A folio older than the recording began with the count that its first record of a pin shows.
    """
    if run not in _FOUND:
        log, rows, count = run.log, run.rows, len(run.lives)
        slot = np.repeat(np.arange(count), np.diff(run.bounds))
        step = taken(log, rows)
        after = segment_cumsum(step, changes(slot)) if len(rows) else step
        observed, told = log.counter("pincount")
        at = np.flatnonzero(told[rows])
        at = at[changes(slot[at])] if len(at) else at
        before = np.where(log.after[rows[at]], after[at], after[at] - step[at])
        start = np.zeros(count, dtype=np.int64)
        start[slot[at]] = np.where(run.born[slot[at]], 0, observed[rows[at]] - before)
        known = run.born.copy()
        known[slot[at]] = True
        known &= np.where(run.of.anon[run.lives], log.plan.tells_pins, log.plan.tells_file_pins)
        _FOUND[run] = AfterEach(
            np.append(after + start[slot], start), np.append(known[slot], known)
        )
    return _FOUND[run]


@dataclass
class Pin:
    """References that a record took; ``left``: how many of them were not dropped.

    ``pinned``: they are pins; otherwise of FOLL_GET, and ``left`` does not count dropped ones.
    """

    row: int
    pinned: bool
    left: int


@dataclass
class Pinner:
    """References that a task took by one function, with one stack: ``left``, from ``pins``."""

    pinned: bool
    left: int = 0
    pins: deque[Pin] = field(default_factory=deque)

    @property
    def first(self) -> int:
        """The oldest record of which references are left."""
        while not self.pins[0].left:
            self.pins.popleft()
        return self.pins[0].row

    @property
    def last(self) -> int:
        """The newest one."""
        while not self.pins[-1].left:
            self.pins.pop()
        return self.pins[-1].row


class Ledger:
    """The references that records of one life took, and which of them were dropped.

    A record of a drop does not tell whose pin it is.  It is assigned to a pin of the same process,
    of the same number, the oldest: as far as there is one, in this order.
    """

    def __init__(self, log: Log, rows: Ints) -> None:
        """``rows``: the records of pins of the life, in order."""
        self._log = log
        self._rows = rows
        self._done = 0
        self._pinners: dict[tuple[int, ...], Pinner] = {}
        self._owner: dict[int, tuple[int, ...]] = {}
        # What is open by process (-1: any) and number (0: any); others may be among it.
        self._open: dict[tuple[bool, int, int], deque[Pin]] = {}

    def until(self, row: int) -> None:
        """Apply the records before a row of the log."""
        stop = int(np.searchsorted(self._rows, row))
        for at in self._rows[self._done : stop].tolist():
            log = self._log
            number, pinned = int(log.raw["mapcount"][at]), bool(log.raw["entire"][at])
            if log.op[at] == OP["pin"]:
                self._take(Pin(at, pinned, max(number, 0)))
            else:
                self._drop(pinned, int(log.pid[at]), number)
        self._done = max(self._done, stop)

    def _take(self, pin: Pin) -> None:
        log, row = self._log, pin.row
        key = int(pin.pinned), int(log.tid[row]), int(log.function[row]), int(log.aux[row])
        pinner = self._pinners.setdefault(key, Pinner(pin.pinned))
        pinner.pins.append(pin)
        pinner.left += pin.left
        self._owner[row] = key
        self._enlist(pin, 0)
        self._enlist(pin, pin.left)

    def _enlist(self, pin: Pin, number: int) -> None:
        for pid in (int(self._log.pid[pin.row]), -1):
            self._open.setdefault((pin.pinned, pid, number), deque()).append(pin)

    def _drop(self, pinned: bool, pid: int, number: int) -> None:
        while number > 0:
            places = ((pid, number), (pid, 0), (-1, number), (-1, 0))
            found = (self._first(pinned, *place) for place in places)
            pin = next((one for one in found if one), None)
            if pin is None:
                return  # older than the recording
            dropped = min(number, pin.left)
            number -= dropped
            pin.left -= dropped
            key = self._owner[pin.row]
            self._pinners[key].left -= dropped
            if not self._pinners[key].left:
                del self._pinners[key]
            if pin.left:
                self._enlist(pin, pin.left)

    def _first(self, pinned: bool, pid: int, number: int) -> Pin | None:
        """The first that is open there; what is not there any more is taken off."""
        here = self._open.get((pinned, pid, number), deque())
        while here and not (here[0].left and number in (0, here[0].left)):
            here.popleft()
        return here[0] if here else None

    def forget(self) -> None:
        """Drop all references that get_user_pages() took until now."""
        for key in [key for key, one in self._pinners.items() if not one.pinned]:
            for pin in self._pinners.pop(key).pins:
                pin.left = 0

    def pinners(self, most: int = TOLD) -> list[Pinner]:
        """The holders of references that were not dropped, first ones first, so many at most."""
        return list(islice(self._pinners.values(), most))
