# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops tasks while their page tables are walked.

An mremap() changes no map count and moves a mapping past the walk; an munmap() or a fork
changes mappings that are not read yet.  So every traced task is stopped: with --cgroup by the
freezer of the cgroup, which no other process notices, else by SIGSTOP.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Type

from probes.guardian import Guardian, thaw

#: How long tasks may take to come to rest.
HOLD_SECONDS = 5.0
#: A task that sleeps in the kernel and did not run for so long is taken to be at rest.
QUIET_SECONDS = 0.1
POLL_SECONDS = 0.001

#: States of /proc/PID/status: stopped, stopped by a tracer, and ended.
STOPPED, ENDED = ("T", "t"), ("Z", "X")


class Look(NamedTuple):
    """A thread's state, and its number of context switches, which grows if it runs."""

    state: str
    switches: int


def look(tid: int) -> Look:
    """The state of a thread now; a missing thread has ended."""
    state, switches = "X", 0
    with contextlib.suppress(OSError), open(f"/proc/{tid}/status", errors="replace") as file:
        for line in file:
            if line.startswith("State:"):
                state = line.split()[1]
            elif "ctxt_switches:" in line:
                switches += int(line.rsplit(None, 1)[1])
    return Look(state, switches)


def threads(pid: int) -> Dict[int, Look]:
    """The threads of a process, and the state of each."""
    try:
        return {int(tid): look(int(tid)) for tid in os.listdir(f"/proc/{pid}/task")}
    except OSError:
        return {}


class Freezer:
    """The freezer of a cgroup (version 2).  A cgroup that was removed has no task to freeze."""

    def __init__(self, cgroup: str) -> None:
        self.path = os.path.join(cgroup, "cgroup.freeze")
        self._events = os.path.join(cgroup, "cgroup.events")

    @classmethod
    def of(cls, cgroup: str) -> "Optional[Freezer]":
        """The freezer of a cgroup, if it has one and does not contain this process."""
        freezer = cls(cgroup)
        there = os.path.exists(freezer.path)
        return freezer if there and os.getpid() not in members(cgroup) else None

    def frozen(self) -> bool:
        """Whether every task of the cgroup is frozen."""
        return "frozen 1" in _lines(self._events)

    def asked(self) -> bool:
        """Whether a freeze was requested, by any process."""
        return _lines(self.path) == ["1"]

    def freeze(self) -> None:
        """Request the freeze; see ``frozen``."""
        with contextlib.suppress(OSError), open(self.path, "w") as file:
            file.write("1")


def _lines(path: str) -> List[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def members(cgroup: str) -> Set[int]:
    """The processes of a cgroup and of those below it."""
    found: Set[int] = set()
    for folder, _, files in os.walk(cgroup):
        if "cgroup.procs" in files:
            found |= set(map(int, _lines(os.path.join(folder, "cgroup.procs"))))
    return found


@dataclass
class Hold:
    """A context in which every process that ``tasks`` returns is stopped.

    ``tasks`` is called until it returns no new process, because of forks in progress.
    ``marked``: returns those that stopped themselves for the recorder: they are continued in
    any case, others only if they were not stopped before.
    """

    tasks: Callable[[], Iterable[int]]
    marked: Callable[[], Iterable[int]]
    guardian: Guardian
    freezer: Optional[Freezer] = None
    seconds: float = HOLD_SECONDS
    _ours: Set[int] = field(default_factory=set)
    _looks: Dict[int, Dict[int, Look]] = field(default_factory=dict)
    _since: Dict[int, float] = field(default_factory=dict)
    _restless: Set[int] = field(default_factory=set)
    _frozen: bool = False

    def __enter__(self) -> "Hold":
        try:
            self._freeze()
            self._settle()
        except BaseException:
            self.release()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.release()

    @property
    def processes(self) -> List[int]:
        """The processes that were told to stop."""
        return sorted(self._looks)

    @property
    def at_rest(self) -> Set[int]:
        """The processes that have stopped."""
        return set(self._looks) - self._restless

    def torn(self) -> Dict[int, str]:
        """The processes that never stopped, or have run since, and which of the two."""
        found = {pid: f"not at rest within {self.seconds:g} s" for pid in self._restless}
        for pid, looks in self._looks.items():
            if pid not in found and _differ(looks, threads(pid)):
                found[pid] = "ran while it was read"
        return found

    def release(self) -> None:
        """Continue the processes that were stopped here."""
        for pid in self._ours.union(self.marked()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.freezer and self._frozen:
            with contextlib.suppress(OSError):
                thaw(self.freezer.path)
        self._ours.clear()
        self._frozen = False
        self.guardian.released()

    def _freeze(self) -> None:
        if self.freezer and not self.freezer.asked():
            self.guardian.freezes(self.freezer.path)
            self._frozen = True
            self.freezer.freeze()

    def _settle(self) -> None:
        """Stop whom there is to stop, until everybody is at rest or the time is up."""
        deadline = time.monotonic() + self.seconds
        while self._stop_new():
            while self._restless:
                if time.monotonic() > deadline:
                    return
                self._look_again()
                time.sleep(POLL_SECONDS)

    def _stop_new(self) -> Set[int]:
        """Stop the processes that were not there before; returns them."""
        marked = set(self.marked())
        new = marked.union(self.tasks()) - set(self._looks)
        new -= {os.getpid(), self.guardian.pid}
        for pid in new:
            looks = threads(pid)
            stopped = any(one.state == "T" for one in looks.values())
            if pid in marked or not (stopped or self.freezer):
                self.guardian.holds(pid)
                self._ours.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            self._looks[pid], self._since[pid] = looks, time.monotonic()
            self._restless.add(pid)
        return new

    def _look_again(self) -> None:
        frozen = self.freezer is not None and self.freezer.frozen()
        for pid in list(self._restless):
            looks, now = threads(pid), time.monotonic()
            # Twice the same: a thread says that it is stopped just before it leaves its CPU.
            if looks != self._looks[pid]:
                self._looks[pid], self._since[pid] = looks, now
            elif frozen or _at_rest(looks, now - self._since[pid]):
                self._restless.remove(pid)


def _at_rest(looks: Dict[int, Look], quiet: float) -> bool:
    """No thread runs, or will run code of its own before it is continued."""
    left = {one.state for one in looks.values()}.difference(STOPPED, ENDED)
    # Asleep in the kernel, as a parent in vfork() is: it stops when it wakes up.
    return not left or (left == {"D"} and quiet >= QUIET_SECONDS)


def _differ(before: Dict[int, Look], now: Dict[int, Look]) -> bool:
    """A thread has run, or is one that was not there."""
    return any(
        one.state not in ENDED and one != before.get(tid, Look("", 0)) for tid, one in now.items()
    )
