# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of others under the recorder: how they are run, and what counts as a false alarm."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import vm.__main__
from vm import arch, build, chroot, job, kernels, lab, matrix, selftests, wild
from vm.matrix import CHECKED, FAILED, LEFT_OUT, Cell, Matrix

KERNEL = kernels.resolve("6.1")


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "workload", lambda source, *_: tmp_path / source.stem)


def test_plan_runs_the_program_beside_marks() -> None:
    # WHEN a program's plan is made
    plan = wild.plan(KERNEL, "stress-tasks")
    # THEN the process that makes marks runs it, and its package goes into the guest's root
    assert plan.command[0] == f"{job.OUT}/marks"
    assert "for one in fork vfork clone userfaultfd shm" in plan.command[-1]
    assert plan.packages == ("stress-ng",)
    # AND the kernel gives everybody huge pages, as nobody asks for them
    assert plan.policy == "always"


def test_stressor_that_an_older_stress_ng_has_not_is_left_out(tmp_path: Path) -> None:
    # GIVEN a stress-ng that has no stressor munmap, and ends when it is asked for one
    fake = tmp_path / "stress-ng"
    fake.write_text(
        """#!/bin/sh
[ "$1" = --stressors ] && { echo "vm vm-addr mmapfork mmapmany remap mremap"; exit; }
echo "$@"
"""
    )
    fake.chmod(0o755)
    # WHEN a program with that stressor runs
    done = subprocess.run(
        wild.find("stress-map").command, env={"PATH": f"{tmp_path}:{os.defpath}"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    # THEN the others run, and that it is left out is told
    assert "--vm 1 --mmapfork 1 --mmapmany 1 --remap 1 --mremap 1\n" in done.stdout
    assert "no stressor munmap\n" in done.stdout


def test_selftest_is_the_one_of_the_kernels_suite(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # GIVEN the selftests of two suites, one of which has no khugepaged
    for suite in ("bookworm", "forky"):
        (tmp_path / suite).mkdir()
    (tmp_path / "bookworm/khugepaged").touch()
    monkeypatch.setattr(selftests, "ensure", lambda suite: tmp_path / suite)
    # WHEN the plan is made for a kernel of the first
    plan = wild.plan(KERNEL, "khugepaged")
    # THEN its program goes into the guest, beside the one that makes marks, and runs twice
    assert plan.files == [tmp_path / "marks", tmp_path / "bookworm/khugepaged"]
    assert f"{job.OUT}/khugepaged" in plan.command[-1]
    assert plan.alone
    # AND the other kernel goes without
    with pytest.raises(matrix.LeftOut, match="no khugepaged"):
        wild.plan(kernels.resolve("7.x"), "khugepaged")


@pytest.mark.parametrize(("name", "orders"), [("ksm_tests", ("--min-order", "0")), ("cow", ())])
def test_small_pages_are_recorded_where_a_test_has_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, orders: tuple[str, ...]
) -> None:
    # GIVEN a selftest
    (tmp_path / name).touch()
    monkeypatch.setattr(selftests, "ensure", lambda suite: tmp_path)
    # WHEN its plan is made THEN small pages are watched if it has small pages alone
    assert wild.plan(KERNEL, name).record == (*wild.RECORD, *orders)


def test_stress_of_small_pages_records_these_and_leaves_the_policy_as_it_was() -> None:
    # WHEN the plan of the stressors for small pages is made
    plan = wild.plan(KERNEL, "stress-small")
    # THEN small pages are recorded, huge ones are off while it runs, and on for the next program
    assert plan.record == (*wild.RECORD, *wild.SMALL)
    script = plan.command[-1]
    off, on = (
        script.index(f"echo {policy} >/sys/kernel/mm/transparent_hugepage/enabled")
        for policy in ("never", "always")
    )
    assert off < script.index("stress-ng") < on
    assert script.endswith("exit $status")


def test_pool_is_given_back_when_the_test_is_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # GIVEN a test that needs hugetlb pages
    (tmp_path / "map_hugetlb").touch()
    monkeypatch.setattr(selftests, "ensure", lambda suite: tmp_path)
    # WHEN its plan is made THEN they are there before it, gone after it, and its status is kept
    script = wild.plan(KERNEL, "map_hugetlb").command[-1]
    before, after = (
        script.index(f"echo {n} >/proc/sys/vm/nr_hugepages") for n in (wild.POOL_PAGES, 0)
    )
    assert before < script.index(f"{job.OUT}/map_hugetlb") < after
    assert script.endswith("exit $status")


def test_guest_has_the_packages_of_all_its_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # GIVEN the plans of two programs for one guest
    asked: list[tuple[str, ...]] = []

    def ensure(
        suite: str,
        packages: tuple[str, ...] = chroot.PACKAGES,
        machine: arch.Arch = arch.GUEST,
    ) -> Path:
        asked.append(packages)
        return tmp_path

    monkeypatch.setattr(chroot, "ensure", ensure)
    monkeypatch.setattr(kernels, "image_of", lambda kernel, root: tmp_path / "vmlinuz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MAPCOUNT_ACCEL", "tcg")
    (tmp_path / "marks").touch()
    both = lab.plan_together(
        "both", [wild.plan(KERNEL, "stress-map"), wild.plan(KERNEL, "stress-tasks")], tmp_path
    )
    # WHEN it is prepared THEN its root has what every guest has, and theirs once
    lab.prepare(lab.Options(kernels.resolve("6.1")), both)
    assert asked == [(*chroot.PACKAGES, "stress-ng")]


@pytest.mark.parametrize(("asked", "cpus"), [(None, 3), (1, 1)])
def test_guest_has_the_cpus_of_the_program_that_needs_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: int | None, cpus: int
) -> None:
    # GIVEN a test that skips everything on two CPUs, and one that does not care
    (tmp_path / "migration").touch()
    (tmp_path / "marks").touch()
    monkeypatch.setattr(selftests, "ensure", lambda suite: tmp_path)
    monkeypatch.setattr(chroot, "ensure", lambda *_: tmp_path)
    monkeypatch.setattr(kernels, "image_of", lambda kernel, root: tmp_path / "vmlinuz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MAPCOUNT_ACCEL", "tcg")
    plans = [wild.plan(KERNEL, "migration"), wild.plan(KERNEL, "stress-map")]
    # WHEN their guest is prepared THEN it has enough for both, if nobody asked for another number
    machine, _ = lab.prepare(
        lab.Options(kernels.resolve("6.1"), asked), lab.plan_together("both", plans, tmp_path)
    )
    assert machine.cpus == cpus


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
        (Cell("6.1", "rmap", LEFT_OUT, "not in this kernel"), True),
        (replace(CELL, verdict="status 0", alone="status 0"), True),
        (replace(CELL, verdict="status 1", alone="status 0"), False),
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
    cell = replace(CELL, verdict="status 2, 3 passed", alone="status 0, 4 passed")
    lines = wild.table(Matrix([], [cell])).splitlines()
    assert lines[0].split() == [*wild.COLUMNS, "verdict"]
    assert lines[1].split() == [
        *("6.1", "stress-map", *map(str, (9, 1, 4, 7, 0, 2, 0, 3, 1.5))),
        *("status", "2,", "3", "passed"),
    ]
    assert lines[2:] == [
        "stress-map on 6.1: step sh ended with status 2",
        "stress-map on 6.1: without the recorder its verdict is status 0, 4 passed",
    ]


def test_unknown_program_is_a_slip_of_the_pen(capsys: pytest.CaptureFixture[str]) -> None:
    assert vm.__main__.main(["wild", "--program", "stress"]) == 2
    assert "give some of stress-map" in capsys.readouterr().err
