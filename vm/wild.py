# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that were not written for this recorder: does it report errors of healthy kernels?

Each runs beside a process that makes marks at random times, so that snapshots are taken anywhere
in it.  Certain findings and differences in its trace are false alarms, or kernel bugs.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from probes.visible import visible_lines
from vm import build, job, kernels, lab, scenarios, selftests
from vm.matrix import CHECKED, LEFT_OUT, Cell, LeftOut, Matrix
from vm.matrix_text import figure
from vm.say import LabError

#: What is lost makes findings doubtful: rings that take in what comes while the trace is written
#: into the host's folder, which is slower than a load of small pages.
RECORD = ("--buffer", "256")
#: Where a program has small pages alone, there is nothing to record but these.
SMALL = ("--min-order", "0")
#: The longest pause between two marks.
PAUSE_MS = 2000
SEED = 1
#: Most of these tests map 256 MiB, some the half of it once more.
POOL_PAGES = 200
#: How long stress-ng runs, in the guest, and the longest that a test may.
STRESS_SECONDS = 40
TEST_SECONDS = 120


@dataclass(frozen=True)
class Program:
    """A program of others, and the Debian packages that have it.

    ``test``: the kernel's selftest that it is; ``before`` and ``after``: shell code that
    prepares the guest, and restores it; ``cpus``: how many it needs at least; ``small``: its pages
    are no large folios.
    """

    name: str
    shows: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    test: str = ""
    before: str = ":"
    after: str = ":"
    cpus: int = lab.Plan.cpus
    small: bool = False

    @property
    def script(self) -> str:
        """The script for a shell in the guest."""
        run = shlex.join(self.command)
        return f"{self.before}; cd /tmp; {run}; status=$?; {self.after}; exit $status"


def _stress(name: str, shows: str, *stressors: str, before: str = ":", after: str = ":",
            small: bool = False) -> Program:  # fmt: skip
    """Those of some stressors at once that the suite's stress-ng has."""
    # A stressor that the kernel kills for its memory need not come again.
    options = f"--timeout {STRESS_SECONDS} --temp-path /tmp --oomable --vm-bytes 64m"
    script = (
        f'set -- {options}; has=" $(stress-ng --stressors) "; '
        f"for one in {' '.join(stressors)}; do "
        'case $has in *" $one "*) set -- "$@" "--$one" 1;; *) echo "no stressor $one";; esac; '
        'done; exec stress-ng "$@"'
    )
    return Program(
        name, shows, ("sh", "-c", script), ("stress-ng",),
        before=before, after=after, small=small,
    )  # fmt: skip


def _test(test: str, shows: str, *args: str, name: str = "", seconds: int = TEST_SECONDS,
          before: str = ":", after: str = ":", cpus: int = lab.Plan.cpus,
          small: bool = False) -> Program:  # fmt: skip
    """One of the kernel's selftests, called TEST there."""
    command = ("timeout", str(seconds), f"{job.OUT}/{test}", *args)
    return Program(
        name or test, shows, command,
        test=test, before=before, after=after, cpus=cpus, small=small,
    )  # fmt: skip


#: How the hugetlb pool gets its pages, and how it gives them back.
_FILL, _EMPTY = (f"echo {pages} >/proc/sys/vm/nr_hugepages" for pages in (POOL_PAGES, 0))


def _pool(test: str, shows: str, *args: str) -> Program:
    """A test that takes its pages from the hugetlb pool."""
    mount = "mkdir -p /tmp/huge; mount -t hugetlbfs none /tmp/huge"
    return _test(
        test, shows, *args,
        before=f"{_FILL}; {mount}", after=f"umount /tmp/huge; {_EMPTY}",
    )  # fmt: skip


#: Nothing but small pages for those who do not ask for huge ones, and the guest's policy again.
_NEVER, _ALWAYS = (
    f"echo {policy} >/sys/kernel/mm/transparent_hugepage/enabled" for policy in ("never", "always")
)
#: ksmd is asleep in the lab's guests.
_KSM = "echo 1 >/sys/kernel/mm/ksm/run; echo 1000 >/sys/kernel/mm/ksm/pages_to_scan"
#: Not every kernel has each: the names of some have changed, and new ones come.
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
            "madvise", "mlock", "memthrash", "physpage", "vm", before=_KSM,
        ),
        _stress(
            "stress-small", "small pages mapped, shared, moved and dropped",
            "vm", "fork", "mmapfork", "mmapmany", "munmap", "remap", "mremap", "shm",
            before=_NEVER, after=_ALWAYS, small=True,
        ),
        _test("cow", "copies on write, of small, huge and pinned pages"),
        _test(
            "split_huge_page_test", "folios split by debugfs, and what is mapped of them",
            seconds=300,
        ),
        _test("folio_split_race_test", "folios split beside readers"),
        _test("khugepaged", "small pages collapsed, by khugepaged and by request"),
        # It has no end of its own.
        _test("transhuge-stress", "huge pages taken as long as there are some", seconds=20),
        _test("ksm_functional_tests", "pages merged by KSM, and the merge undone", small=True),
        _test("ksm_tests", "pages merged and unmerged", "-U", small=True),
        # Skips everything on two CPUs.  Each of its parts takes 20 s.
        _test(
            "migration", "pages moved between nodes beside their users",
            seconds=200, before=_FILL, after=_EMPTY, cpus=3, small=True,
        ),
        _test("mremap_test", "mappings moved"),
        _test("mremap_dontunmap", "mappings moved, and their old place kept", small=True),
        _test("madv_populate", "pages mapped by request", small=True),
        _test("userfaultfd", "pages by userfaultfd", "anon", "20", "4"),
        _test("uffd-unit-tests", "each feature of userfaultfd"),
        _test("uffd-stress", "userfaultfd at work", "anon", "20", "4"),
        _pool("hugetlb-madvise", "hugetlb pages dropped", "/tmp/huge/test"),
        # Called hugepage-* before 7.0.
        _pool("hugepage-mmap", "a file of hugetlbfs"),
        _pool("hugetlb-mmap", "a file of hugetlbfs"),
        _pool("hugepage-mremap", "hugetlb mappings moved", "/tmp/huge/test"),
        _pool("hugetlb-mremap", "hugetlb mappings moved"),
        _pool("hugepage-vmemmap", "the struct pages of hugetlb pages"),
        _pool("hugetlb-vmemmap", "the struct pages of hugetlb pages"),
        _pool("map_hugetlb", "anonymous hugetlb memory"),
        _pool("hugetlb_madv_vs_map", "hugetlb pages dropped beside faults"),
        _test("rmap", "one folio in many processes"),
        _test("guard-regions", "page tables with guards in them", small=True),
        _test("pagemap_ioctl", "pages asked for by PAGEMAP_SCAN"),
        _test("process_madv", "memory advised for another process", small=True),
        _test("soft-dirty", "page tables cleared of soft-dirty bits", small=True),
    )
}  # fmt: skip


def plan(kernel: kernels.Kernel, name: str) -> lab.Plan:
    """The plan for the program NAME beside marks, on KERNEL."""
    program = find(name)
    files = [build.workload(scenarios.WORKLOADS / "marks.c")]
    command = [f"{job.OUT}/{files[0].name}", str(SEED), str(PAUSE_MS), "sh", "-c", program.script]
    if program.test:
        files.append(selftests.ensure(kernel.suite) / program.test)
        if not files[-1].is_file():
            raise LeftOut(f"the kernel's selftests have no {program.test}, or it does not build")
    record = (*RECORD, *SMALL) if program.small else RECORD
    return lab.Plan(
        name, command, files=files, cpus=program.cpus, memory=4,
        packages=program.packages, nodes=2, alone=bool(program.test), record=record,
    )  # fmt: skip


def find(name: str) -> Program:
    """The program NAME."""
    if name not in PROGRAMS:
        raise LabError(f"unknown program {name!r}: give some of {', '.join(PROGRAMS)}", 2)
    return PROGRAMS[name]


def silent(cell: Cell) -> bool:
    """Whether there is nothing certain, and the program's result is the same as unrecorded."""
    if cell.outcome == LEFT_OUT:
        return True
    alarm = cell.differences or cell.certain or cell.verdict != cell.alone
    return cell.outcome == CHECKED and not alarm


COLUMNS = (
    "kernel", "workload", "events", "lost", "snapshots", "checked", "differences", "possible",
    "certain", "findings", "real", "seconds",
)  # fmt: skip


def table(results: Matrix) -> str:
    """One line for each program on each kernel, with the program's own result."""
    rows: list[Sequence[str]] = [[*COLUMNS, "verdict"]]
    for cell in results.cells:
        rows.append([*(figure(cell, column) for column in COLUMNS), cell.verdict])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.rjust(width) if 2 <= at < len(COLUMNS) else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    for cell in results.cells:
        reason = f"{cell.outcome}: {cell.reason}" if cell.outcome != CHECKED else cell.reason
        words = [*cell.notes, *([reason] if reason else [])]
        if cell.verdict != cell.alone:
            words.append(f"without the recorder its verdict is {cell.alone}")
        lines += [f"{cell.workload} on {cell.kernel}: {text}" for text in words]
    return visible_lines(lines)
