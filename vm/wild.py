# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that nobody wrote for this recorder: is it silent about healthy kernels under them?

Each runs beside a process that makes marks at random times, so that snapshots meet it wherever
it is.  What verify and audit say of its trace with certainty is a false alarm, or a kernel bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probes.visible import visible_lines
from vm import build, job, lab, scenarios
from vm.matrix import CHECKED, Cell, Matrix
from vm.matrix_text import figure
from vm.say import LabError

#: The longest pause between two marks.
PAUSE_MS = 2000
SEED = 1
#: How long stress-ng runs, in the guest.
STRESS_SECONDS = 20


@dataclass(frozen=True)
class Program:
    """One program of somebody else's, and the Debian packages that bring it."""

    name: str
    shows: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()


def _stress(name: str, shows: str, *stressors: str, before: str = ":") -> Program:
    """Some stressors of stress-ng at once; BEFORE: shell code that prepares the guest."""
    workers = " ".join(f"--{stressor} 1" for stressor in stressors)
    # A stressor that the kernel kills for its memory need not come again.
    options = f"--timeout {STRESS_SECONDS} --temp-path /tmp --oomable --vm-bytes 64m"
    stress = f"exec stress-ng {options} {workers}"
    return Program(name, shows, ("sh", "-c", f"{before}; {stress}"), ("stress-ng",))


PROGRAMS = {
    program.name: program
    for program in (
        _stress(
            "stress-map", "mappings made, moved and dropped",
            "vm", "mmapfork", "mmapmany", "munmap", "remap", "mremap",
        ),
        _stress(
            "stress-tasks", "tasks that come and go, and share",
            "fork", "vfork", "clone", "userfaultfd", "shm",
        ),
        _stress(
            "stress-memory", "memory advised, locked, merged and looked up",
            "madvise", "mlock", "memthrash", "physpage", "vm",
            before="echo 1 >/sys/kernel/mm/ksm/run; echo 1000 >/sys/kernel/mm/ksm/pages_to_scan",
        ),
    )
}  # fmt: skip


def plan(name: str) -> lab.Plan:
    """The plan for the program NAME beside marks."""
    program = find(name)
    marks = build.workload(scenarios.WORKLOADS / "marks.c")
    command = [f"{job.OUT}/{marks.name}", str(SEED), str(PAUSE_MS), *program.command]
    return lab.Plan(name, command, files=[marks], memory=4, packages=program.packages)


def find(name: str) -> Program:
    """The program NAME."""
    if name not in PROGRAMS:
        raise LabError(f"unknown program {name!r}: give some of {', '.join(PROGRAMS)}", 2)
    return PROGRAMS[name]


def silent(cell: Cell) -> bool:
    """Nothing certain was said of a healthy kernel."""
    return cell.outcome == CHECKED and not cell.differences and not cell.certain


COLUMNS = (
    "kernel", "workload", "events", "lost", "snapshots", "checked", "differences", "possible",
    "certain", "findings", "real", "seconds",
)  # fmt: skip


def table(results: Matrix) -> str:
    """One line for each program on each kernel, and what it said of itself."""
    rows: list[Sequence[str]] = [COLUMNS]
    for cell in results.cells:
        rows.append([figure(cell, column) for column in COLUMNS])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if at < 2 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    for cell in results.cells:
        words = [*cell.notes, *([cell.reason] if cell.reason else [])]
        lines += [f"{cell.workload} on {cell.kernel}: {text}" for text in words]
    return visible_lines(lines)
