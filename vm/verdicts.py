# SPDX-License-Identifier: GPL-2.0-or-later
"""A test's own result: its exit status, and how many of its checks passed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from vm import guest

#: The first that a line fits counts it. Tests that are older than the kernel's use of TAP
#: (Documentation/dev-tools/ktap.rst) write [PASS], or end their lines with OK.
_SAYS = (
    ("skipped", re.compile(r"^\s*(?:not )?ok \d+.*# SKIP|\[SKIP\]|^SKIP\b")),
    ("failed", re.compile(r"^\s*not ok \d|\[FAIL\]|\bFail$|^Not OK")),
    ("passed", re.compile(r"^\s*ok \d|\[(?:PASS|OK)\]|\bOK$")),
)
#: Where marks.c tells how the command ended: "status 0", "signal 11".
ENDED = "ended"
#: Of timeout(1), for a command that it ended.
TIME_LIMIT = "status 124"


def verdict(folder: Path) -> str:
    """The verdict of the program of a step, whose output is in FOLDER."""
    if guest.read_status(folder / "status") is None:
        return "did not end"
    ended = guest.read_lines(folder / ENDED)[-1:] or ["no word of its end"]
    counts = Counter(
        next((word for word, pattern in _SAYS if pattern.search(line)), "")
        for line in guest.read_lines(folder / "stdout")
    )
    # How many checks a program does until its time is over is a matter of the machine.
    kinds = ("failed",) if ended == [TIME_LIMIT] else ("passed", "failed", "skipped")
    told = [f"{counts[word]} {word}" for word in kinds if counts[word]]
    return ", ".join([*ended, *told])
