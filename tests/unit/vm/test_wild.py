# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of others under the recorder: how they are run, and what counts as a false alarm."""

from pathlib import Path

import pytest

import vm.__main__
from vm import build, chroot, job, kernels, lab, matrix, wild
from vm.matrix import CHECKED, FAILED, Cell, Matrix


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "workload", lambda source: tmp_path / source.stem)


def test_plan_runs_the_program_beside_marks() -> None:
    # WHEN a program's plan is made
    plan = wild.plan("stress-tasks")
    # THEN the process that makes marks runs it, and its package goes into the guest's root
    assert plan.command[0] == f"{job.OUT}/marks"
    assert "--fork 1 --vfork 1" in plan.command[-1]
    assert plan.packages == ("stress-ng",)
    # AND the kernel gives everybody huge pages, as nobody asks for them
    assert plan.policy == "always"


def test_guest_has_the_packages_of_all_its_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # GIVEN the plans of two programs for one guest
    asked: list[tuple[str, ...]] = []

    def ensure(suite: str, packages: tuple[str, ...] = chroot.PACKAGES) -> Path:
        asked.append(packages)
        return tmp_path

    monkeypatch.setattr(chroot, "ensure", ensure)
    monkeypatch.setattr(kernels, "image_of", lambda kernel, root: tmp_path / "vmlinuz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MAPCOUNT_ACCEL", "tcg")
    (tmp_path / "marks").touch()
    both = lab.plan_together("both", [wild.plan("stress-map"), wild.plan("stress-tasks")], tmp_path)
    # WHEN it is prepared THEN its root has what every guest has, and theirs once
    lab.prepare(lab.Options(kernels.resolve("6.1")), both)
    assert asked == [(*chroot.PACKAGES, "stress-ng")]


CELL = Cell(
    "6.1", "stress-map", CHECKED, seconds=1.5, events=9, lost=1, snapshots=4, checked=7,
    differences=0, possible=2, certain=0, findings=3, notes=("step sh ended with status 2",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "silent"),
    [
        (CELL, True),
        (Cell("6.1", "stress-map", CHECKED, differences=1, certain=0), False),
        (Cell("6.1", "stress-map", CHECKED, differences=0, certain=1), False),
        (Cell("6.1", "stress-map", FAILED, "no output"), False),
    ],
)
def test_only_what_is_certain_is_an_alarm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cell: Cell, silent: bool
) -> None:
    # GIVEN what became of one program
    monkeypatch.setattr(matrix, "run", lambda *args, **more: Matrix([], [cell]))
    argv = ["wild", "--program", "stress-map", "-o", str(tmp_path)]
    # WHEN the command ends THEN its status says whether anything was an alarm
    assert vm.__main__.main(argv) == (0 if silent else 1)


def test_table_shows_the_figures_and_what_the_program_said() -> None:
    lines = wild.table(Matrix([], [CELL])).splitlines()
    assert lines[0].split() == list(wild.COLUMNS)
    assert lines[1].split() == ["6.1", "stress-map", *map(str, (9, 1, 4, 7, 0, 2, 0, 3, 1.5))]
    assert lines[2] == "stress-map on 6.1: step sh ended with status 2"


def test_unknown_program_is_a_slip_of_the_pen(capsys: pytest.CaptureFixture[str]) -> None:
    assert vm.__main__.main(["wild", "--program", "stress"]) == 2
    assert "give some of stress-map" in capsys.readouterr().err
