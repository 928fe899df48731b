# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of tests.kernel.fuzzing and of the generator in vm/workloads/fuzz.c: no guest is needed."""

import shutil
import subprocess

import pandas as pd
import pytest

from tests.kernel.fuzzing import (
    Failure,
    Outcome,
    Programs,
    first_failure,
    shorten,
    wrong_by_the_audit,
)
from vm import build, scenarios


def failing_from(operations, seen=True):
    """A machine on which seed 7 fails from some operation on; not seen with a mark at each."""
    asked = []

    def again(programs):
        asked.append(programs)
        if programs.operations < operations or (programs.every == 1 and not seen):
            return Outcome()
        at = -(-operations // programs.every) * programs.every
        return Outcome(failure=Failure(programs.first, at, "wrong"))

    return again, asked


def test_failure_names_seed_and_operations_when_a_mark_differs():
    # GIVEN differences at two marks of two seeds WHEN the first is looked for
    wrong = [("12 seed-7-20", "mapcount"), ("15 seed-8-10", "mapcount")]
    failure = first_failure(wrong, Programs(1, 9, 40, 10))
    # THEN it is the earlier one
    assert (failure.seed, failure.operations) == (7, 20)
    assert "fuzz -n 7 1 20" in str(failure)


def test_failure_is_the_last_programs_when_the_end_differs():
    failure = first_failure([("55 end", "entire_mapcount")], Programs(3, 4, 40, 10))
    assert (failure.seed, failure.operations) == (6, 40)


def test_no_failure_when_nothing_differs():
    assert first_failure([], Programs(1, 9, 40, 10)) is None


def test_findings_of_unedited_kernels_when_the_audit_has_them():
    # GIVEN what the audit finds on a healthy kernel, and an error beside it
    found = pd.DataFrame(
        [
            ("published", "error", "numa_maps mapmax, first page's", "of docs/trophies.md"),
            ("reader", "race", "", "a reader's race"),
            ("published", "error", "kpagecount", "wrong"),
        ],
        columns=["rule", "severity", "counter", "sentence"],
    )
    # THEN the error alone makes a program fail
    assert wrong_by_the_audit(found) == ["wrong"]
    assert wrong_by_the_audit(found[:0]) == []


@pytest.mark.parametrize("operations", [1, 13, 40])
def test_shortest_prefix_when_each_operation_has_a_mark(operations):
    # GIVEN a seed that fails from one operation on WHEN it is run again with a mark after each
    again, asked = failing_from(operations)
    failure = shorten(Failure(7, 40, "wrong"), again)
    # THEN one run is enough
    assert failure.operations == operations
    assert len(asked) == 1


@pytest.mark.parametrize("operations", [1, 13, 40])
def test_shortest_prefix_when_marks_hide_the_failure(operations):
    # GIVEN a failure that marks in between make go away WHEN it is halved
    again, _ = failing_from(operations, seen=False)
    # THEN the same prefix is found (one of a single operation has its mark at the end alone)
    found = shorten(Failure(7, 40, "wrong"), again).operations
    assert found == max(operations, 2)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: apt-get install gcc")
def test_programs_are_prefixes_when_fewer_operations_are_asked_for():
    # GIVEN the generator WHEN it prints the same seed at two lengths
    program = build.workload(scenarios.SCENARIOS["fuzz"].source)

    def printed(*arguments):
        return subprocess.run(
            [program, "-n", *map(str, arguments)], capture_output=True, text=True, check=True
        ).stdout.splitlines()

    long, short = printed(3, 1, 60, 60), printed(3, 1, 25, 25)
    # THEN the short one is the beginning of the long one
    assert long[:25] == short[:25] and len(long) == 61
    assert short[25] == "seed-3-25"
    # AND another seed is another program, even if it is run after this one
    both = printed(3, 2, 60, 60)
    assert both[:61] == long
    assert both[61:] == printed(4, 1, 60, 60) != long
