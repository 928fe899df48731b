# SPDX-License-Identifier: GPL-2.0-or-later
"""Hunts for bugs in unmodified kernels: random programs, selftests and stress-ng, in turn.

One guest is one turn.  Each certain finding in its traces is of some kind (vm/kinds.py).  The trace
of the first finding of each kind is kept and reported (vm/trophy.py); all other traces are deleted.
Findings that docs/trophies.md has already are counted and reported as known.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from probes.output import write_text
from probes.visible import visible_lines
from vm import kernels, lab, matrix, say, trophy, wild
from vm.kinds import Kind, sightings
from vm.matrix import CHECKED, LEFT_OUT, Cell
from vm.trophy import Trophy

RESULTS = "hunt.json"
#: What is hunted on where nobody says: the newest kernels.
KERNELS = ("7.x", "next", "6.12")
#: The programs of one recording, their operations, and how many of these there are between marks.
SEEDS, OPERATIONS, EVERY = 8, 60, 10
#: How many recordings of random programs, or of selftests, one guest makes.
RECORDINGS = 3
FUZZ = re.compile(r"fuzz-(\d+)$")
#: A turn that has less time than this is not begun.
LEAST_SECONDS = 120.0
TESTS = tuple(name for name, program in wild.PROGRAMS.items() if program.test)
STRESS = tuple(name for name, program in wild.PROGRAMS.items() if not program.test)
COLUMNS = ("events", "lost", "snapshots", "checked", "possible")


@dataclass
class Hunt:
    """The results so far."""

    seed: int
    guests: int = 0
    cells: list[Cell] = field(default_factory=list)
    kinds: Counter[Kind] = field(default_factory=Counter)  # how often each was found
    trophies: dict[Kind, Trophy] = field(default_factory=dict)

    @property
    def new(self) -> list[Trophy]:
        """The kinds that docs/trophies.md does not have."""
        return [found for kind, found in self.trophies.items() if not kind.row]

    def total(self, column: str) -> int:
        """The sum of a column of all recordings."""
        return sum(getattr(cell, column) or 0 for cell in self.cells)

    def as_json(self) -> dict[str, Any]:
        """The content of the file RESULTS."""
        return {
            "seed": self.seed,
            "guests": self.guests,
            "outcomes": dict(Counter(cell.outcome for cell in self.cells)),
            **{column: self.total(column) for column in COLUMNS},
            "kinds": [
                {
                    "name": kind.name,
                    "known": kind.row,
                    "times": times,
                    "report": f"{kind.name}/{trophy.REPORT}" if kind in self.trophies else None,
                }
                for kind, times in self.kinds.items()
            ],
        }


def turns(names: Sequence[str], seed: int) -> Iterator[tuple[str, list[str]]]:
    """Yield without end: a kernel, and what one guest of it records."""
    for number in itertools.count():
        first = seed + number * RECORDINGS * SEEDS
        random = [f"fuzz-{first + at * SEEDS}" for at in range(RECORDINGS)]
        tests = [TESTS[(number * RECORDINGS + at) % len(TESTS)] for at in range(RECORDINGS)]
        for group in (random, tests, [STRESS[number % len(STRESS)]]):
            for name in names:
                yield name, group


def plan(kernel: kernels.Kernel, name: str) -> lab.Plan:
    """The plan for one recording of a turn."""
    found = FUZZ.match(name)
    if not found:
        return replace(wild.plan(kernel, name), alone=False)
    arguments = (found[1], str(SEEDS), str(OPERATIONS), str(EVERY))
    return replace(lab.plan_scenario("fuzz", arguments), name=name)


def run(names: Sequence[str], seconds: float, folder: Path, seed: int, anew: bool = False) -> Hunt:
    """Hunt on the kernels NAMES for so many SECONDS; reports go to FOLDER.

    ANEW: known kinds are kept, reduced and reported like new ones.
    """
    hunt = Hunt(seed)
    folder = folder.resolve()
    deadline = time.monotonic() + seconds
    left_out: set[str] = set()
    for name, workloads in turns(names, seed):
        left = deadline - time.monotonic()
        if left < LEAST_SECONDS or left_out.issuperset(names):
            return hunt
        if name in left_out:
            continue
        turn = folder / "turn"
        result = matrix.run([name], workloads, turn, left, plan=plan)
        hunt.guests += 1
        hunt.cells += result.cells
        if not result.kernels[0].release and FUZZ.match(workloads[0]):
            say.warning(f"{name} is not hunted any more: {result.cells[0].reason}")
            left_out.add(name)
        seen = [(cell, sighting) for cell in result.cells for sighting in sightings(cell, turn)]
        for _, sighting in seen:
            hunt.kinds[sighting.kind] += sighting.times
        _save(hunt, folder)
        for cell, sighting in seen:
            if sighting.kind in hunt.trophies or (sighting.kind.row and not anew):
                continue
            say.phase(f"{'known' if sighting.kind.row else 'NEW'}: {sighting.finding['sentence']}")
            release, place = result.kernels[0].release, folder / sighting.kind.name
            kept = Trophy(sighting, name, release, cell.workload, place)
            trace = turn / cell.kernel / f"{cell.workload}.mapcount"
            hunt.trophies[sighting.kind] = trophy.make(kept, trace, deadline)
            _save(hunt, folder)
        shutil.rmtree(turn)
        say.phase(summary(hunt))
    return hunt


def _save(hunt: Hunt, folder: Path) -> None:
    """What is known is kept: the reduction of a program may take long, and a hunt may be ended."""
    write_text(str(folder / RESULTS), json.dumps(hunt.as_json(), indent=1) + "\n")


def summary(hunt: Hunt) -> str:
    """The results in one line."""
    known = sum(times for kind, times in hunt.kinds.items() if kind.row)
    return (
        f"{hunt.guests} guests, {len(hunt.cells)} recordings, {hunt.total('events')} events "
        f"({hunt.total('lost')} lost), {hunt.total('checked')} values checked, "
        f"{hunt.total('possible')} possible differences; {known} findings known, "
        f"{len(hunt.new)} new kinds"
    )


def table(hunt: Hunt, folder: Path) -> str:
    """Each kind of finding, the outcomes of the recordings, and the summary."""
    lines = []
    for kind, times in hunt.kinds.most_common():
        state = f"known ({kind.row})" if kind.row else "NEW"
        report = f", see {folder / kind.name / trophy.REPORT}" if kind in hunt.trophies else ""
        lines.append(f"{state}: {kind.name}: {times} times{report}")
    for cell in hunt.cells:
        if cell.outcome not in (CHECKED, LEFT_OUT):
            lines.append(f"{cell.workload} on {cell.kernel}: {cell.outcome}: {cell.reason}")
    return visible_lines([*lines, summary(hunt)])
