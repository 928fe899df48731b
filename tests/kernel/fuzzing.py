# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the fuzz workload in guests, verifies every mark, audits, and makes a failure short.

    python -m tests.kernel.fuzzing [--kernel K] [--seeds FIRST:END] [--operations N] [--per-guest N]

A long run is this program with more seeds: one guest and one trace for so many of them at a
time.  A trace that verifies is deleted; one that does not is kept.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import analysis
from analysis.json_form import rows
from analysis.verify import verify
from tests.guests import lab_run
from vm import audits

#: What the marks of vm/workloads/fuzz.c are called: a seed and how many operations it has done.
MARK = re.compile(r"seed-(\d+)-(\d+)$")


@dataclass(frozen=True)
class Programs:
    """The programs of some seeds: what fuzz.c takes as its arguments."""

    first: int
    count: int
    operations: int
    every: int

    @classmethod
    def of_seeds(cls, seeds: str, operations: int, every: int) -> Programs:
        """The programs of the seeds FIRST:END; END is not run."""
        first, end = map(int, seeds.split(":"))
        return cls(first, end - first, operations, every)

    @property
    def arguments(self) -> tuple[int, ...]:
        return self.first, self.count, self.operations, self.every


@dataclass(frozen=True)
class Failure:
    """A snapshot that differs from the replay, and the program that led to it."""

    seed: int
    operations: int
    text: str

    def __str__(self) -> str:
        return (
            f"seed {self.seed}, shortest prefix {self.operations} operations: {self.text}\n"
            f"show it:  fuzz -n {self.seed} 1 {self.operations}\n"
            f"again:    mapcount lab run fuzz {self.seed} 1 {self.operations} 1"
        )


@dataclass(frozen=True)
class Outcome:
    """What a recording of some programs showed."""

    events: int = 0
    lost: int = 0
    marks: int = 0
    checked: int = 0
    possible: int = 0
    failure: Failure | None = None

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.events + other.events,
            self.lost + other.lost,
            self.marks + other.marks,
            self.checked + other.checked,
            self.possible + other.possible,
            self.failure or other.failure,
        )


def first_failure(snapshots: Sequence[tuple[str, str]], programs: Programs) -> Failure | None:
    """The first of (snapshot, what is wrong there), as the program that led to it.

    A difference at a snapshot without a mark of ours (the last one) belongs to the last program.
    """
    for name, text in snapshots:
        found = MARK.search(name)
        if found:
            return Failure(int(found[1]), int(found[2]), f"{name}: {text}")
        last = programs.first + programs.count - 1
        return Failure(last, programs.operations, f"{name}: {text}")
    return None


def read(path: Path, programs: Programs) -> Outcome:
    """Verify and audit one trace."""
    trace = analysis.open_trace(str(path))
    result = verify(trace)
    wrong = result.differences[~result.differences["busy"].astype(bool)]
    described = [
        (
            str(one["snapshot"]),
            f"life {one['life']}: {one['counter']} of page {one['subpage']}: "
            f"replayed {one['replayed']}, truth {one['truth']}",
        )
        for one in wrong.to_dict("records")
    ]
    described += [("the audit", sentence) for sentence in wrong_by_the_audit(trace.df_findings())]
    return Outcome(
        events=len(trace.log),
        lost=int(trace.df_losses()["lost"].sum()),
        marks=len(result.table),
        checked=result.checked,
        possible=len(result.differences) - result.certain,
        failure=first_failure(described, programs),
    )


def wrong_by_the_audit(findings: pd.DataFrame) -> list[str]:
    """The sentences of findings beside those of docs/trophies.md, which unedited kernels have."""
    return [str(finding["sentence"]) for finding in audits.errors(rows(findings))]


def run(programs: Programs, kernel: str, path: Path) -> Outcome:
    """Record some programs in a guest into PATH, and verify that."""
    done = lab_run("--kernel", kernel, "-o", path, "fuzz", *programs.arguments)
    if done.returncode != 0:
        raise RuntimeError(f"{programs} on {kernel}:\n{done.stderr}")
    return read(path, programs)


def shorten(failure: Failure, again: Callable[[Programs], Outcome]) -> Failure:
    """The shortest prefix of a seed's program that still fails, found by running it again.

    The seed alone with a mark after every operation says it at once.  Marks change what the
    machine does in between: where they make the failure go away, half as many operations are
    tried until that does not fail.
    """
    every = again(Programs(failure.seed, 1, failure.operations, 1)).failure
    if every:
        return every
    best, low = failure, 0
    while low + 1 < best.operations:
        middle = (low + best.operations) // 2
        shorter = again(Programs(failure.seed, 1, middle, middle)).failure
        if shorter:
            best = shorter
        else:
            low = middle
    return best


def main(argv: list[str] | None = None) -> int:
    """Run many seeds, a guest for so many at a time; exit 1 on a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.fuzzing")
    parser.add_argument("--kernel", default="6.1")
    parser.add_argument("--seeds", default="1:200", metavar="FIRST:END", help="END is not run")
    parser.add_argument("--operations", type=int, default=60, help="of each program")
    parser.add_argument("--every", type=int, default=10, help="operations between two marks")
    parser.add_argument("--per-guest", type=int, default=25, help="seeds in one trace")
    parser.add_argument("-o", "--output", type=Path, help="where failing traces go")
    args = parser.parse_args(argv)
    folder = args.output or Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    short = folder / "short.mapcount"
    first, end = map(int, args.seeds.split(":"))
    total = Outcome()
    for seed in range(first, end, args.per_guest):
        count = min(args.per_guest, end - seed)
        programs = Programs(seed, count, args.operations, args.every)
        path = folder / f"{args.kernel}-{seed}-{count}.mapcount"
        outcome = run(programs, args.kernel, path)
        total += outcome
        print(
            f"{args.kernel}: seeds {first} to {seed + count - 1}: {total.events} events, "
            f"{total.lost} lost, {total.marks} snapshots, {total.checked} values checked, "
            f"{total.possible} possible differences",
            flush=True,
        )
        if outcome.failure:
            print(shorten(outcome.failure, lambda p: run(p, args.kernel, short)))
            print(f"the traces are {path} and {short}")
            return 1
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
