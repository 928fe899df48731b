# SPDX-License-Identifier: GPL-2.0-or-later
"""What doctor says on a kernel that lacks something, and whether it is true (doctor_cases.sh)."""

import re

import pytest

import analysis
from analysis.__main__ import main as analysis_main
from tests.kernel.jobs import DOCTOR_AT_LANDING

#: case -> (the line that must be there, a word of what to do). One line each.
LACKS = {
    "no_btf_no_headers": ("types", "CONFIG_DEBUG_INFO_BTF"),
    "no_headers": ("kernel headers", "apt install linux-headers"),
    "no_kprobes": ("kprobes", "CONFIG_KPROBES"),
    "kprobes_off": ("kprobes", "write 1 to"),
    "no_symbols": ("symbols", "kptr_restrict"),
    "no_tracefs": ("tracefs", "mount -t tracefs"),
    "no_kcore": ("memory", "CONFIG_PROC_KCORE"),
    "no_huge_pages": ("huge pages", "CONFIG_TRANSPARENT_HUGEPAGE"),
    "no_bcc": ("bcc", "apt install python3-bpfcc"),
    "lockdown": ("lockdown", "boot without"),
    "given_cut": ("programs", "mapcount compile"),
}
#: Hidden from doctor alone: the kernel still has huge pages, so record has something to show.
PRETENDED = ("no_huge_pages",)
#: What an event says of the workload, and not of the time, the place and the boot.
STORY = (
    "event", "op", "phase", "site", "level", "order", "nr", "delta", "mapcount", "entire_mapcount",
    "double_map", "nr_pages_mapped", "large_mapcount", "anon", "freed",
)  # fmt: skip
#: lifecycle makes thousands; without kprobes the few of the tracepoints are left.
EVENTS = 1000


class Case:
    """What one case of doctor_cases.sh left behind."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name

    def text(self, what):
        return (self.folder / f"{self.name}.{what}").read_text()

    @property
    def made(self):
        return (self.folder / f"{self.name}.record.status").exists()

    @property
    def works(self):
        """Record said so, and saw what the workload did."""
        seen = re.search(r"^mapcount: (\d+) events", self.text("record.err"), re.MULTILINE)
        status = int(self.text("record.status"))
        return status == 0 and seen is not None and int(seen[1]) > EVENTS

    @property
    def trace(self):
        return analysis.open_trace(str(self.folder / f"{self.name}.mapcount"))

    @property
    def status(self):
        return int(self.text("doctor.status"))

    @property
    def lines(self):
        return [line for line in self.text("doctor.out").splitlines() if line.startswith("LACKS")]


def of_case(name):
    """The parameter of a test of one case; some boot at every landing."""
    at_landing = name in DOCTOR_AT_LANDING
    marks = [pytest.mark.guest("doctor")]
    if not at_landing:
        marks = [pytest.mark.guest("doctor-all"), pytest.mark.truth]
    return pytest.param(name, marks=marks)


@pytest.fixture
def case(guests):
    """A function: name -> what doctor and record said in that case."""

    def find(name):
        folder = guests("doctor" if name in DOCTOR_AT_LANDING else "doctor-all")
        found = Case(folder, name)
        assert found.made, (folder / "lab.err").read_text()[-300:]
        return found

    return find


def header(trace):
    """A trace's header without what each boot and each recording has for itself."""
    own = ("boot_id", "clock", "programs", "rings")
    layout = {**trace.meta["layout"], "vmemmap": None}
    return {name: trace.meta[name] for name in trace.meta if name not in own} | {"layout": layout}


def story(trace):
    """What the workload's huge page went through: each record of its life, by page of the folio."""
    events, lives = trace.df_events(), trace.df_lives()
    huge = lives[(lives["order"] == 9) & lives["anon"]].index
    by_workload = events[events["life"].isin(huge) & (events["comm"] == "workload")]
    (life,) = by_workload["life"].unique()
    mine = events[events["life"] == life].reset_index(drop=True)
    page = mine["pfn"] - mine["head_pfn"]
    return mine[[name for name in mine.columns if name in STORY]].assign(page=page)


@pytest.mark.guest("doctor")
def test_doctor_when_nothing_is_hidden(case):
    # GIVEN the lab's kernel as it is THEN doctor is content, and recording works
    assert case("complete").status == 0
    assert not case("complete").lines
    assert case("complete").works
    # AND it said how the probes would come, and so they did
    assert "ok     programs: will be compiled and kept in " in case("complete").text("doctor.out")
    assert case("complete").trace.meta["programs"]["from"] == "compiled"


@pytest.mark.guest("doctor")
def test_doctor_when_there_is_no_btf(case):
    # GIVEN a kernel without BTF whose headers are installed THEN these tell the layout
    assert case("no_btf").status == 0
    assert "ok     types: from the kernel's headers" in case("no_btf").text("doctor.out")
    assert case("no_btf").works


@pytest.mark.guest("doctor")
def test_trace_when_there_is_no_btf(case, capsys):
    # GIVEN the same workload recorded with BTF, and with the kernel's headers instead
    with_btf, without = case("complete").trace, case("no_btf").trace
    # WHEN the headers of the traces are compared THEN every offset and every probe is the same
    layout, right = without.meta["layout"], with_btf.meta["layout"]
    assert (layout.pop("source"), right.pop("source")) == ("headers", "btf")
    # (but for what pins are taken by, of which these headers do not tell)
    for name in ("foll_get", "foll_pin"):
        assert layout["bits"].pop(name) is None
        assert right["bits"].pop(name)
    assert layout == right
    # AND only with BTF a function can be entered by other means than a kprobe; those of pins, which
    # are not attached, have numbers
    plans = [
        [{**probe, "attach": None, "id": None} for probe in trace.meta["plan"]]
        for trace in (without, with_btf)
    ]
    assert plans[0] == plans[1]
    # AND the replay agrees with the kernel at each mark
    assert analysis_main(["verify", without.path]) == 0
    assert "0 differences, 0 possible" in capsys.readouterr().out


@pytest.mark.truth
@pytest.mark.guest("doctor")
@pytest.mark.guest("doctor-all")
@pytest.mark.parametrize("name, way", [("given", "given in"), ("kept", "kept in")])
def test_record_when_there_is_nothing_to_compile_with(case, capsys, name, way):
    # GIVEN a root without bcc, headers, BTF and LLVM, and programs that were compiled before
    assert case(name).status == 0, case(name).text("doctor.out")
    # THEN doctor says which way a recording goes, and it is so
    assert f"ok     programs: {way}" in case(name).text("doctor.out")
    assert case(name).works, case(name).text("record.err")
    assert case(name).trace.meta["programs"]["from"] == name
    # AND the trace is as one whose programs were compiled on the spot, but for times and places
    assert header(case(name).trace) == header(case("complete").trace)
    assert story(case(name).trace).equals(story(case("complete").trace))
    assert analysis_main(["verify", case(name).trace.path]) == 0
    assert "0 differences, 0 possible" in capsys.readouterr().out


@pytest.mark.parametrize("name", [of_case(name) for name in LACKS])
def test_doctor_when_one_thing_is_hidden(case, name):
    # GIVEN a kernel that lacks one thing WHEN doctor looks
    what, remedy = LACKS[name]
    # THEN one line names it and says what to do, without a traceback
    found = [line for line in case(name).lines if line.startswith(f"LACKS  {what}: ")]
    assert len(found) == 1, case(name).text("doctor.out") + case(name).text("doctor.err")
    assert remedy in found[0]
    # AND what becomes invisible
    assert "; not seen: " in found[0]
    assert "Traceback" not in case(name).text("doctor.err")


@pytest.mark.parametrize("name", [of_case(name) for name in LACKS if name not in PRETENDED])
def test_doctors_status_when_record_tries_the_same(case, name):
    # GIVEN the same kernel WHEN recording is tried THEN it works where doctor said 0, only there
    tried = case(name).text("record.err")
    assert case(name).status == (0 if case(name).works else 1), tried
    # AND where it does not, one line says why, and no traceback
    if not case(name).works:
        errors = [line for line in tried.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, tried
        assert "Traceback" not in tried
