# SPDX-License-Identifier: GPL-2.0-or-later
"""What the audit says of /proc, beside what the programs of docs/trophies see without a recorder.

Each kernel is asked by both in one guest: a kernel that is mended one day needs no other test.
"""

import re

import pytest

import analysis
from analysis.__main__ import main as analysis_main
from tests.kernel.jobs import LAB_KERNELS, TROPHIES, of_kernels
from vm import audits

#: Row of docs/trophies.md -> its program, and how often exclusive-2025 shows it.
ROWS = {"T1": (TROPHIES[0], 3), "T2": (TROPHIES[1], 1)}
WRONG = 1


@pytest.fixture(params=of_kernels("published-{}", LAB_KERNELS))
def asked(request, guests):
    """The folder that a guest left, see tests.kernel.jobs.published."""
    return guests(request.param)


@pytest.mark.parametrize("row", ROWS)
def test_row_is_found_when_its_program_sees_it(asked, row):
    # GIVEN what a program of its own saw of this kernel
    name, times = ROWS[row]
    status = int((asked / f"{name}.status").read_text())
    assert status in (0, WRONG), (asked / f"{name}.out").read_text()
    # WHEN the trace is audited
    found = audits.findings(asked / "t.mapcount")
    # THEN the row is found as often as the workload shows it, or not at all
    assert audits.real(found).get(row, 0) == times * (status == WRONG)
    # AND the kernel has no other fault
    assert audits.errors(found) == []


def test_pages_and_values_are_named_when_bit_56_is_wrong(asked):
    # GIVEN a trace whose pagemap is wrong
    frame = analysis.open_trace(str(asked / "t.mapcount")).df_findings()
    found = frame[frame["counter"] == "pagemap bit 56, first page's"]
    # THEN of each of the three rounds the pages, what is told and what is right are named
    told = [
        re.search(r"is (\d) for (pages? [\d to]+), mapped by a PMD, .* must be (\d)", one).groups()
        for one in found["sentence"]
    ]
    rounds = [("1", "pages 1 to 511", "0"), ("0", "page 5", "1"), ("0", "pages 1 to 511", "1")]
    assert told in ([], rounds)
    assert set(found["certainty"]) <= {"certain"}


def test_verify_has_no_difference_when_readers_err(asked, capsys):
    # GIVEN the same trace WHEN it is verified THEN the counters themselves are right
    assert analysis_main(["verify", str(asked / "t.mapcount")]) == 0, capsys.readouterr().out


def test_check_fails_when_anything_is_found(asked, capsys):
    # GIVEN the same trace WHEN it is checked THEN the status says whether there is a finding
    there = len(analysis.open_trace(str(asked / "t.mapcount")).df_findings()) > 0
    assert analysis_main(["audit", "--check", str(asked / "t.mapcount")]) == int(there)
