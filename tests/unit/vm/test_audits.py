# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab makes of the audit's findings: races, errors, and what is known to be real."""

import re
from pathlib import Path

import pytest

from vm import audits

TROPHIES = Path(__file__).parents[3] / "docs" / "trophies.md"


def finding(rule: str, counter: str, severity: str = "error") -> dict[str, str]:
    return {"rule": rule, "counter": counter, "severity": severity}


def test_findings_are_told_apart_when_judged() -> None:
    # GIVEN a race, a wrong counter, two values of /proc that are known, and one that is not
    found = [
        finding("reader-race", "", audits.RACE),
        finding("double-entry", "mapcount"),
        finding("published", "pagemap bit 56, first page's"),
        finding("published", "numa_maps mapmax, first page's"),
        finding("published", "pagemap bit 56"),
    ]
    # WHEN they are judged THEN the known ones are counted, and what is left are the errors
    assert audits.real(found) == {"T1": 1, "T2": 1}
    assert audits.errors(found) == [found[1], found[4]]


@pytest.mark.parametrize("row", audits.REAL.values())
def test_known_finding_has_its_row_and_its_program_when_listed(row: str) -> None:
    # GIVEN the table of what is known THEN the page has the row, and a program that shows it
    (line,) = re.findall(rf"^\| {row} \|.*$", TROPHIES.read_text(), re.MULTILINE)
    (program,) = re.findall(r"\((trophies/[\w-]+\.c)\)", line)
    assert (TROPHIES.parent / program).is_file()
