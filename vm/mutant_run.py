# SPDX-License-Identifier: GPL-2.0-or-later
"""Activates each planted bug in a guest, records its workload, and audits the trace."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from probes.output import write_text
from vm import arch, audits, flight, foreign, guest, job, kernels, lab, mutants, qmp, say
from vm.mutants import BUG_SWITCH, Base, Mutant

RESULTS = "mutants.json"
STEP_SECONDS = 600.0
BOOT_SECONDS = 180.0


@dataclass(frozen=True)
class Case:
    """One recording: of a workload, with a bug active or (None) on the healthy kernel."""

    workload: str
    mutant: Mutant | None = None

    @property
    def name(self) -> str:
        return self.mutant.name if self.mutant else f"healthy-{self.workload}"


@dataclass(frozen=True)
class Verdict:
    """The result of the audit of one case."""

    kernel: str
    case: str
    workload: str
    breaks: str = ""
    expected: str = ""  # the function that must be named; empty for the healthy kernel
    certain: int = 0  # errors, see vm/audits.py
    possible: int = 0
    races: int = 0
    functions: dict[str, int] | None = None  # how many certain findings name which function
    rules: dict[str, int] | None = None
    sentence: str = ""  # the first certain finding that names the expected function, or any
    trouble: str = ""  # what went wrong in the guest or with the audit

    @property
    def named(self) -> bool:
        return self.expected in (self.functions or {})

    @property
    def good(self) -> bool:
        """Whether a bug is found and its function named, or a healthy kernel has no finding.

        If a bug is found, its effect on the workload, or on the whole guest, does not matter.
        """
        return self.named if self.expected else not (self.certain or self.trouble)


def cases(base: Base, names: Sequence[str]) -> list[Case]:
    """The recordings for the bugs NAMES: first their workloads, without any bug."""
    chosen = [mutant for mutant in base.mutants if not names or mutant.name in names]
    healthy = dict.fromkeys(mutant.workload for mutant in chosen)
    return [*map(Case, healthy), *(Case(mutant.workload, mutant) for mutant in chosen)]


def run(bases: Sequence[Base], names: Sequence[str], folder: Path) -> list[Verdict]:
    """Record and audit the bugs NAMES (none: all) of BASES; the traces go to FOLDER."""
    verdicts: list[Verdict] = []
    (folder / RESULTS).unlink(missing_ok=True)  # older ones must not pass for this run's
    for base in bases:
        traces = folder.resolve() / base.name
        traces.mkdir(parents=True, exist_ok=True)
        wanted = cases(base, names)
        troubles = _record(base, wanted, traces)
        for case in wanted:
            trace = traces / f"{case.name}.mapcount"
            verdict = Verdict(base.name, case.name, case.workload)
            if case.mutant:
                verdict = replace(verdict, breaks=case.mutant.breaks, expected=case.mutant.function)
            verdicts.append(_judge(replace(verdict, trouble=troubles.get(case.name, "")), trace))
            write_text(str(folder / RESULTS), json.dumps([asdict(v) for v in verdicts], indent=1))
    return verdicts


def _record(base: Base, wanted: Sequence[Case], traces: Path) -> dict[str, str]:
    """Record all cases, in as few guests as it takes; what went wrong with which."""
    kernel = kernels.resolve(base.name)
    troubles: dict[str, str] = {}
    left = list(wanted)
    while left:
        tried = together(left)
        result = _guest(base, kernel, tried, traces)
        ended = [case for case in tried if _status(result, case) is not None]
        for case in ended:
            if _status(result, case) != 0:
                where = result.run_dir / job.STEPS / case.name
                troubles[case.name] = f"status {_status(result, case)}, see {where}"
        left = [case for case in left if case not in ended]
        if len(ended) < len(tried):
            # The kernel died of this one, or never booted; the others get a guest of their own.
            words = guest.last_words(result.run_dir)
            troubles[left[0].name] = f"{result.outcome.value}: {words}"
            say.warning(f"{left[0].name}: {result.outcome.value} ({words})")
            left = left[1:] if result.booted else []
    return troubles


def together(left: Sequence[Case]) -> list[Case]:
    """Those of the cases LEFT that the next guest records."""
    ruins = (place for place, case in enumerate(left) if case.mutant and case.mutant.ruins)
    return list(left[: next(ruins, len(left)) + 1])


def _status(result: guest.Result, case: Case) -> int | None:
    return guest.read_status(result.run_dir / job.STEPS / case.name / "status")


def _guest(
    base: Base, kernel: kernels.Kernel, wanted: Sequence[Case], traces: Path
) -> guest.Result:
    """One guest that records WANTED one after the other."""
    plans = {case.name: lab.plan_scenario(case.workload, kernel=kernel) for case in wanted}
    slower = foreign.slower(kernel.machine)
    steps = []
    for case in wanted:
        (traces / f"{case.name}.mapcount").unlink(missing_ok=True)
        more = case.mutant.record if case.mutant else ()
        command = lab.record_command(plans[case.name], f"{case.name}.mapcount", more)
        number = base.number(case.mutant) if case.mutant else 0
        steps.append(job.Step(case.name, _awake(number, command), STEP_SECONDS * slower))
    everything = lab.plan_together(f"mutants-{base.name}", list(plans.values()), traces)
    limit = BOOT_SECONDS * slower + sum(step.seconds for step in steps)
    options = lab.Options(kernel, limit=limit)
    machine, run_dir = lab.prepare(options, everything)
    say.phase(f"booting {base.name} ({lab.how(machine)}) for {len(steps)} recordings")
    told: set[str] = set()

    def poll() -> None:
        for step in steps:
            done = guest.read_status(run_dir / job.STEPS / step.name / "status") is not None
            if done and step.name not in told:
                told.add(step.name)
                say.phase(f"recorded {step.name} ({len(told)} of {len(steps)})")

    def rescue(monitor: qmp.Qmp) -> None:
        """The kernel dies of one of its bugs: what was recorded of that one is in its memory."""
        for step in steps:
            if guest.read_status(run_dir / job.STEPS / step.name / "status") is None:
                flight.Flight(traces / f"{step.name}.mapcount", run_dir).rescue(monitor)
                break

    script = job.batch(steps, lab.environment(options), policy="madvise")
    return guest.run(machine, script, run_dir, limit, poll, rescue)


def _awake(number: int, command: Sequence[str]) -> list[str]:
    """COMMAND with the bug awake just for its time."""
    text = (
        f"echo {number} >{BUG_SWITCH} || exit; {shlex.join(command)}; status=$?; "
        f"echo 0 >{BUG_SWITCH}; exit $status"
    )
    return ["sh", "-c", text]


def _judge(verdict: Verdict, trace: Path) -> Verdict:
    """VERDICT with what the audit says about TRACE."""
    if not trace.is_file():
        return replace(verdict, trouble=verdict.trouble or "the recorder left no trace")
    try:
        return told(verdict, audits.findings(trace))
    except say.LabError as problem:
        return replace(verdict, trouble=verdict.trouble or str(problem))


def told(verdict: Verdict, findings: Sequence[dict[str, Any]]) -> Verdict:
    """VERDICT with the FINDINGS of `mapcount audit --json`."""
    errors = audits.errors(findings)
    certain = [finding for finding in errors if finding["certainty"] == "certain"]
    named = [finding for finding in certain if finding["function"] == verdict.expected]
    first = (named or certain)[:1]
    return replace(
        verdict,
        certain=len(certain),
        possible=len(errors) - len(certain),
        races=sum(finding["severity"] == audits.RACE for finding in findings),
        functions=dict(Counter(str(finding["function"]) for finding in certain)),
        rules=dict(Counter(str(finding["rule"]) for finding in certain)),
        sentence=str(first[0]["sentence"]) if first else "",
    )


def choose(kernel: Sequence[str], names: Sequence[str]) -> list[Base]:
    """The bases that the command line selects; a wrong name is an error at once."""
    for name in kernel:
        if name not in mutants.BASES:
            known = ", ".join(mutants.BASES)
            raise say.LabError(f"no bugs are known for kernel {name!r}: give one of {known}", 2)
    # Kernels of another machine are emulated: nobody gets one without asking for it by name.
    usual = [base.name for base in mutants.BASES.values() if base.machine == arch.GUEST]
    bases = [base for base in mutants.BASES.values() if base.name in (kernel or usual)]
    known_names = [mutant.name for base in bases for mutant in base.mutants]
    for name in names:
        if name not in known_names:
            raise say.LabError(f"unknown bug {name!r}: give some of {', '.join(known_names)}", 2)
    return [base for base in bases if not names or any(m.name in names for m in base.mutants)]
