# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of the fuzz workload as lists of operations, from a seed or its output, and as C."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vm import build, scenarios

FUZZ = scenarios.WORKLOADS / "fuzz.c"
REPLAY = scenarios.WORKLOADS / "replay.c"
#: So many regions the workload maps before a seed's first operation (workers.h).
REGIONS = 4
#: A line of `fuzz -n`; what is left out because it cannot be done ends in other words.
_LINE = re.compile(
    r" *\d+ worker (\d+): (\w+) region (\d+) pages (\d+)\+(\d+)(?: to worker (\d+))?$"
)
#: The place of the operations in replay.c.
_TABLE = re.compile(r"(\t/\* PROGRAM \*/\n).*?(?=^};)", re.DOTALL | re.MULTILINE)
_INCLUDE = re.compile(r'^#include "(\w+\.h)"\n', re.MULTILINE)


@dataclass(frozen=True)
class Operation:
    """An operation of one worker on pages of a region; ``slot``: for a fork, the new worker."""

    worker: int
    kind: str
    region: int
    first: int = 0
    pages: int = 512
    slot: int = 0

    @property
    def row(self) -> str:
        """The operation in the table of replay.c."""
        numbers = f"{self.region}, {self.first}, {self.pages}, {self.slot}"
        return f"\t{{{self.worker}, {{{self.kind.upper()}, {numbers}}}}},\n"


Program = tuple[Operation, ...]


def of_seed(seed: int, operations: int) -> Program:
    """The first so many OPERATIONS of SEED, after the workload's initial ones."""
    command = [str(build.workload(FUZZ)), "-n", str(seed), "1", str(operations), str(operations)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    start = tuple(Operation(0, "map", region) for region in range(REGIONS))
    return (*start, *read(told.splitlines()))


def read(lines: Sequence[str]) -> Program:
    """The operations in the output of `fuzz -n`."""
    found = filter(None, map(_LINE.match, lines))
    return tuple(
        Operation(int(worker), kind, int(region), int(first), int(pages), int(slot or 0))
        for worker, kind, region, first, pages, slot in (match.groups() for match in found)
    )


def source(program: Program) -> str:
    """A self-contained C program that does the operations of PROGRAM and checks the result."""
    text = REPLAY.read_text()
    done: set[str] = set()

    def content(include: re.Match[str]) -> str:
        name = include[1]
        if name in done:
            return ""
        done.add(name)
        return _INCLUDE.sub(content, (scenarios.WORKLOADS / name).read_text())

    rows = "".join(operation.row for operation in program)
    return _TABLE.sub(lambda found: found[1] + rows, _INCLUDE.sub(content, text))


def write(program: Program, path: Path) -> Path:
    """Write the C program of PROGRAM to PATH."""
    path.write_text(source(program))
    return path
