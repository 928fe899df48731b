# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of the fuzz workload as lists of operations, and as C that needs nothing beside it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vm import build, programs
from vm.programs import Operation

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="gcc is missing: apt-get install gcc"
)


def test_lines_of_the_generator_are_operations() -> None:
    # GIVEN what `fuzz -n` prints WHEN it is read
    found = programs.read(
        [
            "   1 worker 0: punch region 3 pages 267+1",
            "   2 worker 0: end region 0 pages 109+1 (left out)",
            "   3 worker 1: fork region 1 pages 256+256 to worker 2",
            "seed-1-3",
        ]
    )
    # THEN what was left out is no operation, and a mark is none
    assert found == (
        Operation(0, "punch", 3, 267, 1),
        Operation(1, "fork", 1, 256, 256, 2),
    )


@needs_gcc
def test_seed_has_as_many_operations_as_its_workload_does() -> None:
    # GIVEN a seed at two lengths WHEN its operations are asked for
    long, short = programs.of_seed(3, 60), programs.of_seed(3, 25)
    # THEN they begin with what the workload maps at first, and the short one begins the long one
    assert [one.kind for one in short[: programs.REGIONS]] == ["map"] * programs.REGIONS
    assert long[: len(short)] == short and len(short) <= 25 + programs.REGIONS < len(long)


def test_table_of_a_program_takes_the_place_of_the_example() -> None:
    # GIVEN a program of two operations WHEN its source is made
    text = programs.source((Operation(0, "map", 2), Operation(0, "fork", 1, 5, 7, 3)))
    # THEN they are its table, in their order, and no file of ours is asked for
    table = text[text.index("/* PROGRAM */") : text.index("};", text.index("/* PROGRAM */"))]
    assert table.splitlines()[1:] == [
        "\t{0, {MAP, 2, 0, 512, 0}},",
        "\t{0, {FORK, 1, 5, 7, 3}},",
    ]
    assert '#include "' not in text


@needs_gcc
def test_source_of_a_program_compiles_by_itself(tmp_path: Path) -> None:
    # GIVEN the program of a seed WHEN its C is compiled where nothing else lies
    source = tmp_path / "replay.c"
    source.write_text(programs.source(programs.of_seed(1, 60)))
    made = build.program(source, tmp_path / "replay")
    # THEN it is a program, and no warning was given
    assert made.is_file()
    command = ["gcc", *build.FLAGS, "-Werror", "-fsyntax-only", str(source)]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
