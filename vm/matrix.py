# SPDX-License-Identifier: GPL-2.0-or-later
"""Every workload on every kernel: recorded in one guest for each kernel, verified on the host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from probes.output import write_text
from vm import ahead, audits, chroot, foreign, guest, job, kernels, lab, say, scenarios
from vm.verdicts import ENDED, verdict

RESULTS = "matrix.json"
#: What is recorded on a kernel of another configuration: each family of operations once, and the
#: only huge pages of kernels for real time.
CONFIG_WORKLOADS = ("lifecycle", "shmem-thp", "fork-thp", "anon-parts", "fuzz", "hugetlb")
DOCTOR = "doctor"  # a step beside the workloads
ALONE = ".alone"  # ends the name of the step that runs a workload without the recorder
# Generous, for an emulated guest on a busy machine: a recording compiles its probes first.
STEP_SECONDS = 600.0
BOOT_SECONDS = 180.0

CHECKED = "checked"
LEFT_OUT = "left out"
FAILED = "failed"
TIMED_OUT = "time limit"
LOST = "VM lost"
NOT_BEGUN = "the VM was lost before it began"


@dataclass(frozen=True)
class Cell:
    """The result of one workload on one kernel."""

    kernel: str
    workload: str
    outcome: str
    reason: str = ""  # why it is left out, or what went wrong
    seconds: float | None = None  # in the guest, the recorder's compile included
    events: int | None = None
    lost: int | None = None
    checked: int | None = None  # values held against the kernel's own
    differences: int | None = None
    possible: int | None = None  # differences that a loss or a change meanwhile may explain
    findings: int | None = None  # errors that the audit found, see vm/audits.py
    certain: int | None = None  # those of them that have no other explanation
    real: dict[str, int] = field(default_factory=dict)  # findings by their row in docs/trophies.md
    snapshots: int | None = None
    verdict: str = ""  # what the program says of itself, if that is asked for
    alone: str = ""  # and what it says without the recorder
    notes: tuple[str, ...] = ()  # steps that the workload left out on this kernel, and why
    missing: tuple[str, ...] = ()  # what no probe saw on this kernel, and why
    trace: str | None = None  # relative to the matrix's directory

    @property
    def good(self) -> bool:
        """Whether nothing is wrong: no difference and no certain finding, or left out with a
        reason.  Possible ones are counted, and their reasons printed."""
        if self.outcome == LEFT_OUT:
            return bool(self.reason)
        return self.outcome == CHECKED and not self.differences and not self.certain


@dataclass(frozen=True)
class Booted:
    """One kernel of the matrix as it was booted."""

    name: str
    suite: str
    release: str = ""  # what uname -r said; empty if the guest did not get so far
    packages: dict[str, str] = field(default_factory=dict)
    how: str = ""
    seconds: float = 0.0
    doctor: int | None = None  # the exit status of `mapcount doctor`, where it was asked
    made: str = ""  # the day


@dataclass
class Matrix:
    """All results, in the order in which they were asked for."""

    kernels: list[Booted] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    configs: bool = False  # kernels of other configurations, some of which may not be recordable

    @property
    def good(self) -> bool:
        return all(cell.good for cell in self.cells)

    def without(self, names: Sequence[str]) -> Matrix:
        """The results of all kernels but NAMES."""
        booted = [kernel for kernel in self.kernels if kernel.name not in names]
        cells = [cell for cell in self.cells if cell.kernel not in names]
        return Matrix(booted, cells, self.configs)

    def write(self, folder: Path) -> None:
        """Write the results so far into FOLDER."""
        write_text(str(folder / RESULTS), json.dumps(self.as_json(), indent=1) + "\n")

    def as_json(self) -> dict[str, Any]:
        return {
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "good": self.good,
            "configs": self.configs,
            "kernels": [asdict(kernel) for kernel in self.kernels],
            "cells": [asdict(cell) for cell in self.cells],
        }


PlanOf = Callable[[kernels.Kernel, str], lab.Plan]


class LeftOut(say.LabError):
    """A kernel has no such workload, and why."""


def _scenario(kernel: kernels.Kernel, name: str) -> lab.Plan:
    return lab.plan_scenario(name, kernel=kernel)


def run(
    names: Sequence[str],
    workloads: Sequence[str],
    folder: Path,
    limit: float | None = None,
    plan: PlanOf = _scenario,
    configs: bool = False,
    kept: Matrix | None = None,
) -> Matrix:
    """Record WORKLOADS on the kernels NAMES into FOLDER, and verify each trace.

    LIMIT: time limit of one guest in seconds (None: by its workloads); PLAN: makes the plan of a
    workload on a kernel. The results so far are in FOLDER/RESULTS after each kernel.
    With CONFIGS a kernel that cannot be recorded is left out if `mapcount doctor` says the same.
    KEPT: earlier results in FOLDER, of which those of other kernels stay.
    """
    matrix = kept.without(names) if kept else Matrix(configs=configs)
    folder = folder.resolve()
    if kept:
        matrix.write(folder)
    else:
        (folder / RESULTS).unlink(missing_ok=True)
    for name in names:
        booted, cells = _kernel(kernels.resolve(name), workloads, folder, limit, plan, configs)
        if configs:
            cells = [agreed(cell, booted.doctor) for cell in cells]
        matrix.kernels.append(booted)
        matrix.cells += cells
        matrix.write(folder)
    return matrix


def _kernel(
    kernel: kernels.Kernel,
    workloads: Sequence[str],
    folder: Path,
    limit: float | None,
    plan_of: PlanOf,
    doctor: bool,
) -> tuple[Booted, list[Cell]]:
    """One guest, all WORKLOADS; nothing that happens here ends the matrix."""
    booted = Booted(kernel.name, kernel.suite, made=time.strftime("%Y-%m-%d", time.gmtime()))
    traces = folder / kernel.name
    traces.mkdir(parents=True, exist_ok=True)
    for workload in workloads:  # an older trace must not pass for this run's
        (traces / f"{workload}.mapcount").unlink(missing_ok=True)
    try:
        plans, left_out = _plans(kernel, workloads, plan_of)
        if not plans:
            return booted, left_out
        slower = foreign.slower(kernel.machine)
        steps = _steps(plans, STEP_SECONDS * slower)
        if doctor:
            steps.insert(0, job.Step(DOCTOR, lab.doctor_command(), STEP_SECONDS * slower))
        limit = limit or BOOT_SECONDS * slower + sum(step.seconds for step in steps)
        options = lab.Options(kernel, limit=limit)
        everything = lab.plan_together(f"matrix-{kernel.name}", plans, traces)
        machine, run_dir = lab.prepare(options, everything)
    except ahead.NothingNewer as problem:
        return booted, [Cell(kernel.name, each, LEFT_OUT, str(problem)) for each in workloads]
    except (say.LabError, OSError) as problem:
        say.error(f"{kernel.name}: {problem}")
        return booted, [Cell(kernel.name, each, FAILED, str(problem)) for each in workloads]
    say.phase(f"booting {kernel.name} ({lab.how(machine)}) for {len(plans)} workloads")
    with ThreadPoolExecutor(1) as pool:
        watch = Watch(kernel.name, [plan.name for plan in plans], run_dir, traces, pool)
        script = job.batch(steps, lab.environment(options), plans[0].policy)
        result = guest.run(machine, script, run_dir, limit, watch)
        _report(kernel.name, result)
        cells = [*watch.cells(result), *left_out]
    cells.sort(key=lambda cell: workloads.index(cell.workload))
    return _describe(booted, kernel, machine, result), cells


def _plans(
    kernel: kernels.Kernel, workloads: Sequence[str], plan_of: PlanOf
) -> tuple[list[lab.Plan], list[Cell]]:
    """How the workloads that KERNEL has are run, and cells of the others."""
    plans, left_out = [], []
    for workload in workloads:
        try:
            plans.append(plan_of(kernel, workload))
        except LeftOut as problem:
            left_out.append(Cell(kernel.name, workload, LEFT_OUT, str(problem)))
    return plans, left_out


def _steps(plans: Sequence[lab.Plan], seconds: float) -> list[job.Step]:
    """What a guest does for PLANS, one after the other, each for so many seconds at most."""
    steps = []
    for plan in plans:
        if plan.alone:
            steps.append(job.Step(f"{plan.name}{ALONE}", plan.command, seconds))
        recorded = lab.record_command(plan, f"{plan.name}.mapcount")
        steps.append(job.Step(plan.name, recorded, seconds))
    return steps


def agreed(cell: Cell, doctor: int | None) -> Cell:
    """CELL, compared with the exit status of doctor, which says whether recording can work."""
    if doctor == 1 and cell.outcome == FAILED:
        # Where its output is, is no matter of the kernel's.
        reason = cell.reason.removeprefix("error: ").rpartition(" (status ")[0]
        return replace(cell, outcome=LEFT_OUT, reason=reason or cell.reason)
    if doctor != 0 and cell.outcome == CHECKED:
        return replace(cell, outcome=FAILED, reason=f"recorded, but doctor's status is {doctor}")
    return cell


def _describe(
    booted: Booted, kernel: kernels.Kernel, machine: guest.Machine, result: guest.Result
) -> Booted:
    try:
        release = (result.run_dir / job.RELEASE).read_text().strip()
    except OSError:
        release = ""
    seconds = round(result.seconds, 1)
    return replace(
        booted,
        suite=chroot.suite_of(machine.root),
        release=release,
        packages=_packages(kernel, machine),
        how=lab.how(machine),
        seconds=seconds,
        doctor=guest.read_status(result.run_dir / job.STEPS / DOCTOR / "status"),
    )


def _packages(kernel: kernels.Kernel, machine: guest.Machine) -> dict[str, str]:
    """The packages that the kernel and BCC are from, with their versions."""
    found = chroot.versions(machine.root)
    names = [name for name in found if name.startswith("python3-bpfcc")]
    if kernel.recipe is not None:
        recipe = kernel.recipe
        source = chroot.versions(chroot.path_of(recipe.suite, recipe.packages))[recipe.package]
        return {recipe.package: source, **{name: found[name] for name in names}}
    if kernel.image is None:
        names += [name for name in found if re.match(r"linux-image-\d", name)]
    return {name: found[name] for name in sorted(names)}


class Watch:
    """Watches a guest's steps while it runs, and verifies each trace as soon as it is complete.

    The host verifies while the guest makes its next recording; the results stay if the guest
    dies later.
    """

    def __init__(
        self,
        kernel: str,
        workloads: list[str],
        run_dir: Path,
        traces: Path,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.kernel = kernel
        self.workloads = workloads
        self.run_dir = run_dir
        self.traces = traces
        self.pool = pool
        self.ended: dict[str, Future[Cell]] = {}

    def __call__(self) -> None:
        for workload in self.workloads:
            folder = self.run_dir / job.STEPS / workload
            if workload in self.ended or guest.read_status(folder / "status") is None:
                continue
            cell = read_step(self.kernel, workload, folder)
            self.ended[workload] = self.pool.submit(finish, cell, self.traces)
            say.phase(
                f"{self.kernel}: {workload} took {cell.seconds or 0:.0f} s "
                f"({len(self.ended)} of {len(self.workloads)})"
            )

    def cells(self, result: guest.Result) -> list[Cell]:
        """One cell for each workload, now that the guest has ended."""
        return [
            self.ended[workload].result()
            if workload in self.ended
            else self._lost(workload, result)
            for workload in self.workloads
        ]

    def _lost(self, workload: str, result: guest.Result) -> Cell:
        started = (self.run_dir / job.STEPS / workload).is_dir()
        if result.outcome is guest.Outcome.TIMED_OUT:
            reason = "the guest's time was up" + ("" if started else " before it began")
            return Cell(self.kernel, workload, TIMED_OUT, reason)
        words = guest.last_words(result.run_dir) if started else NOT_BEGUN
        return Cell(self.kernel, workload, LOST, words)


def read_step(kernel: str, workload: str, folder: Path) -> Cell:
    """The outcome of a step in the guest: a cell without figures."""
    status = guest.read_status(folder / "status")
    try:
        begin, end = map(float, (folder / "uptime").read_text().split())
        seconds: float | None = round(end - begin, 1)
    except (OSError, ValueError):
        seconds = None
    ends = [end for end in guest.read_lines(folder / ENDED) if end != "status 0"]
    left_out = guest.read_lines(folder / scenarios.PARTS_LEFT_OUT)
    notes = (*left_out, *(f"its command ended with {end}" for end in ends))
    cell = Cell(kernel, workload, CHECKED, seconds=seconds, notes=notes)
    alone = folder.with_name(f"{workload}{ALONE}")
    if alone.is_dir():
        cell = replace(cell, verdict=verdict(folder), alone=verdict(alone))
    if status == 0:
        return cell
    if status == 124:
        return replace(cell, outcome=TIMED_OUT, reason=f"ended after {seconds or 0:.0f} s")
    skipped = guest.read_lines(folder / scenarios.SKIPPED)
    if skipped:
        return replace(cell, outcome=LEFT_OUT, reason=skipped[-1])
    errors = guest.read_lines(folder / "stderr")
    words = [line for line in errors if line.startswith("error: ")] or errors[-1:] or ["no output"]
    return replace(cell, outcome=FAILED, reason=f"{words[0]} (status {status}, see {folder})")


def finish(cell: Cell, traces: Path) -> Cell:
    """CELL with the figures of its trace."""
    trace = traces / f"{cell.workload}.mapcount"
    if cell.outcome != CHECKED:
        return cell
    if not trace.is_file():
        return replace(cell, outcome=FAILED, reason="the recorder left no trace")
    cell = replace(cell, trace=f"{traces.name}/{trace.name}")
    try:
        return _audited(_verified(_counted(cell, trace), trace), trace)
    except subprocess.TimeoutExpired:
        return replace(
            cell, outcome=FAILED, reason=f"{trace} was not read within {audits.READ_SECONDS} s"
        )


def _mapcount(command: str, trace: Path) -> tuple[dict[str, Any] | None, str]:
    """What `mapcount COMMAND --json` says of TRACE (None: nothing), and its complaint or ""."""
    argv = [sys.executable, str(audits.MAPCOUNT), command, str(trace), "--json"]
    # In a session of its own a Ctrl-C would not reach it; here it does, and ends it with us.
    done = subprocess.run(argv, capture_output=True, text=True, timeout=audits.READ_SECONDS)
    said = json.loads(done.stdout) if done.stdout else None
    return said, _complaint(command, done) if done.returncode or said is None else ""


def _counted(cell: Cell, trace: Path) -> Cell:
    """What `mapcount stats` says: events, losses, and what no probe saw."""
    said, complaint = _mapcount("stats", trace)
    if said is None or complaint:
        return replace(cell, outcome=FAILED, reason=complaint)
    missing = tuple(
        f"{', '.join(gap['functions']) or gap['op']}: {gap['reason']}; unseen: {gap['lost']}"
        for gap in said["missing"]
    )
    return replace(cell, events=said["events"], lost=said["lost"], missing=missing)


def _verified(cell: Cell, trace: Path) -> Cell:
    """What `mapcount verify` says."""
    if cell.outcome != CHECKED:
        return cell
    said, complaint = _mapcount("verify", trace)
    if said is None:
        return replace(cell, outcome=FAILED, reason=complaint)
    cell = replace(
        cell,
        checked=said["checked"],
        snapshots=len(said["snapshots"]),
        differences=said["certain"],
        possible=said["possible"],
    )
    if cell.differences:
        return replace(cell, reason=_difference(said["differences"]))
    if not cell.checked:
        if not _leaves_nothing(cell.workload):
            return replace(cell, outcome=FAILED, reason=complaint)
        return replace(cell, reason="it has no folio at any mark: recorded, nothing to verify")
    if complaint:
        return replace(cell, outcome=FAILED, reason=complaint)
    return cell


def _difference(differences: list[dict[str, Any]]) -> str:
    """The first of those that have no other explanation, as a sentence."""
    difference = next(difference for difference in differences if not difference["doubt"])
    page = f" of page {difference['subpage']}" if difference["subpage"] >= 0 else ""
    return (
        f"difference: {difference['snapshot']}: life {difference['life']}: "
        f"{difference['counter']}{page}: replayed {difference['replayed']}, "
        f"truth {difference['truth']}"
    )


def _audited(cell: Cell, trace: Path) -> Cell:
    """What `mapcount audit` says about the counters."""
    if cell.outcome != CHECKED:
        return cell
    try:
        found = audits.findings(trace)
    except say.LabError as problem:
        return replace(cell, outcome=FAILED, reason=str(problem))
    wrong = audits.errors(found)
    certain = [finding for finding in wrong if finding["certainty"] == "certain"]
    told = cell.reason or next(map(_finding, (*certain, *wrong)), "")
    cell = replace(cell, findings=len(wrong), certain=len(certain), reason=told)
    return replace(cell, real=audits.real(found))


def _finding(finding: dict[str, Any]) -> str:
    doubt = "" if finding["certainty"] == "certain" else f" (possible: {finding['reason']})"
    return f"{finding['sentence']}{doubt}"


def _leaves_nothing(workload: str) -> bool:
    """True where the workload's own table says that none of its folios exist at any mark.

    Other people's programs, with marks at random times, have no such table.
    """
    if workload not in scenarios.SCENARIOS:
        return True
    known = scenarios.find(workload).has_table
    return known and all(mark.folio == "gone" for mark in scenarios.table(workload).marks)


def _complaint(command: str, done: subprocess.CompletedProcess[str]) -> str:
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    words = errors[-1] if errors else f"status {done.returncode} and no error line"
    return f"mapcount {command}: {words}"


def _report(name: str, result: guest.Result) -> None:
    kept = f"its output and console.log are in {result.run_dir}"
    if result.outcome is guest.Outcome.TIMED_OUT:
        advice = "raise --seconds-per-guest" if result.booted else "it did not boot: run it again"
        say.error(f"{name}: ended after {result.seconds:.0f} s: {advice}; {kept}")
    elif result.outcome is guest.Outcome.LOST:
        words = guest.last_words(result.run_dir)
        say.error(f"{name}: the VM was lost after {result.seconds:.0f} s ({words}); {kept}")
    else:
        say.phase(f"{name}: the guest took {result.seconds:.0f} s")
