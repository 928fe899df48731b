# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a program so that it and everything it started can be ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from vm import say


class Group:
    """A child in a session of its own; leaving the `with` block ends the whole session group.

    vng starts a shell that starts QEMU: a signal to only the first process would leave a guest
    running, so signals go to the group.
    """

    def __init__(
        self,
        command: Sequence[str],
        output: IO[bytes] | int,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def ended(self, seconds: float) -> bool:
        """Wait at most SECONDS; True if the child has ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, patience: float = 5.0) -> None:
        """End every process of the group: by SIGTERM, then by SIGKILL."""
        deadline = time.monotonic() + patience
        self._signal(signal.SIGTERM)
        while self._alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _alive(self) -> bool:
        self.process.poll()  # reap our child, or the group looks alive for ever
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


def run_logged(command: Sequence[str], log: Path, what: str, cwd: Path | None = None) -> None:
    """Run COMMAND with its output in LOG; a failure shows the log's last lines."""
    with open(log, "wb") as file, Group(command, file, cwd=cwd) as group:
        while not group.ended(0.5):
            lines = log.read_bytes()[-400:].decode(errors="replace").splitlines()
            if lines:
                say.tick(lines[-1])
    if group.process.returncode != 0:
        tail = log.read_text(errors="replace").splitlines()[-8:]
        raise say.LabError(
            f"{what} failed (status {group.process.returncode}): look into {log}, which ends: "
            + " | ".join(line.strip() for line in tail)
        )
