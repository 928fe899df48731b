# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests that the kernel tests name: what each does, and what its tests take from it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from probes.tasks import descendants
from probes.tracefile import BlockType, Reader
from tests.guests import ENVIRONMENT, GUEST_SECONDS, ROOT, lab, lab_run
from tests.kernel import fuzzing
from vm import build, foreign, kernels, scenarios

HERE = Path(__file__).parent
#: What every kernel is held to at every landing: the workloads with written tables, an anonymous
#: folio and a file's, so that both families of rmap functions are met.
STORIES = ("lifecycle", "shmem-thp", "exclusive-2025")
EVERY_WORKLOAD = tuple(name for name in scenarios.SCENARIOS if name != "fuzz")
LAB_KERNELS = tuple(kernel.name for kernel in kernels.LAB_KERNELS)
#: Kernels of another machine, and what is recorded there: each family of operations once.
ARM64_KERNELS = tuple(kernel.name for kernel in kernels.ARM64_KERNELS)
ARM64_WORKLOADS = (
    "lifecycle", "shmem-thp", "fork-thp", "anon-parts", "mthp", "file-thp", "migrate", "where",
    "waste", "holders", "fuzz",
)  # fmt: skip
#: By the size of their pages: where it is that of x86-64, the written tables hold.
ARM64_OF_4_KIB, ARM64_OF_16_KIB = "6.12-arm64", "6.12-arm64-16k"
#: The kernel of the tests that need one kernel, and one with folios beside it, boot at every
#: landing; `make truth` boots them all.
KERNEL = os.environ.get("MAPCOUNT_KERNEL", "6.1")
OTHER_KERNEL = "6.12"
#: The cases of doctor_cases.sh of every landing.
DOCTOR_AT_LANDING = ("complete", "no_btf", "no_symbols")
#: These begin before the others, in this order: those that compile what the others of their kernels
#: then have, and the longest.
FIRST = ("doctor", f"stories-{OTHER_KERNEL}", f"matrix-{KERNEL}")
#: So many events of the killed guest must have reached the host.
KILLED_EVENTS = 1000
#: Workloads that are recorded with --where beside the one that is about it: each family of ways in
#: which mappings come and go.
PLACED = (
    "lifecycle", "shmem-thp", "anon-parts", "fork-thp", "file-thp", "swap-thp", "shared-mm",
)  # fmt: skip
#: Programs of docs/trophies that say by their exit status what they see of a kernel.
TROPHIES = ("t1-exclusive", "t2-mapmax")
#: Seeds of the fuzz workload: FIRST:END, and then 60 operations each with a mark after 10.
SEEDS = os.environ.get("MAPCOUNT_FUZZ_SEEDS", "1:9")
FUZZ = fuzzing.Programs.of_seeds(SEEDS, 60, 10)


def of_kernels(guest: str, kernels: Sequence[str], at_landing: bool = True) -> list[Any]:
    """The guest of each kernel, as parameters of a test; those that do not boot at every landing
    wait for `make truth`."""
    return [
        pytest.param(
            guest.format(kernel),
            marks=[pytest.mark.guest(guest.format(kernel))]
            + ([] if kernel == KERNEL and at_landing else [pytest.mark.truth]),
        )
        for kernel in kernels
    ]


def place(number: int) -> int:
    """The address of a workload's region: place() of vm/workloads/story.h."""
    return 0x700000000000 + number * (4 << 21)


@dataclass(frozen=True)
class Recorded:
    """A guest that recorded workloads: `mapcount lab matrix` on one kernel."""

    run: subprocess.CompletedProcess[str]
    data: dict[str, Any]
    folder: Path

    def cell(self, workload: str) -> dict[str, Any]:
        """The row of the matrix for a workload."""
        found: dict[str, Any] = next(
            cell for cell in self.data["cells"] if cell["workload"] == workload
        )
        return found

    def trace(self, workload: str) -> Path:
        """The trace of a workload that was recorded."""
        cell = self.cell(workload)
        said = f"{workload}: {cell['outcome']}: {cell['reason']}"
        assert cell["trace"], f"{said}\n{self.run.stderr}"
        return self.folder / str(cell["trace"])


def matrix(kernel: str, workloads: Sequence[str]) -> Callable[[Path], Recorded]:
    """The job of a guest that records WORKLOADS on KERNEL."""

    def job(folder: Path) -> Recorded:
        run = lab("matrix", "--kernel", kernel, "--workload", *workloads, "-o", folder)
        results = folder / "matrix.json"
        assert results.exists(), run.stdout + run.stderr
        return Recorded(run, json.loads(results.read_text()), folder)

    return job


def script(
    name: str, workload: str, *options: str, arguments: Sequence[str] = ()
) -> Callable[[Path], Path]:
    """The job of a guest that runs the script NAME with a workload's program in its folder."""

    def job(folder: Path) -> Path:
        shutil.copy2(HERE / name, folder / name)
        shutil.copy2(build.workload(scenarios.find(workload).source), folder / "workload")
        run = lab_run(
            "--no-record", *options, "--", f"./{name}", "workload", *arguments, cwd=folder
        )
        assert run.returncode == 0, run.stdout + run.stderr
        (folder / "lab.err").write_text(run.stderr)
        return folder

    return job


def rings(kernel: str) -> Callable[[Path], Path]:
    """The job of a guest that records loads that are hard on the rings; its folder."""

    def job(folder: Path) -> Path:
        sources = (HERE / "forks.c", HERE / "preempts.c", scenarios.find("lifecycle").source)
        for path in (*map(build.workload, sources), HERE / "rings.sh"):
            shutil.copy2(path, folder)
        run = lab_run("--kernel", kernel, "--no-record", "--", "./rings.sh", cwd=folder)
        assert run.returncode == 0, run.stdout + run.stderr
        for path in folder.glob("*.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        return folder

    return job


def places(kernel: str) -> Callable[[Path], Path]:
    """The job of a guest that records workloads on KERNEL with --where: its folder, with
    NAME.mapcount of each."""

    def job(folder: Path) -> Path:
        shutil.copy2(HERE / "places.sh", folder / "places.sh")
        machine = kernels.BY_NAME[kernel].machine
        for name in PLACED:
            shutil.copy2(build.workload(scenarios.find(name).source, machine), folder / name)
        limit = GUEST_SECONDS * foreign.slower(machine)
        options = ("--kernel", kernel, "--timeout", limit, "--no-record")
        run = lab_run(*options, "--", "sh", "./places.sh", *PLACED, cwd=folder)
        assert run.returncode == 0, run.stdout + run.stderr
        return folder

    return job


def crash(folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The job of a guest whose kernel dies: what the lab said, and the trace."""
    shutil.copy2(HERE / "crash.py", folder / "crash.py")
    path = folder / "crash.mapcount"
    run = lab_run("--kernel", KERNEL, "-o", path, "--", "python3", "./crash.py", cwd=folder)
    assert run.returncode == 128, run.stderr
    return run, path


def killed(folder: Path) -> tuple[int, str, Path]:
    """The job of a guest whose QEMU is killed while it records: status, words, and the trace."""
    shutil.copy2(HERE / "crash.py", folder / "crash.py")
    path = folder / "killed.mapcount"
    command = [sys.executable, str(ROOT / "mapcount.py"), "lab", "run", "--kernel", KERNEL]
    command += ["--timeout", str(GUEST_SECONDS), "-o", str(path)]
    command += ["--", "python3", "./crash.py", "wait"]
    process = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    while streamed(path) <= KILLED_EVENTS:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)
    for pid in descendants([process.pid]):
        if Path(f"/proc/{pid}/comm").read_text().startswith("qemu"):
            os.kill(pid, signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said, path


def oracle(folder: Path) -> Path:
    """The job of a guest where bpftrace looks beside us; its folder."""
    marks = {mark.name for mark in scenarios.table("lifecycle").marks if mark.folio != "gone"}
    run = script("oracle.sh", "lifecycle", "--kernel", KERNEL)
    # The kernel skips bpftrace's program, too, where another one is active on that CPU: once more,
    # for what bpftrace did not see says nothing about what we saw.
    for attempt in ("first", "second"):
        (folder / attempt).mkdir()
        told = run(folder / attempt) / "oracle.txt"
        if marks <= set(re.findall(r"^mark (\w+)", told.read_text(), re.MULTILINE)):
            break
    return told.parent


def published(kernel: str) -> Callable[[Path], Path]:
    """The job of a guest where the audit and the programs of docs/trophies ask KERNEL the same:
    its folder, with t.mapcount, and PROGRAM.out and PROGRAM.status of each."""

    def job(folder: Path) -> Path:
        sources = [ROOT / "docs" / "trophies" / f"{name}.c" for name in TROPHIES]
        for source in (scenarios.find("exclusive-2025").source, *sources):
            shutil.copy2(build.workload(source), folder)
        lines = [f"./{name} >{name}.out; echo $? >{name}.status" for name in TROPHIES]
        (folder / "job.sh").write_text("\n".join(["./exclusive-2025 || exit", *lines, ""]))
        trace = folder / "t.mapcount"
        run = lab_run("--kernel", kernel, "-o", trace, "--", "sh", "./job.sh", cwd=folder)
        assert run.returncode == 0, run.stdout + run.stderr
        return folder

    return job


def rights(kernel: str) -> Callable[[Path], list[str]]:
    """The job of a guest that reads page tables of its own on KERNEL; the lines that it printed."""

    def job(folder: Path) -> list[str]:
        shutil.copy2(HERE / "rights_of_self.py", folder)
        limit = GUEST_SECONDS * foreign.slower(kernels.BY_NAME[kernel].machine)
        options = ("--kernel", kernel, "--timeout", limit, "--no-record")
        command = "python3 rights_of_self.py >told.txt 2>&1"
        run = lab_run(*options, "--", "sh", "-c", command, cwd=folder)
        told = (folder / "told.txt").read_text()
        assert run.returncode == 0, told + run.stderr
        return told.splitlines()

    return job


def fuzz(kernel: str) -> Callable[[Path], fuzzing.Outcome]:
    """The job of a guest that records the fuzz workload's programs of some seeds on KERNEL."""
    return lambda folder: fuzzing.run(FUZZ, kernel, folder / "fuzz.mapcount")


def streamed(path: Path) -> int:
    """How many events a trace holds that is still being written."""
    if not path.exists() or not path.stat().st_size:
        return 0
    with Reader(str(path)) as reader:
        return sum(block.count for block in reader.blocks() if block.type == BlockType.EVENTS)


def jobs() -> dict[str, Callable[[Path], Any]]:
    """Every guest that a test may name."""
    on = ("--kernel", KERNEL)
    # One CPU: probes come and go there in code that runs, and QEMU 7.2 emulates that wrongly with
    # more of them.
    alone = (*on, "--cpus", "1")
    return {
        **{f"matrix-{kernel}": matrix(kernel, EVERY_WORKLOAD) for kernel in LAB_KERNELS},
        **{f"matrix-{kernel}": matrix(kernel, ARM64_WORKLOADS) for kernel in ARM64_KERNELS},
        **{f"stories-{kernel}": matrix(kernel, STORIES) for kernel in LAB_KERNELS},
        "recorder": script("cases.sh", "seed-2015", *alone),
        "doctor": script("doctor_cases.sh", "lifecycle", *on, arguments=DOCTOR_AT_LANDING),
        "doctor-all": script("doctor_cases.sh", "lifecycle", *on),
        **{f"fuzz-{kernel}": fuzz(kernel) for kernel in LAB_KERNELS},
        **{f"published-{kernel}": published(kernel) for kernel in LAB_KERNELS},
        **{f"rings-{kernel}": rings(kernel) for kernel in LAB_KERNELS},
        **{f"places-{kernel}": places(kernel) for kernel in (*LAB_KERNELS, ARM64_OF_4_KIB)},
        **{f"rights-{kernel}": rights(kernel) for kernel in (*LAB_KERNELS, *ARM64_KERNELS)},
        "oracle": oracle,
        "crash": crash,
        "killed": killed,
    }
