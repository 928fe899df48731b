# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder in trouble and with each of its options, on a real kernel (cases.sh)."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import analysis
from analysis.__main__ import main as analysis_main

pytestmark = pytest.mark.guest("recorder")


@dataclass
class Case:
    """What one case of cases.sh left behind."""

    folder: Path
    name: str

    @property
    def status(self):
        return int((self.folder / f"{self.name}.status").read_text())

    @property
    def errors(self):
        return (self.folder / f"{self.name}.err").read_text()

    @property
    def output(self):
        return (self.folder / f"{self.name}.out").read_text()

    def trace(self, name):
        return analysis.open_trace(str(self.folder / f"{name}.mapcount"))


@pytest.fixture
def case(guests):
    """A function: name -> what that case left."""
    return lambda name: Case(guests("recorder"), name)


def test_doctor_when_nothing_is_missing(case):
    # GIVEN the lab's kernel THEN doctor finds nothing to complain of
    assert case("doctor").status == 0
    assert "LACKS" not in case("doctor").output


def test_page_counts_when_tried_on_a_huge_page(case):
    # GIVEN a kernel of Debian's: none is built with CONFIG_NO_PAGE_MAPCOUNT
    assert case("counts_pages").status == 0, case("counts_pages").errors
    # WHEN a huge page is mapped by PTEs THEN its pages' counts show it
    assert case("counts_pages").output == "True\n"


def test_record_when_not_root(case):
    # GIVEN an ordinary user THEN one line says what to do
    assert case("no_root").status == 1
    error = case("no_root").errors.splitlines()[-1]
    assert error == "error: recording needs root: run it with sudo"


def test_record_when_the_output_cannot_be_written(case):
    assert case("no_place").status == 1
    assert "error: cannot write /nowhere/at/all" in case("no_place").errors


def test_trace_when_the_recorder_was_killed(case, capsys):
    # GIVEN a recorder that got SIGKILL in the middle of a run
    assert case("killed").status == 128 + 9
    # WHEN its trace is opened
    trace = case("killed").trace("killed")
    # THEN the events are there, and a warning says that the end is not
    assert len(trace.df_events()) > 50
    assert any("killed" in warning for warning in trace.warnings)
    assert analysis_main(["stats", str(case("killed").folder / "killed.mapcount")]) == 0
    assert "warning:" in capsys.readouterr().err


def test_trace_when_the_recorder_was_interrupted(case):
    # GIVEN SIGINT THEN the recording ends in order
    assert case("interrupted").status == 0
    trace = case("interrupted").trace("interrupted")
    assert not trace.warnings
    assert "SIGINT" in case("interrupted").errors


def test_trace_when_the_disk_is_full(case):
    # GIVEN a full disk THEN one error says so, and what was written is readable
    assert case("full_disk").status == 1
    errors = [e for e in case("full_disk").errors.splitlines() if e.startswith("error:")]
    assert len(errors) == 1 and "No space left" in errors[0]
    assert len(case("full_disk").trace("full").df_events()) > 100


def test_trace_when_recorded_by_pid_with_stacks(case):
    # GIVEN three seconds of a running process, with stacks
    assert case("by_pid").status == 0
    trace = case("by_pid").trace("pid")
    events = trace.df_events()
    # THEN its folios are followed, and their maps have stacks that lead to the fault
    maps = events[events["op"] == "map"]
    assert len(maps) > 10
    assert maps["stack"].notna().all()
    stack = " ".join(name for name, _ in trace.stacks[int(maps["stack"].iloc[0])])
    assert "do_huge_pmd_anonymous_page" in stack


def test_trace_when_khugepaged_works_on_a_process_that_sleeps(case):
    # GIVEN a recorded process that was there before, and did nothing while it was recorded
    assert case("asleep").status == 0
    sleeper = int((case("asleep").folder / "asleep.pid").read_text())
    events = case("asleep").trace("asleep").df_events()
    maps = events[events["op"] == "map"]
    # THEN the huge pages that khugepaged made of its memory are there
    assert len(maps) >= 2
    assert set(maps["comm"]) == {"khugepaged"}
    assert sleeper not in set(maps["pid"])


def test_trace_when_recorded_by_pfn(case):
    # GIVEN a span of page frames THEN records of other frames are not there
    assert case("by_pfn").status == 0
    events = case("by_pfn").trace("pfn").df_events()
    pages = events[events["life"] >= 0]
    assert len(pages)
    assert (pages["pfn"] >= 0x100000).all() and (pages["pfn"] < 0x120000).all()


def test_record_when_the_command_fails(case):
    # GIVEN a command that fails THEN record says so
    assert case("failing").status == 1
    assert "warning: the command failed with status 1" in case("failing").errors


def test_top_when_a_huge_page_comes_and_goes(case):
    # GIVEN the live view of a workload that maps, splits and frees huge pages
    top = case("top")
    assert top.status == 0, top.errors
    screens = [screen.splitlines() for screen in top.output.split("mapcount top: ")[1:]]
    # THEN there were some looks, each with a summary, and events in most of them
    assert len(screens) > 2
    rates = [int(screen[0].split()[1]) for screen in screens]
    assert sum(rate > 0 for rate in rates) > len(rates) / 2
    assert all(" 0 lost" in screen[0] for screen in screens)
    # AND a huge page is in one, mapped by the workload by a PMD or just not yet
    folios = [line.split() for screen in screens for line in screen[3:] if line.strip()]
    huge = [line for line in folios if line[0].startswith("0x") and line[1] == "9"]
    assert huge
    assert {line[3] for line in huge} <= {"0", "1", "2"}
    assert any(line[-1].startswith("workload/") for line in huge)
