# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs `mapcount audit` on a trace, for the commands of the lab that grade by it.

A finding is of one of three kinds: a race of a reader, which happens in a healthy kernel, too; a
known bug of unmodified kernels (REAL); and an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vm.say import LabError

MAPCOUNT = Path(__file__).resolve().parent.parent / "mapcount.py"
READ_SECONDS = 900.0
# The severity of what the audit finds on a healthy kernel too: that lets its readers look without
# a right to what they see.
RACE = "race"
#: The rows of docs/trophies.md: id by the value that the rule "published" finds wrong.
REAL = {
    "pagemap bit 56, first page's": "T1",
    "numa_maps mapmax, first page's": "T2",
}
Found = Sequence[dict[str, Any]]


def real(found: Found) -> dict[str, int]:
    """The number of findings of each row of docs/trophies.md."""
    return dict(sorted(Counter(row for finding in found if (row := row_of(finding))).items()))


def errors(found: Found) -> list[dict[str, Any]]:
    """The findings that a kernel must not have: neither races nor known to be real."""
    return [finding for finding in found if finding["severity"] != RACE and not row_of(finding)]


def row_of(finding: dict[str, Any]) -> str | None:
    """The row of docs/trophies.md that a finding belongs to."""
    return REAL.get(str(finding["counter"])) if finding.get("rule") == "published" else None


def findings(trace: Path) -> list[dict[str, Any]]:
    """The findings of the audit of TRACE, as `audit --json` prints them."""
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
