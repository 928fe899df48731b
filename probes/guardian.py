# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that continues held tasks when the recorder dies, or holds them for too long.

A recorder that is killed by SIGKILL cannot continue the tasks that it had stopped, nor remove the
kretprobes that it had made, and nothing else would.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import Set

from probes import kretprobes

#: No hold is longer.  Reading the page tables of a task may wait for a lock that a task in
#: the kernel has taken, which waits for one that is held.
LIMIT_SECONDS = 60.0


class Guardian:
    """The recorder's end of a pipe; its other end outlives the recorder.

    Fork it before any child that outlives the recorder: a child that inherits this end keeps it
    open.
    """

    def __init__(self, limit: float = LIMIT_SECONDS) -> None:
        self._limit = limit
        told, self._pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._pipe)
                self._guard(told)
            finally:
                os._exit(0)
        os.close(told)

    def holds(self, pid: int) -> None:
        """Call before a task is stopped: it must be continued later."""
        self._tell(f"stopped {pid}")

    def freezes(self, path: str) -> None:
        """Call before a cgroup is frozen, with its file cgroup.freeze."""
        self._tell(f"frozen {path}")

    def released(self) -> None:
        """Call when all tasks and cgroups given before are running again."""
        self._tell("released")

    def makes(self, kretprobe: str) -> None:
        """Call before a kretprobe is made, with its name; one that was removed does not matter."""
        self._tell(f"made {kretprobe}")

    def end(self) -> None:
        """Call when the recorder ends normally."""
        os.close(self._pipe)
        os.waitpid(self.pid, 0)

    def _tell(self, what: str) -> None:
        # Without its guardian, which somebody killed, a recording is as good.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, os.fsencode(what) + b"\n")

    def _guard(self, told: int) -> None:
        """The child: remember what is held until the pipe ends; then nobody else continues it."""
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # Who waits for the recorder's output to end need not wait for this process.
        for fd in {0, 1, 2} - {told}:
            with contextlib.suppress(OSError):
                os.close(fd)
        held: Set[str] = set()
        made: Set[str] = set()
        text = b""
        while True:
            if not select.select([told], [], [], self._limit if held else None)[0]:
                _continue(held)
                held.clear()
                continue
            data = os.read(told, 1 << 16)
            if not data:
                _continue(held)
                kretprobes.remove_when_free(made)
                return
            *lines, text = (text + data).split(b"\n")
            for line in map(os.fsdecode, lines):
                if line == "released":
                    held.clear()
                elif line.startswith("made "):
                    made.add(line[len("made ") :])
                else:
                    held.add(line)


def _continue(held: Set[str]) -> None:
    for line in held:
        how, _, what = line.partition(" ")
        with contextlib.suppress(OSError):
            if how == "frozen":
                thaw(what)
            else:
                os.kill(int(what), signal.SIGCONT)


def thaw(path: str) -> None:
    """Let the tasks of a cgroup run, by its file cgroup.freeze."""
    with open(path, "w") as file:
        file.write("0")
