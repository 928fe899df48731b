# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks `mapcount audit` about a trace, for the commands of the lab that judge by it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from vm.say import LabError

MAPCOUNT = Path(__file__).resolve().parent.parent / "mapcount.py"
READ_SECONDS = 900.0
# The severity of what the audit finds on a healthy kernel too: that lets its readers look without
# a right to what they see.
RACE = "race"


def findings(trace: Path) -> list[dict[str, Any]]:
    """The findings of the audit of TRACE."""
    command = [sys.executable, str(MAPCOUNT), "audit", str(trace), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=READ_SECONDS)
    except subprocess.TimeoutExpired:
        raise LabError(f"{trace} was not audited within {READ_SECONDS:.0f} s") from None
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"error: status {done.returncode}"]
        raise LabError(f"mapcount audit {trace}: {words[-1].removeprefix('error: ')}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
