# SPDX-License-Identifier: GPL-2.0-or-later
"""The traced command, and the names of the tasks that were there before recording."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from typing import Dict, Iterable, List, Optional, Set, Tuple

from probes import cli
from probes.errors import ProbeError


def running_tasks() -> List[Tuple[int, int, str]]:
    """(tid, pid, comm) of every thread of the machine."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            for tid in os.listdir(f"/proc/{name}/task"):
                with open(f"/proc/{name}/task/{tid}/comm", errors="replace") as file:
                    found.append((int(tid), int(name), file.read().rstrip("\n")))
        except OSError:
            continue  # it ended meanwhile
    return found


def descendants(roots: Iterable[int]) -> List[int]:
    """The given processes that still exist, and their children at any depth."""
    parents: Dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", errors="replace") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended meanwhile
    found: Set[int] = {pid for pid in roots if pid in parents}
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return sorted(found)


def state(tid: int) -> str:
    """The kernel's one-letter state of a task ("T" is stopped), "" once it is gone."""
    try:
        with open(f"/proc/{tid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def process_of(tid: int) -> int:
    """The process of a thread, 0 once it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{tid}/status", errors="replace") as file:
        for line in file:
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    return 0


#: Waits for a line on the descriptor %d, then becomes the command that its arguments are.
WAIT = 'read -r go <&%d && exec "$@" %d<&-; exit 127'


def _spare() -> int:
    """A descriptor of one digit, as sh wants it, that is nobody's: not open, or ours."""
    for descriptor in range(3, 10):
        try:
            if not os.get_inheritable(descriptor):
                return descriptor
        except OSError:
            return descriptor
    raise ProbeError("descriptors 3 to 9 are all in use: close one, as in `9<&-`")


class Command:
    """A command that waits, already forked, until the recorder is ready.

    Its pid is known, and watched, before its first instruction.  It waits as a shell: a copy of
    the recorder would share the recorder's pages, which would be watched as the command's while
    the recorder writes to them.
    """

    def __init__(self, argv: List[str]) -> None:
        if shutil.which(argv[0]) is None:
            raise ProbeError(f"cannot find the command {argv[0]}: give its path")
        go, self._go = os.pipe()
        descriptor = _spare()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(go, descriptor, argv)
        os.close(go)
        self._status: Optional[int] = None

    def _run(self, go: int, descriptor: int, argv: List[str]) -> None:
        """The child: wait for a line (or for the recorder's death), become the command."""
        try:
            if go == descriptor:
                os.set_inheritable(go, True)
            else:
                os.dup2(go, descriptor)
            wait = WAIT % (descriptor, descriptor)
            os.execv("/bin/sh", ["sh", "-c", wait, "sh", *argv])
        except OSError as error:
            cli.tell("error", f"cannot run /bin/sh, which starts the command: {error.strerror}")
        os._exit(127)

    def start(self) -> None:
        """Let the command run."""
        os.write(self._go, b"\n")

    def status(self) -> Optional[int]:
        """The exit status (negative: the signal that ended it), None while it runs."""
        return self._wait(os.WNOHANG)

    def end(self, patience: float = 5.0) -> Optional[int]:
        """End the command and its children: SIGTERM, after ``patience`` seconds SIGKILL for
        the command itself.  Returns its status."""
        os.close(self._go)
        deadline = time.monotonic() + patience
        if self.status() is None:
            for pid in descendants([self.pid]):
                for kill in (signal.SIGTERM, signal.SIGCONT):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, kill)
        while self.status() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.status() is None:
            os.kill(self.pid, signal.SIGKILL)
        return self._wait(0)

    def _wait(self, options: int) -> Optional[int]:
        if self._status is None:
            pid, raw = os.waitpid(self.pid, options)
            if pid:
                self._status = os.WEXITSTATUS(raw) if os.WIFEXITED(raw) else -os.WTERMSIG(raw)
        return self._status
