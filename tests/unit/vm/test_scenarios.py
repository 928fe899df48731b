# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.scenarios: the tables are whole, and agree with the workloads' sources."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vm import build, scenarios
from vm.say import LabError

NAMES = sorted(scenarios.SCENARIOS)
WITH_TABLE = [name for name in NAMES if scenarios.SCENARIOS[name].has_table]
TABLED = [name for name in NAMES if scenarios.SCENARIOS[name].has_table]


@pytest.mark.parametrize("name", TABLED)
def test_table_has_a_row_for_every_mark_when_read_beside_the_source(name: str) -> None:
    # GIVEN the marks in the order in which the C source sets them
    source = scenarios.SCENARIOS[name].source.read_text()
    marks = re.findall(r'\b(?:mark|phase)\("([^"]+)"', source)
    # WHEN the table is read THEN it has the same marks in the same order
    assert [mark.name for mark in scenarios.table(name).marks] == marks


@pytest.mark.parametrize("name", TABLED)
def test_rows_are_well_formed_when_read(name: str) -> None:
    # GIVEN a table
    table = scenarios.table(name)
    assert table.kind in ("anon", "file")
    assert table.address % (2 << 20) == 0
    for mark in table.marks:
        # WHEN its runs are laid end to end
        edges = [0] + [end for _, end, _ in mark.ptes]
        # THEN they cover the 512 pages without gap or overlap
        assert [first for first, _, _ in mark.ptes] == edges[:-1]
        assert edges[-1] == scenarios.PAGES
        assert all(end > first for first, end, _ in mark.ptes)
        # AND the rest is what the recorder and the tests expect
        assert re.fullmatch(r"[a-z0-9_-]{1,24}", mark.name)
        assert mark.folio in ("thp", "pages", "gone")
        assert mark.double_map in (0, 1)
        assert mark.pmd == 0 or mark.folio == "thp"
        assert mark.why.endswith(".")


def test_tables_belong_to_scenarios_when_listed() -> None:
    # GIVEN the tables on disk THEN each belongs to a scenario, and the first stories have theirs
    assert {path.stem for path in scenarios.WORKLOADS.glob("*.toml")} == set(TABLED)
    assert {"lifecycle", "shmem-thp", "seed-2015"} <= set(TABLED)


@pytest.mark.parametrize("name", WITH_TABLE)
def test_marks_fit_a_record_when_written_in_a_source(name: str) -> None:
    # GIVEN the marks of a workload THEN each name fits into a record, and no two are the same
    source = scenarios.SCENARIOS[name].source.read_text()
    marks = re.findall(r'\b(?:mark|phase)\("([^"]+)"', source)
    assert all(re.fullmatch(r"[a-z0-9_-]{1,24}", mark) for mark in marks)
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize("path", sorted((scenarios.WORKLOADS / "places").glob("*.toml")))
def test_places_have_a_row_for_every_mark_when_read_beside_the_source(path: Path) -> None:
    # GIVEN a table of places and the marks in the order in which the C source sets them
    source = scenarios.SCENARIOS[path.stem].source.read_text()
    marks = scenarios.places(path.stem)
    # WHEN the table is read THEN it has the same marks in the same order, and why
    assert [mark.name for mark in marks] == re.findall(r'\bmark\("([^"]+)"', source)
    assert all(mark.why.endswith(".") for mark in marks)
    # AND what is mapped somewhere is a folio of 2 MiB, whole or in part
    for mark in marks:
        for (process, start, kind), (folios, kib) in mark.maps.items():
            assert process in ("parent", "child") and start % 4096 == 0 and folios == 1
            assert (kib < 2048) == kind.endswith("-thp-pte-partial")


def test_counts_follow_the_runs_when_expanded() -> None:
    # GIVEN the row after one page of a child was unmapped
    mark = scenarios.table("lifecycle").marks[3]
    # WHEN its runs are expanded
    counts = mark.pte_counts()
    # THEN that page alone has no PTE mapping
    assert (mark.name, len(counts), sum(counts), counts[256]) == ("child_unmapped", 512, 511, 0)


def test_error_lists_the_scenarios_when_the_name_is_unknown() -> None:
    # GIVEN a name that is none WHEN it is looked up THEN the error lists those that are
    with pytest.raises(LabError, match="lifecycle, shmem-thp, seed-2015"):
        scenarios.find("lifecicle")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: apt-get install gcc")
@pytest.mark.parametrize("name", NAMES)
def test_workload_compiles_once_when_asked_for_twice(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN an empty cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # WHEN a workload is asked for twice
    first = build.workload(scenarios.SCENARIOS[name].source)
    made = first.stat().st_mtime_ns
    second = build.workload(scenarios.SCENARIOS[name].source)
    # THEN the second is the first
    assert second == first
    assert second.stat().st_mtime_ns == made


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: apt-get install gcc")
@pytest.mark.parametrize("name", ["lifecycle", "shmem-thp", "fork-thp", "anon-parts", "fuzz"])
def test_workload_is_left_out_when_the_kernel_has_no_huge_pages(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a kernel without transparent huge pages, as with PREEMPT_RT
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, f'-DTHP_FOLDER="{tmp_path}/none"'))
    program = tmp_path / name
    build.program(scenarios.SCENARIOS[name].source, program)
    # WHEN a workload of `lab matrix --configs` is run THEN it does nothing, and the lab is told why
    done = subprocess.run(
        [str(program), *scenarios.SCENARIOS[name].args],
        capture_output=True,
        text=True,
        env={"MAPCOUNT_FACTS": str(tmp_path)},
    )
    words = "the kernel has no transparent huge pages"
    assert (done.returncode, done.stderr) == (77, f"skip: {words}\n")
    assert (tmp_path / scenarios.SKIPPED).read_text() == f"{words}\n"


def test_error_shows_the_compilers_words_when_a_source_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a source that is no C
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "story.h").touch()
    source = tmp_path / "broken.c"
    source.write_text("int main(void) { return }\n")
    # WHEN it is compiled THEN the error names it
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing: apt-get install gcc")
    with pytest.raises(LabError, match="broken.c does not compile"):
        build.workload(source)
