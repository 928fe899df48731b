# SPDX-License-Identifier: GPL-2.0-or-later
"""What programs say of themselves, read from what they wrote in a guest."""

from pathlib import Path

import pytest

from vm.verdicts import ENDED, verdict

TAP = """\
TAP version 13
1..4
# [RUN] a test
ok 1 first
not ok 2 second
ok 3 # SKIP needs a second node
    ok 4 fourth, of a subtest
# Totals: pass:2 fail:1 xfail:0 xpass:0 skip:1 error:0
"""
OLDER = """\
Collapse fully populated PTE table.... OK
Collapse empty PTE table.... Fail
[PASS] something else
"""


@pytest.mark.parametrize(
    ("stdout", "ended", "expected"),
    [
        (TAP, "status 0", "status 0, 2 passed, 1 failed, 1 skipped"),
        (OLDER, "status 1", "status 1, 2 passed, 1 failed"),
        ("Not OK\n", "status 1", "status 1, 1 failed"),
        ("", "signal 11", "signal 11"),
        (TAP, "status 124", "status 124, 1 failed"),
    ],
)
def test_verdict_is_status_and_checks(
    tmp_path: Path, stdout: str, ended: str, expected: str
) -> None:
    # GIVEN what a program left behind WHEN it is read THEN its checks are counted
    (tmp_path / "status").write_text("0\n")
    (tmp_path / "stdout").write_text(stdout)
    (tmp_path / ENDED).write_text(ended + "\n")
    assert verdict(tmp_path) == expected


def test_no_status_is_no_verdict(tmp_path: Path) -> None:
    # GIVEN a step in which its guest died WHEN it is read THEN nothing else is said
    (tmp_path / "stdout").write_text(TAP)
    assert verdict(tmp_path) == "did not end"
