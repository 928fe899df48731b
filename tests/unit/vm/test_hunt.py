# SPDX-License-Identifier: GPL-2.0-or-later
"""Hunts in fake guests: what is hunted in which turn, what is kept of it, and what is reported."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import vm.__main__
from vm import audits, build, guest, hunt, job, kernels, lab, matrix, programs, trophy
from vm.kinds import DIED, DIFFERS, Kind, Sighting, sightings
from vm.matrix import CHECKED, FAILED, LEFT_OUT, LOST, Booted, Cell, Matrix
from vm.programs import Operation

#: A finding of no known row, and one that docs/trophies.md has.
STRANGE = {
    "rule": "double-entry", "severity": "error", "certainty": "certain", "counter": "mapcount",
    "function": "zap", "life": 3, "seen_ts": 150, "sentence": "mapcount of page 7 is 2",
    "rests_on": "what mm/rmap.c says",
}  # fmt: skip
KNOWN = STRANGE | {"rule": "published", "counter": "pagemap bit 56, first page's"}
FAKE_MAPCOUNT = """\
import json, sys
if sys.argv[1] == "stats":
    shots = [(0, 90, "start"), (100, 120, "seed-5-10"), (160, 190, "seed-5-20")]
    print(json.dumps({"snapshots": [{"name": n, "ts_begin": b, "ts_end": e} for b, e, n in shots]}))
else:
    open(sys.argv[sys.argv.index("-o") + 1], "w").write("a picture")
"""


class Lab:
    """In place of guests: each recording is a trace that holds its findings.

    ``shows``: the findings of a recording, by its name and the C source of its program or "".
    """

    def __init__(self, shows: Callable[[str, str], list[dict[str, Any]]]) -> None:
        self.shows = shows
        self.asked: list[tuple[str, ...]] = []
        self.broken: dict[str, Cell] = {}

    def run(
        self, names: Sequence[str], workloads: Sequence[str], folder: Path, limit: float,
        plan: matrix.PlanOf,
    ) -> Matrix:  # fmt: skip
        self.asked.append((*names, *workloads))
        cells = []
        for workload in workloads:
            plan(kernels.resolve("7.x"), workload)
            trace = folder / "7.x" / f"{workload}.mapcount"
            trace.parent.mkdir(parents=True, exist_ok=True)
            source = folder / f"{workload}.c"
            found = self.shows(workload, source.read_text() if source.exists() else "")
            trace.write_text(json.dumps(found))
            good = Cell(
                "7.x", workload, CHECKED, events=10, checked=5, differences=0,
                certain=len(audits.errors(found)), real=audits.real(found),
                trace=f"7.x/{trace.name}",
            )  # fmt: skip
            cells.append(self.broken.get(workload, good))
        return Matrix([Booted("7.x", "forky", "7.2.12")], cells)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Lab]:
    def made(shows: Callable[[str, str], list[dict[str, Any]]]) -> Lab:
        laboratory = Lab(shows)
        program = tmp_path / "fake_mapcount.py"
        program.write_text(FAKE_MAPCOUNT)
        monkeypatch.setattr(audits, "MAPCOUNT", program)
        monkeypatch.setattr(matrix, "run", laboratory.run)
        monkeypatch.setattr(audits, "findings", lambda trace: json.loads(trace.read_text()))
        monkeypatch.setattr(build, "workload", lambda source, *_: tmp_path / source.stem)
        monkeypatch.setattr(build, "program", lambda source, path: path)
        monkeypatch.setattr(hunt.wild, "plan", lambda kernel, name: lab.Plan(name, ["true"]))
        monkeypatch.setattr(programs, "of_seed", lambda seed, count: TEN)
        monkeypatch.setattr(
            trophy.Bench, "alone", lambda bench, source: "1 is wrong\nexit status 1"
        )
        return laboratory

    return made


TEN = tuple(Operation(0, "touch", 0, page, 1) for page in range(10))


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> Callable[..., hunt.Hunt]:
    """Hunts on 7.x for the time of some guests."""

    def run(laboratory: Lab, number: int, folder: Path, **more: bool) -> hunt.Hunt:
        def monotonic() -> float:
            turns = [asked for asked in laboratory.asked if not asked[1].startswith("try-")]
            return 1000.0 * len(turns)

        monkeypatch.setattr(hunt.time, "monotonic", monotonic)
        monkeypatch.setattr(hunt, "LEAST_SECONDS", 600.0)
        return hunt.run(["7.x"], 1000.0 * number + 500, folder, 1, **more)

    return run


def test_turns_go_through_programs_tests_and_stressors_on_each_kernel() -> None:
    # GIVEN two kernels WHEN some turns are taken
    turn = hunt.turns(["7.x", "6.12"], 100)
    taken = [next(turn) for _ in range(8)]
    # THEN each kernel has each kind of turn once before the next begins
    assert [name for name, _ in taken] == ["7.x", "6.12"] * 4
    assert taken[0][1] == taken[1][1] == ["fuzz-100", "fuzz-108", "fuzz-116"]
    assert taken[2][1] == list(hunt.TESTS[:3])
    assert taken[4][1] == [hunt.STRESS[0]]
    # AND no seed comes twice
    assert taken[6][1] == ["fuzz-124", "fuzz-132", "fuzz-140"]


def test_random_programs_are_those_of_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "workload", lambda source, *_: Path("/bin") / source.stem)
    plan = hunt.plan(kernels.resolve("7.x"), "fuzz-24")
    assert (plan.name, plan.command) == ("fuzz-24", [f"{job.OUT}/fuzz", "24", "8", "60", "10"])


def test_silent_kernel_leaves_no_trace(
    tmp_path: Path, fake: Callable[..., Lab], guests: Callable[..., hunt.Hunt]
) -> None:
    # GIVEN a kernel without fault
    laboratory = fake(lambda name, source: [])
    # WHEN it is hunted for the time of three guests
    hunted = guests(laboratory, 3, tmp_path / "out")
    # THEN what was recorded is counted, and nothing of it is left
    assert (hunted.guests, hunted.total("events"), hunted.new) == (3, 70, [])
    assert [path.name for path in (tmp_path / "out").iterdir()] == [hunt.RESULTS]


def test_known_finding_is_counted_and_told_as_known(
    tmp_path: Path, fake: Callable[..., Lab], guests: Callable[..., hunt.Hunt]
) -> None:
    # GIVEN a kernel whose pagemap is known to be wrong
    laboratory = fake(lambda name, source: [KNOWN, KNOWN])
    # WHEN it is hunted
    hunted = guests(laboratory, 1, tmp_path)
    # THEN that is no news, and nothing is made short or kept
    assert laboratory.asked == [("7.x", "fuzz-1", "fuzz-9", "fuzz-17")]
    assert hunted.new == [] and not hunted.trophies
    assert hunt.table(hunted, tmp_path).splitlines()[0] == (
        "known (T1): 7.x-published-pagemap-bit-56-first-page-s: 6 times"
    )


def test_new_finding_is_made_short_and_reported(
    tmp_path: Path, fake: Callable[..., Lab], guests: Callable[..., hunt.Hunt]
) -> None:
    # GIVEN a kernel that goes wrong when pages 3 and 8 are touched
    def shows(name: str, source: str) -> list[dict[str, Any]]:
        pages = [int(page) for page in re.findall(r"\{TOUCH, 0, (\d+), 1, 0\}", source)]
        return [STRANGE] if name == "fuzz-1" or {3, 8}.issubset(pages) else []

    laboratory = fake(shows)
    # WHEN it is hunted
    hunted = guests(laboratory, 1, tmp_path)
    # THEN the one new kind has its trace, its picture, and the two operations that it takes
    kind = Kind("7.x", "double-entry", "mapcount", "zap")
    (found,) = hunted.new
    assert found.sighting == Sighting(kind, STRANGE, 1)
    assert [operation.first for operation in found.program] == [3, 8]
    folder = tmp_path / "7.x-double-entry-mapcount-zap"
    assert json.loads((folder / trophy.TRACE).read_text()) == [STRANGE]
    assert (folder / trophy.PICTURE).read_text() == "a picture"
    assert (folder / trophy.REPRODUCER).read_text() == programs.source(found.program)
    # AND the report says what a reader of it needs
    report = (folder / trophy.REPORT).read_text()
    for words in (
        "# mapcount on 7.2.12", "mapcount of page 7 is 2", "what mm/rmap.c says", "(picture.png)",
        "these 2 operations", "lab run --kernel 7.x fuzz 5 1 20", "{0, {TOUCH, 0, 8, 1, 0}},",
        "exit status 1",
    ):  # fmt: skip
        assert words in report


def test_known_finding_is_made_short_when_it_is_asked_for(
    tmp_path: Path, fake: Callable[..., Lab], guests: Callable[..., hunt.Hunt]
) -> None:
    # GIVEN a known finding that every program shows WHEN it is hunted anew
    laboratory = fake(lambda name, source: [KNOWN])
    hunted = guests(laboratory, 1, tmp_path, anew=True)
    # THEN it has a report, which says that it is known; new it is not
    (found,) = hunted.trophies.values()
    assert len(found.program) == 1 and hunted.new == []
    assert "row T1 of docs/trophies.md" in (found.folder / trophy.REPORT).read_text()


def test_finding_that_does_not_come_again_is_reported_without_a_program(
    tmp_path: Path, fake: Callable[..., Lab], guests: Callable[..., hunt.Hunt]
) -> None:
    # GIVEN a finding that the operations by themselves do not show
    laboratory = fake(lambda name, source: [] if source else [STRANGE])
    hunted = guests(laboratory, 1, tmp_path)
    # THEN it was tried once, and the report says so
    assert [asked[1:] for asked in laboratory.asked[1:]] == [("try-0",)]
    (found,) = hunted.new
    assert found.program == ()
    assert (
        "the same operations did not show it again." in (found.folder / trophy.REPORT).read_text()
    )


def test_report_says_when_there_was_no_time_for_a_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake: Callable[..., Lab],
    guests: Callable[..., hunt.Hunt],
) -> None:  # fmt: skip
    # GIVEN a finding in the last turn of a hunt
    laboratory = fake(lambda name, source: [STRANGE])
    monkeypatch.setattr(trophy, "LEAST_SECONDS", 600.0)
    (found,) = guests(laboratory, 1, tmp_path).new
    # THEN nothing was tried, and that is what is told
    assert len(laboratory.asked) == 1
    report = (found.folder / trophy.REPORT).read_text()
    assert "fuzz 5 1 20` showed it; the time was over." in report


def test_kernel_that_does_not_boot_is_hunted_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a kernel that the lab does not have
    def nothing(
        names: Sequence[str], workloads: Sequence[str], folder: Path, *_: Any, **__: Any
    ) -> Matrix:
        folder.mkdir(parents=True)
        cells = [Cell(names[0], each, LEFT_OUT, "nothing is newer") for each in workloads]
        return Matrix([Booted(names[0], "next")], cells)

    monkeypatch.setattr(matrix, "run", nothing)
    # WHEN it alone is hunted THEN the hunt is over after one look
    assert hunt.run(["next"], 3600.0, tmp_path, 1).guests == 1
    assert "next is not hunted any more: nothing is newer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cell", "found", "kinds"),
    [
        (Cell("7.x", "w", CHECKED, certain=1), [STRANGE], [("double-entry", None)]),
        (Cell("7.x", "w", CHECKED, certain=0), [STRANGE], []),
        # Which reader it was is no matter, the value is the same.
        (
            Cell("7.x", "w", CHECKED, real={"T1": 2}),
            [KNOWN, KNOWN | {"function": "other"}],
            [("published", "T1")],
        ),
        (
            Cell("7.x", "w", CHECKED, certain=1),
            [STRANGE | {"certainty": "possible"}, STRANGE | {"severity": "race"}],
            [],
        ),
        (Cell("7.x", "w", CHECKED, differences=2, certain=0), [], [(DIFFERS, None)]),
        (Cell("7.x", "w", LOST, "kernel BUG at mm/rmap.c:12"), [], [(DIED, None)]),
        (Cell("7.x", "w", LOST, matrix.NOT_BEGUN), [], []),
        (Cell("7.x", "w", FAILED, "no output"), [], []),
    ],
)  # fmt: skip
def test_kinds_are_of_what_is_certain(
    monkeypatch: pytest.MonkeyPatch, cell: Cell, found: list[dict[str, Any]], kinds: list[Any]
) -> None:
    monkeypatch.setattr(audits, "findings", lambda trace: found)
    seen = [(one.kind.rule, one.kind.row) for one in sightings(cell, Path())]
    assert seen == kinds


def test_deaths_at_other_addresses_are_of_one_kind() -> None:
    one, two = (
        next(sightings(Cell("7.x", "w", LOST, words), Path())).kind
        for words in ("BUG: unable to handle 0x12ab CPU 1", "BUG: unable to handle 0x34 CPU 0")
    )
    assert one == two and one.name == "7.x-kernel-died-BUG-unable-to-handle-N-CPU-N"


def test_program_runs_alone_in_a_guest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # GIVEN a guest in which the program finds something wrong
    (tmp_path / "stdout").write_text("1 is wrong\n")
    finished = guest.Result(guest.Outcome.FINISHED, 1, tmp_path, 2.0)
    scripts: list[str] = []

    def run(machine: object, script: str, *_: object) -> guest.Result:
        scripts.append(script)
        return finished

    monkeypatch.setattr(build, "program", lambda source, path: path)
    monkeypatch.setattr(lab, "prepare", lambda options, plan: (None, tmp_path))
    monkeypatch.setattr(guest, "run", run)
    kind = Kind("7.x", "published")
    bench = trophy.Bench(
        trophy.Trophy(Sighting(kind, {}), "7.x", "7.2.12", "fuzz-1", tmp_path), deadline=0.0
    )
    # WHEN it is run there THEN what it said is kept, and no recorder was beside it
    assert bench.alone(tmp_path / "replay.c") == "1 is wrong\nexit status 1"
    assert f"{job.OUT}/replay\n" in scripts[0] and "record" not in scripts[0].split("cd ")[-1]
    # AND when the time is over no program is tried
    assert bench.over and bench.shows([TEN, TEN]) == [False, False]


def test_status_says_whether_something_new_was_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[Any, ...]] = []
    hunted = hunt.Hunt(7)

    def run(*args: Any) -> hunt.Hunt:
        asked.append(args)
        return hunted

    monkeypatch.setattr(hunt, "run", run)
    argv = ["hunt", "--kernel", "6.12", "--hours", "0.5", "--seed", "7", "-f", "-o", str(tmp_path)]
    # WHEN nothing new is found THEN the hunt is good
    assert vm.__main__.main(argv) == 0
    assert asked == [(["6.12"], 1800.0, tmp_path, 7, False)]
    # AND with a new kind it is not
    kind = Kind("6.12", "published")
    hunted.trophies[kind] = trophy.Trophy(Sighting(kind, {}), "6.12", "", "fuzz-7", tmp_path)
    assert vm.__main__.main(argv) == 1
    # A slip of the pen shows before the first guest.
    assert vm.__main__.main(["hunt", "--kernel", "7.y", "-o", str(tmp_path), "-f"]) == 2
    with pytest.raises(SystemExit, match="2"):
        vm.__main__.main(["hunt", "--hours", "0", "-o", str(tmp_path), "-f"])
