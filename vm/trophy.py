# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the report of a new kind of finding, with a short program and a picture."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from probes.output import write_text
from probes.visible import visible
from vm import audits, build, guest, job, kernels, lab, matrix, programs, say
from vm.kinds import Sighting, sightings
from vm.programs import Program
from vm.reduction import reduce

REPORT, REPRODUCER, PICTURE, TRACE = "report.md", "replay.c", "picture.png", "trace.mapcount"
#: The marks of the fuzz workload: a seed, and how many operations it has done.
MARK = re.compile(r"seed-(\d+)-(\d+)$")
#: The longest that one program is made short for; a guest that has less than this is not begun.
REDUCE_SECONDS = 1800.0
LEAST_SECONDS = 180.0


@dataclass(frozen=True)
class Trophy:
    """A new kind, where it was found, and its program."""

    sighting: Sighting
    kernel: str  # as the lab was asked for it
    release: str
    workload: str
    folder: Path
    program: Program = ()  # empty: it is not shown by any operations of a program
    of: str = ""  # which program that is made short
    why_none: str = "it was not seen in a random program"  # why there is no program
    alone: str = ""  # what the program says of the kernel without the recorder


def make(trophy: Trophy, trace: Path, deadline: float) -> Trophy:
    """Keep TRACE if there is one, reduce the program, draw, and write the report.

    The reduction ends at DEADLINE, with the program that it has by then.
    """
    trophy.folder.mkdir(parents=True, exist_ok=True)
    if trace.is_file():
        kept = trophy.folder / TRACE
        kept.unlink(missing_ok=True)
        kept.hardlink_to(trace)
        _picture(trophy, kept)
        trophy = _with_program(trophy, kept, min(deadline, time.monotonic() + REDUCE_SECONDS))
    write_text(str(trophy.folder / REPORT), page(trophy))
    return trophy


def _picture(trophy: Trophy, trace: Path) -> None:
    """The life that the finding is about; a report without a picture is still one."""
    life = trophy.sighting.finding.get("life", -1)
    if life < 0:
        return
    output = str(trophy.folder / PICTURE)
    command = [sys.executable, str(audits.MAPCOUNT), "timeline", str(trace)]
    command += ["--life", str(life), "-o", output, "-f"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=audits.READ_SECONDS)
    if done.returncode != 0:
        say.warning(f"no picture of life {life} in {trace}: {done.stderr.strip()}")


def program_of(trace: Path, finding: dict[str, object]) -> tuple[Program, str]:
    """The operations of the fuzz workload that led to FINDING, and how the lab runs them.

    Both are empty if that workload made no mark after the finding.
    """
    command = [sys.executable, str(audits.MAPCOUNT), "stats", str(trace), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=audits.READ_SECONDS)
    shots = json.loads(done.stdout)["snapshots"] if done.returncode == 0 else []
    seen = int(str(finding.get("seen_ts", 0)))
    marks = ((MARK.search(shot["name"]), int(shot["ts_end"])) for shot in shots)
    found = next((mark for mark, end in marks if mark and end >= seen), None)
    if found is None:
        return (), ""
    seed, operations = map(int, found.groups())
    return programs.of_seed(seed, operations), f"fuzz {seed} 1 {operations}"


def _with_program(trophy: Trophy, trace: Path, deadline: float) -> Trophy:
    """TROPHY with the fewest operations that show it, if it is one of a random program."""
    program, of = program_of(trace, trophy.sighting.finding)
    if not program:
        return trophy
    trophy = replace(trophy, of=of)
    bench = Bench(trophy, deadline)
    shown = bench.shows([program])[0]
    if not shown:
        why = "the time was over" if bench.over else "the same operations did not show it again"
        say.note(f"{trophy.sighting.kind.name} has no program: {why}")
        return replace(trophy, why_none=why)
    program = reduce(program, bench.shows)
    path = trophy.folder / REPRODUCER
    path.write_text(programs.source(program))
    return replace(trophy, program=program, alone=bench.alone(path))


class Bench:
    """Guests in which programs are tried."""

    def __init__(self, trophy: Trophy, deadline: float) -> None:
        self.kind, self.kernel = trophy.sighting.kind, trophy.kernel
        self.folder = trophy.folder / "tried"
        self.deadline = deadline

    @property
    def over(self) -> bool:
        """Whether there is no time for another guest."""
        return self.deadline - time.monotonic() < LEAST_SECONDS

    def shows(self, tried: Sequence[Program]) -> list[bool]:
        """Which programs show the kind, each recorded; none after the deadline."""
        if self.over:
            return [False for _ in tried]
        say.phase(f"{self.kind.name}: {len(tried)} programs of {_sizes(tried)} operations")
        self.folder.mkdir(exist_ok=True)
        plans = {}
        for number, program in enumerate(tried):
            source = self.folder / f"try-{number}.c"
            source.write_text(programs.source(program))
            plans[source.stem] = self._plan(source, "last")
        result = matrix.run(
            [self.kernel],
            list(plans),
            self.folder,
            self.deadline - time.monotonic(),
            plan=lambda _, name: plans[name],
        )
        return [
            self.kind in (seen.kind for seen in sightings(cell, self.folder))
            for cell in result.cells
        ]

    def alone(self, source: Path) -> str:
        """The output of the program of SOURCE when nothing is recorded."""
        limit = matrix.BOOT_SECONDS + matrix.STEP_SECONDS
        options = lab.Options(kernels.resolve(self.kernel), limit=limit)
        plan = self._plan(source)
        machine, run_dir = lab.prepare(options, plan)
        script = job.script(plan.command, env=lab.environment(options), policy=plan.policy)
        result = guest.run(machine, script, run_dir, options.limit)
        if result.outcome is not guest.Outcome.FINISHED:
            return f"{result.outcome.value}: {guest.last_words(run_dir)}"
        text = (run_dir / "stdout").read_text(errors="replace")
        return f"{text.strip()}\nexit status {result.status}"

    def _plan(self, source: Path, *args: str) -> lab.Plan:
        made = build.program(source, self.folder / source.stem)
        return lab.Plan(
            source.stem, [f"{job.OUT}/{made.name}", *args], files=[made], policy="madvise"
        )


def _sizes(tried: Sequence[Program]) -> str:
    sizes = sorted({len(program) for program in tried})
    return " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))


def page(trophy: Trophy) -> str:
    """The report: what is wrong, by which documentation, where found, how to reproduce it."""
    kind, finding = trophy.sighting.kind, trophy.sighting.finding
    release = trophy.release or kind.kernel
    known = f" This is row {kind.row} of docs/trophies.md." if kind.row else ""
    parts = [
        f"# {kind.counter or kind.rule} on {release}",
        f"Kernel: {release}, in a guest of the lab.{known}",
        f"**What is wrong.** {visible(str(finding['sentence']))}",
    ]
    if finding.get("rests_on"):
        parts.append(f"**By which documentation.** {finding['rests_on']}")
    times = trophy.sighting.times
    parts.append(
        f"**Seen** {times} time{'s' * (times != 1)} in one recording of `{trophy.workload}`"
        + (f" ({TRACE})." if (trophy.folder / TRACE).exists() else ".")
    )
    if (trophy.folder / PICTURE).exists():
        parts.append(f"![the folio, with what the audit says]({PICTURE})")
    if trophy.program:
        parts += [
            f"**Reproducer.** {REPRODUCER} (`cc {REPRODUCER} && ./a.out`, as root, on a machine "
            f"that may crash) does these {len(trophy.program)} operations, the fewest of "
            f"`mapcount lab run --kernel {trophy.kernel} {trophy.of}` that show it:",
            _block("".join(operation.row for operation in trophy.program)),
            "Without the recorder it says (the last lines):",
            _block("\n".join(trophy.alone.splitlines()[-8:])),
        ]
    else:
        seen = f"`mapcount lab run --kernel {trophy.kernel} {trophy.of}` showed it; " * bool(
            trophy.of
        )
        parts.append(f"**Reproducer.** None as yet: {seen}{trophy.why_none}.")
    return "\n\n".join(parts) + "\n"


def _block(text: str) -> str:
    return "\n".join(f"    {line.strip()}" for line in text.splitlines())
