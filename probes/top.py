# SPDX-License-Identifier: GPL-2.0-or-later
"""The live view: records are counted by folio instead of written to a file.

Each record is read in Python here, which the recorder never does: on a busy machine the rings
overflow sooner, and the losses are shown.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from probes import cli
from probes.events import (
    BIT_ANON,
    BIT_HUGETLB,
    BIT_UNREAD,
    MARK_FIRST,
    MARK_NAMED,
    OWNER,
    RECORD,
    RING_HEADER_SIZE,
    SLOT_SIZE,
    TASK_NEW,
    TEXT_OFFSET,
    TEXT_SIZE,
)
from probes.record import Recording, Request, end_of, require_root
from probes.say import say
from probes.tasks import Command
from probes.tracefile import BlockType, Payload
from probes.visible import visible

#: Operations after which a folio is none any more.
ENDS = ("free", "split_folio")
#: Lines of the screen that are no folio's: the summary, an empty one, the column heads, the cursor.
OTHER_LINES = 4
#: Folios shown where the output is no terminal.
ROWS = 20
CLEAR = "\x1b[H\x1b[J"
HEADS = ("HEAD", "ORDER", "KIND", "PMD", "PTE", "PAGE", "REFS", "EVENTS/S", "LAST", "TASK")


@dataclass
class Folio:
    """The values of a folio's last record, and the number of records since the last refresh."""

    events: int = 0
    function: str = ""
    #: order, bits, mapcount, entire, large, refcount, tid
    last: Tuple[int, ...] = (0,) * 7

    def cells(self, head: int, seconds: float, sums: bool, names: Dict[int, str]) -> List[str]:
        """A line of the table; SUMS: the kernel keeps the number of all mappings."""
        order, bits, mapcount, entire, large, refcount, tid = self.last
        kind = "hugetlb" if bits & BIT_HUGETLB else "anon" if bits & BIT_ANON else "file"
        pmd = str(entire + 1) if order else "-"
        pte = str(large - entire) if order and sums else "-"
        rate, task = f"{self.events / seconds:.0f}", visible(f"{names.get(tid, '?')}/{tid}")
        return [
            *(f"{head:#x}", str(order), kind, pmd, pte, str(mapcount + 1), str(refcount)),
            *(rate, visible(self.function), task),
        ]


class Tally:
    """Takes the blocks of a recording like a trace file's ``Writer``, and counts their records."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # records come in a thread of their own
        self.release = ""
        self.lost = 0
        self.new = 0  # events since the last look
        self._sums = False
        self._ops: Dict[int, Tuple[str, str]] = {}
        self._names: Dict[int, str] = {0: "swapper"}
        self._folios: Dict[int, Folio] = defaultdict(Folio)

    def json(self, type_: BlockType, value: Any, count: int = 1, compress: bool = False) -> None:
        """Take the plan from the header, and the losses."""
        if type_ == BlockType.HEADER:
            self.release = value["kernel"]["release"]
            self._sums = "large_mapcount" in value["counters"]
            self._ops = {one["id"]: (one["op"], one["function"]) for one in value["plan"]}
        elif type_ == BlockType.TASKS:
            self._names.update((tid, comm) for tid, _, comm in value)
        elif type_ == BlockType.LOSS:
            self.lost += sum(lost for _, _, lost in value["lost"])

    def block(
        self,
        type_: BlockType,
        payload: Payload,
        count: int = 0,
        compress: bool = False,
        *,
        ring: int = 0,
    ) -> None:
        """Count the records of a block."""
        if type_ == BlockType.EVENTS:
            with self._lock:
                self._count(memoryview(payload))

    def beat(self) -> None:
        """Do nothing: no reader follows this."""

    def _count(self, data: memoryview) -> None:
        for at in range(RING_HEADER_SIZE, len(data), SLOT_SIZE):
            (_, _, _, probe, tid, _, pfn, mapcount, entire, _, large, refcount, _, _, _, order,
             bits) = RECORD.unpack_from(data, at)  # fmt: skip
            self.new += 1
            if probe == OWNER:
                continue
            if probe >= MARK_FIRST:
                text = data[at + TEXT_OFFSET : at + TEXT_OFFSET + TEXT_SIZE]
                self._learn(probe, tid, pfn, text)
                continue
            op, function = self._ops.get(probe, ("", ""))
            if not pfn or bits & BIT_UNREAD:
                continue
            head = pfn >> order << order
            if op in ENDS:
                self._folios.pop(head, None)
                continue
            folio = self._folios[head]
            folio.events += 1
            folio.function = function
            folio.last = (order, bits, mapcount, entire, large, refcount, tid)

    def _learn(self, probe: int, tid: int, child: int, text: memoryview) -> None:
        if probe == MARK_NAMED:
            return
        name = bytes(text).split(b"\0")[0].decode(errors="replace")
        self._names[child & 0xFFFFFFFF if probe == TASK_NEW else tid] = name

    def screen(self, seconds: float, rows: int) -> str:
        """The last SECONDS: a summary, and the ROWS busiest folios."""
        with self._lock:
            return self._screen(seconds, rows)

    def _screen(self, seconds: float, rows: int) -> str:
        busiest = sorted(self._folios.items(), key=lambda item: -item[1].events)
        lines = [list(HEADS)] if busiest else []
        lines += [
            folio.cells(head, seconds, self._sums, self._names) for head, folio in busiest[:rows]
        ]
        widths = [max((len(line[at]) for line in lines), default=0) for at in range(len(HEADS))]
        summary = (
            f"mapcount top: {visible(self.release)}: {self.new / seconds:.0f} events/s, "
            f"{self.lost} lost, {len(self._folios)} folios and pages"
        )
        for folio in self._folios.values():
            folio.events = 0
        self.new = 0
        return "\n".join([summary, "", *(_line(line, widths) for line in lines)])


def _line(cells: List[str], widths: List[int]) -> str:
    """Numbers to the right; the names, at the end, to the left."""
    padded = [
        cell.rjust(widths[at]) if at < len(cells) - 2 else cell.ljust(widths[at])
        for at, cell in enumerate(cells)
    ]
    return "  ".join(padded).rstrip()


class Top(Recording):
    """A recording that is shown live."""

    def __init__(self, request: Request, delay: float) -> None:
        self.tally = Tally()
        super().__init__(request, self.tally)
        self._delay = delay
        self._shown = time.monotonic()

    def _look_for_end(self, command: Optional[Command], now: float, deadline: float) -> None:
        super()._look_for_end(command, now, deadline)
        if self.end or now - self._shown >= self._delay:
            self._show(now)

    def _show(self, now: float) -> None:
        terminal = sys.stdout.isatty()
        rows = shutil.get_terminal_size().lines - OTHER_LINES if terminal else ROWS
        text = self.tally.screen(max(now - self._shown, 1e-3), max(rows, 1))
        cli.result(f"{CLEAR}{text}" if terminal else f"{text}\n", at_once=True)
        self._shown = now


def top(request: Request, delay: float) -> int:
    """Show the busiest folios every DELAY seconds.  Returns the exit status.

    Raises ProbeError if recording cannot begin.
    """
    command = Command(list(request.command)) if request.command else None
    try:
        require_root()
        shown = Top(request, delay)
        shown.prepare()
        shown.run(command)
        shown.finish()
    finally:
        status = command.end() if command else None
    say(shown.told())
    return end_of(shown, status)
