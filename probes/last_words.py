# SPDX-License-Identifier: GPL-2.0-or-later
"""The last messages of a kernel that died: those of its console from the first complaint on."""

from __future__ import annotations

import re
from typing import Any, Dict, Optional

#: VM_BUG_ON_PAGE() dumps the page before it says BUG; die() numbers what it reports: [#1].
COMPLAINT = re.compile(r"\bVM_BUG_ON|\bBUG\b|\bOops\b|Kernel panic|: [0-9a-f]{4} \[#\d+\]")
#: "[   12.345678] ", with CONFIG_PRINTK_CALLER also "[  T123] "; perhaps a level before.
STAMP = re.compile(r"^(?:<\d+>)?\[ *(\d+)\.(\d{6})\](?:\[ *[TC]\d+\])? ?")
#: An oops has some 60 lines; one that never ends shall not fill the trace.
MOST_LINES = 400


def last_words(path: str, clock: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """An OOPS block's content, None if the console shows no complaint.

    ``clock``: printk's clock and CLOCK_MONOTONIC at one moment (the header's ``clock.printk``).
    """
    with open(path, "rb") as file:
        lines = file.read().decode(errors="replace").replace("\r", "").splitlines()
    first = next((i for i, line in enumerate(lines) if COMPLAINT.search(line)), None)
    if first is None:
        return None
    words: Dict[str, Any] = {"lines": lines[first : first + MOST_LINES]}
    stamp = STAMP.match(lines[first])
    if stamp is not None:
        words["printk_ns"] = int(stamp[1] + stamp[2]) * 1000
        if clock is not None:
            since = words["printk_ns"] - clock["printk_ns"]
            words["monotonic_ns"] = clock["monotonic_ns"] + since
            words["within_ns"] = clock["within_ns"]
    return words
