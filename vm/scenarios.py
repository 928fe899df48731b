# SPDX-License-Identifier: GPL-2.0-or-later
"""The workloads by name, and the tables of what the kernel must count at each of their marks.

A table (workloads/NAME.toml) has `kind` ("anon" or "file": which rules of the kernel hold),
`address` (where the 2 MiB region lies in the workload), and for every mark, in order:

name        the mark's name
folio       "thp": one folio of 512 pages; "pages": split, into 512 pages of order 0 (or, for a
            file on kernels that split no further than they must, folios of several orders);
            "gone": freed, so the frames may belong to anyone and their counters say nothing
            about the workload
pmd         how many PMD mappings the folio has
double_map  the DoubleMap bit, on kernels that have one (elsewhere to be ignored)
ptes        the number of PTE mappings of each page, as runs [first, end (exclusive), count]
why         the kernel function that made it so

A workload without a table is held against the kernel alone: `mapcount verify` compares the
reconstruction with the kernel's own counters at each of its marks.

What the lab has to know of a run beside its status is a line of a file in $MAPCOUNT_FACTS, where
that is set (vm.job): why the kernel or the guest cannot run the workload (SKIPPED; the status is
then not 0), and which part of it is left out, and why (PARTS_LEFT_OUT).

places/NAME.toml is a table of another kind: which process maps what where, at every mark.

The counts are those of page tables, so they hold for every kernel; how a kernel's fields encode
them is its own affair.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from vm.say import LabError

WORKLOADS = Path(__file__).parent / "workloads"
PAGES = 512
#: Files of facts, see above and workloads/story.h.
SKIPPED, PARTS_LEFT_OUT = "skipped", "left-out"


@dataclass(frozen=True)
class Scenario:
    """A workload that the lab knows, and how to record it."""

    name: str
    shows: str
    args: tuple[str, ...] = ()
    record: tuple[str, ...] = ()  # options for `mapcount record`
    page_types: bool = False  # takes the path of a page-types program as its last argument
    boot: tuple[str, ...] = ()  # options of the kernel's command line that it needs
    memory: int = 3  # GiB
    nodes: int = 1  # of memory

    @property
    def source(self) -> Path:
        return WORKLOADS / f"{self.name}.c"

    @property
    def has_table(self) -> bool:
        """A table says what the kernel must count at its marks."""
        return (WORKLOADS / f"{self.name}.toml").exists()


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("lifecycle", "an anonymous huge page: shared, split both ways, freed"),
        Scenario("shmem-thp", "a huge page of a memory file: zapped, touched, punched"),
        Scenario(
            "seed-2015",
            "mmap and munmap in a loop beside readers of /proc/kpage*",
            args=("30",),
            page_types=True,
        ),
        Scenario(
            "exclusive-2025", "a huge page, parts of which a child drops, as /proc tells of it"
        ),
        Scenario(
            "where", "huge pages moved, dropped in part and mapped twice", record=("--where",)
        ),
        Scenario("waste", "huge pages of which a part is unmapped: kept, split, held, shared"),
        # One for each family of operations; proven by `mapcount verify` at every mark.
        Scenario("anon-parts", "parts of anonymous huge pages: protected, dropped, moved, copied"),
        Scenario("fork-thp", "fork of PMD, PTE and pinned mappings; exit and exec"),
        Scenario("swap-thp", "huge pages to swap and back: whole, in parts, shared"),
        Scenario("collapse", "small pages made huge, by MADV_COLLAPSE and by khugepaged"),
        Scenario("split-folio", "folios split by debugfs and by memory pressure"),
        Scenario(
            "migrate",
            "pages moved: nodes, memory offline, compaction, soft offline",
            nodes=2,
        ),
        Scenario("ksm", "equal pages merged and broken by KSM"),
        # userfaultfd copies pages of order 0, which are not watched otherwise.
        Scenario("uffd", "userfaultfd: copy, continue, move", record=("--min-order", "0")),
        Scenario("file-thp", "huge pages of files: truncated, punched, privately copied"),
        Scenario(
            "hugetlb",
            "the hugetlb pool: private, shared, forked, 2 MiB and 1 GiB",
            # After the boot no GiB in one piece may be left. Of what lies above the first 4 GiB
            # of addresses the kernel itself takes some, so there must be two of them.
            boot=("hugepagesz=1G", "hugepages=1"),
            memory=4,
        ),
        Scenario(
            "holders",
            "folios that are pinned, in a pipe, or in a CPU's batch: splits of them fail",
            record=("--pins", "--stacks", "--min-order", "0"),
        ),
        Scenario("mthp", "anonymous folios of 16 KiB to 1 MiB"),
        Scenario(
            "reclaim-batch", "folios of 64 KiB in reclaim: lazily freed, droppable, shared in part"
        ),
        Scenario(
            "fault-around", "the end of a file's huge page, mapped while the file is truncated"
        ),
        Scenario("shared-mm", "processes that share an address space: clone(CLONE_VM), vfork"),
        Scenario(
            "beside-marks",
            "marks at random times, beside mremap, fork, exit and munmap, by seed",
            args=("1", "20"),
        ),
        Scenario("storm", "several processes at once on the same huge pages, by seed"),
        Scenario(
            "fuzz",
            "random programs of all of these over several processes, by seed",
            args=("1", "4", "40", "5"),
        ),
    )
}


@dataclass(frozen=True)
class Mark:
    """One row of a table; the module's text explains the fields."""

    name: str
    folio: str
    pmd: int
    double_map: int
    ptes: tuple[tuple[int, int, int], ...]
    why: str

    def pte_counts(self) -> list[int]:
        """The number of PTE mappings of each of the 512 pages."""
        counts = [0] * PAGES
        for first, end, count in self.ptes:
            counts[first:end] = [count] * (end - first)
        return counts


@dataclass(frozen=True)
class Places:
    """A mark's row of a table of places: by (process, start of the mapping, kind) how many folios
    there are and how many KiB of them are mapped."""

    name: str
    why: str
    maps: dict[tuple[str, int, str], tuple[int, int]]


@dataclass(frozen=True)
class Table:
    """What the kernel must count while a workload runs."""

    kind: str
    address: int
    marks: tuple[Mark, ...]


def find(name: str) -> Scenario:
    """The scenario NAME."""
    if name not in SCENARIOS:
        raise LabError(
            f"unknown scenario {name!r}: give one of {', '.join(SCENARIOS)}, "
            "or a command of your own after --",
            2,
        )
    return SCENARIOS[name]


def table(name: str) -> Table:
    """The table of scenario NAME."""
    data = tomllib.loads((WORKLOADS / f"{name}.toml").read_text())
    marks = tuple(
        Mark(**{**row, "ptes": tuple(tuple(run) for run in row["ptes"])}) for row in data["mark"]
    )
    return Table(data["kind"], data["address"], marks)


def places(name: str) -> list[Places]:
    """The table of places of scenario NAME."""
    data = tomllib.loads((WORKLOADS / "places" / f"{name}.toml").read_text())
    return [
        Places(
            mark["name"],
            mark["why"],
            {
                (process, start, kind): (folios, kib)
                for process, start, kind, folios, kib in mark["maps"]
            },
        )
        for mark in data["mark"]
    ]
