# SPDX-License-Identifier: GPL-2.0-or-later
"""Talks to a running QEMU through its monitor socket (QMP)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from vm.say import LabError

SOCKET = "qmp"
#: Writing some GiB of memory to a disk is the longest that QEMU may take to answer.
SECONDS = 300.0
#: A guest that powers off or resets (which is how a panic ends) stands still, memory and all,
#: until it is told to quit.
OPTIONS = ("-no-shutdown", "-qmp", f"unix:{SOCKET},server=on,wait=off")


class QmpError(LabError):
    """QEMU refused a command, or is gone."""


class Qmp:
    """The monitor of the QEMU that was started in a directory with OPTIONS."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        self._file: BufferedRWPair | None = None

    def _connected(self) -> BufferedRWPair:
        if self._file is None:
            # A socket's path may have a hundred bytes; a directory's descriptor makes any short.
            folder = os.open(self._run_dir, os.O_PATH)
            try:
                self._socket.connect(f"/proc/self/fd/{folder}/{SOCKET}")
            finally:
                os.close(folder)
            self._file = self._socket.makefile("rwb")
            self._file.readline()  # the greeting
            self.ask("qmp_capabilities")
        return self._file

    def ask(self, command: str, **arguments: Any) -> Any:
        """Run one command; returns QEMU's answer.  Raises QmpError."""
        try:
            file = self._connected()
            file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            file.flush()
            while line := file.readline():
                answer = json.loads(line)
                if "error" in answer:
                    raise QmpError(answer["error"]["desc"])
                if "return" in answer:  # else an event
                    return answer["return"]
        except (OSError, ValueError) as error:
            raise QmpError(f"{command}: {error}") from None
        raise QmpError(f"{command}: QEMU is gone")

    def stands_still(self) -> bool:
        """Whether the guest has powered off, reset or panicked; its memory is as it was then.

        False also if there is no answer: QEMU has not yet begun, or is gone.
        """
        try:
            return bool(self.ask("query-status")["status"] == "shutdown")
        except QmpError:
            return False

    def dump(self, path: Path) -> None:
        """Write the guest's physical memory as an ELF core.  Raises QmpError."""
        self.ask("dump-guest-memory", paging=False, protocol=f"file:{path}")

    def quit(self) -> None:
        """End QEMU."""
        with contextlib.suppress(QmpError):
            self.ask("quit")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
