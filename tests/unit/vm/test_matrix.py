# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the matrix: what a fake guest leaves behind, and what becomes of it in the table."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import vm.__main__
from tests.fake_vng import PRETENDS, set_clock, set_lab, touched
from vm import (
    ahead,
    arch,
    audits,
    chroot,
    configs_text,
    foreign,
    job,
    kernels,
    lab,
    matrix,
    matrix_text,
    scenarios,
)

WORKLOADS = ("lifecycle", "shmem-thp", "seed-2015")

# fact() and ended() are what a step of the batch leaves.
FAKE_VNG = """\
begun() { mkdir -p "$out/steps/$1"; }
fact() { begun "$1"; echo "$3" >>"$out/steps/$1/$2"; } # NAME FILE LINE
ended() { # NAME STATUS [STDERR]
	begun "$1"
	echo "100.5 112.75" >"$out/steps/$1/uptime"
	echo "$3" >"$out/steps/$1/stderr"
	[ "$2" != 0 ] || [ -n "$no_trace" ] || echo "$1" >"$traces/$1.mapcount"
	leave "$2" "$out/steps/$1/status" # last: from now on the watch may read the trace
}
finished() { leave 0 "$out/status"; }
begins
"""

# In place of `mapcount stats|verify|audit FILE --json`: a trace is the name of its workload.
FAKE_MAPCOUNT = """\
import json
import sys
from pathlib import Path
command, path, form = sys.argv[1:]
assert form == "--json"
name = Path(path).read_text().strip()
if command == "stats":
    gap = {{"op": "dup", "functions": ["folio_dup"], "reason": "not in this kernel"}}
    print(json.dumps({{"events": 120, "lost": 3, "missing": [gap | {{"lost": "forks"}}]}}))
elif command == "audit":
    found = [{{"severity": "race", "certainty": "certain", "sentence": "page-types looked"}}]
    if name in {real!r}:
        one = {{"severity": "error", "certainty": "certain", "rule": "published"}}
        one |= {{"sentence": "mapmax is 1"}}
        found += [one | {{"counter": "numa_maps mapmax, first page's"}}] * 2
    if name in {audited!r}:
        one = {{"severity": "error", "certainty": "certain"}}
        found.append(one | {{"sentence": "entire_mapcount is 2"}})
    print(json.dumps(found))
elif name == "seed-2015":
    none = {{"checked": 0, "certain": 0, "possible": 0}}
    print(json.dumps(none | {{"snapshots": [{{}}] * 4, "differences": []}}))
    sys.exit("error: nothing was checked")
else:
    wrong = name in {wrong!r}
    one = {{"snapshot": "faulted", "life": 1, "counter": "entire_mapcount", "subpage": -1}}
    found = [one | {{"replayed": 1, "truth": 2, "doubt": ""}}] * wrong
    counted = {{"checked": 500, "certain": len(found), "possible": 0}}
    print(json.dumps(counted | {{"snapshots": [{{}}] * 2, "differences": found}}))
    sys.exit(wrong)
"""


class Lab:
    """A lab whose guests and whose analysis only pretend."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "matrix"
        self.vng = folder / "bin/vng"
        self.mapcount = folder / "mapcount.py"
        self.vng.parent.mkdir()
        self.compares()

    def does(self, body: str) -> None:
        self.vng.write_text(PRETENDS + FAKE_VNG + body)
        self.vng.chmod(0o755)

    def compares(
        self,
        wrong: tuple[str, ...] = (),
        audited: tuple[str, ...] = (),
        real: tuple[str, ...] = (),
    ) -> None:
        self.mapcount.write_text(FAKE_MAPCOUNT.format(wrong=wrong, audited=audited, real=real))

    def run(self, *more: str) -> int:
        argv = ["matrix", "-o", str(self.output), "--workload", *WORKLOADS, *more]
        return vm.__main__.main(argv if "--kernel" in more else [*argv, "--kernel", "6.1"])

    def cells(self) -> dict[tuple[str, str], matrix.Cell]:
        found = matrix_text.read(self.output / "matrix.json")
        return {(cell.kernel, cell.workload): cell for cell in found.cells}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    fake = Lab(tmp_path)
    set_lab(monkeypatch, tmp_path, fake.mapcount)
    monkeypatch.setattr(lab.pagetypes, "ensure", lambda *_: touched(tmp_path / "page-types"))
    for suite in ("bookworm", "trixie"):  # roots that look complete: nothing is fetched
        root = chroot.path_of(suite)
        touched(root / "boot/vmlinuz-6.1.0-fake")
        touched(root / "mapcount/versions.json").write_text('{"python3-bpfcc": "0.26"}')
    return fake


def page_of(fake: Lab) -> str:
    """The page of the last run, with the part of `make matrix` alone."""
    page = fake.folder / "page.md"
    page.unlink(missing_ok=True)
    assert matrix_text.main([str(fake.output / "matrix.json"), str(page), "matrix"]) == 0
    return page.read_text()


ALL_GOOD = 'for w in lifecycle shmem-thp seed-2015; do ended "$w" 0; done\nfinished\n'


def test_matrix_is_good_when_every_workload_was_verified(
    fake: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN guests in which everything went well WHEN two kernels are run
    fake.does(ALL_GOOD)
    assert fake.run("--kernel", "6.1", "6.12") == 0
    # THEN each combination has its line with the figures of the analysis
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == list(matrix_text.COLUMNS)
    assert lines[1].split() == ["6.1", "lifecycle", "120", "3", "500", "0", "0", "0", "12.2"]
    assert [line.split()[:2] for line in lines[4:7]] == [["6.12", each] for each in WORKLOADS]
    assert lines[-1].startswith("6 combinations, 0 left out, 0 failed; 2000 values checked: 0 diff")
    # AND the file says the same, for programs, and where the traces are
    data = json.loads((fake.output / "matrix.json").read_text())
    assert data["good"] is True
    assert [kernel["suite"] for kernel in data["kernels"]] == ["bookworm", "trixie"]
    assert data["kernels"][0]["release"] == "6.1.0-fake"
    assert data["kernels"][0]["packages"] == {"python3-bpfcc": "0.26"}
    assert (fake.output / data["cells"][0]["trace"]).is_file()


def test_guest_boots_with_all_options_when_workloads_need_them(fake: Lab, tmp_path: Path) -> None:
    # GIVEN two workloads that each need something of the kernel's command line
    fake.does(f'echo "$*" >{tmp_path}/arguments\nfinished\n')
    # WHEN one guest runs both THEN it boots with everything, each option once
    fake.run("--kernel", "6.1", "--workload", "migrate", "hugetlb")
    arguments = (tmp_path / "arguments").read_text()
    options = [word for word in arguments.split() if "append" in word]
    assert options == [
        *("--append=numa=fake=2", "--append=hugepagesz=1G", "--append=hugepages=1"),
    ]
    # AND with the memory of the one that needs most
    assert "--memory 4G" in arguments


def test_matrix_is_bad_when_there_is_a_difference(
    fake: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN one trace in which the reconstruction is wrong WHEN run
    fake.does(ALL_GOOD)
    fake.compares(wrong=("shmem-thp",))
    # THEN the status says so, and the message says where
    assert fake.run() == 1
    assert "error: shmem-thp on 6.1: difference: faulted" in capfd.readouterr().err
    assert fake.cells()["6.1", "shmem-thp"].differences == 1


def test_matrix_is_bad_when_the_audit_finds_an_error(
    fake: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace whose books do not balance, beside races of readers in all WHEN run
    fake.does(ALL_GOOD)
    fake.compares(audited=("lifecycle",))
    # THEN the error counts, and the races do not
    assert fake.run() == 1
    assert "error: lifecycle on 6.1: entire_mapcount is 2" in capfd.readouterr().err
    assert [cell.findings for cell in fake.cells().values()] == [1, 0, 0]


@pytest.mark.parametrize(
    ("certainty", "told"),
    [("certain", "it is 2"), ("possible", "it is 2 (possible: 7 events were lost)")],
)
def test_doubt_is_told_with_the_finding_when_there_is_some(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certainty: str, told: str
) -> None:
    # GIVEN a finding of the audit, and why it may be none WHEN it becomes a cell's reason
    found = {"severity": "error", "sentence": "it is 2", "reason": "7 events were lost"}
    monkeypatch.setattr(audits, "findings", lambda trace: [found | {"certainty": certainty}])
    cell = matrix._audited(matrix.Cell("6.1", "lifecycle", matrix.CHECKED), tmp_path / "t")
    # THEN what is only possible is not told as if it were certain
    assert cell.reason == told and cell.certain == (certainty == "certain")
    # AND it is shown and counted, and fails nothing
    assert cell.good == (certainty == "possible")
    notes: list[str] = []
    assert "(1)" in matrix_text.place(cell, notes)
    assert f"1 findings, {cell.certain} certain; {told}" in notes[0]


def test_matrix_is_good_when_what_the_audit_finds_is_known_to_be_real(
    fake: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace that shows, twice, what docs/trophies.md has as T2 WHEN run
    fake.does(ALL_GOOD)
    fake.compares(real=("lifecycle",))
    # THEN it is told as such, in a column of its own, and is no error
    assert fake.run() == 0
    output = capfd.readouterr().out
    assert " T2:2 " in output.splitlines()[1]
    assert "0 findings, 2 real ones of docs/trophies.md" in output
    cell = fake.cells()["6.1", "lifecycle"]
    assert (cell.findings, cell.real, cell.good) == (0, {"T2": 2}, True)
    # AND the page has it as a note
    page = page_of(fake)
    assert "lifecycle: real: T2:2; 3 events lost" in page


def test_combination_is_left_out_when_the_workload_skips(
    fake: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a kernel that lacks what a workload is about, and a step of another WHEN run
    fake.does(
        "fact lifecycle skipped 'no swap'; ended lifecycle 1\n"
        "fact shmem-thp left-out 'step punch not on this kernel: no holes'; ended shmem-thp 0\n"
        "fact seed-2015 ended 'signal 9'; ended seed-2015 0\nfinished\n"
    )
    # THEN that is no failure, and the reasons are in the table, and how a command ended
    assert fake.run() == 0
    output = capfd.readouterr().out
    assert "left out: no swap" in output and "1 left out" in output
    assert "shmem-thp on 6.1: step punch not on this kernel: no holes" in output
    assert "seed-2015 on 6.1: its command ended with signal 9" in output


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("ended lifecycle 1 'error: mmap: Out of memory'", "error: mmap: Out of memory"),
        # What is only said is no leave to skip.
        ("ended lifecycle 1 'skip: lunch'", "skip: lunch"),
        ("ended lifecycle 1 'the command failed with status 77'", "status 77"),
        ("ended lifecycle 124", "ended after"),
        ("no_trace=yes; ended lifecycle 0; no_trace=", "no trace"),
    ],
)
def test_matrix_is_bad_when_a_workload_fails(fake: Lab, step: str, reason: str) -> None:
    # GIVEN a workload that failed in one of the ways there are WHEN run
    fake.does(f"{step}\nended shmem-thp 0\nended seed-2015 0\nfinished\n")
    assert fake.run() == 1
    # THEN it has its reason, and the others have their figures
    cell = fake.cells()["6.1", "lifecycle"]
    assert not cell.good and reason in cell.reason
    assert fake.cells()["6.1", "shmem-thp"].checked == 500


def test_results_before_are_kept_when_the_guest_dies(
    fake: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a kernel that dies in its second workload WHEN run with another kernel after it
    fake.does("ended lifecycle 0\nbegun shmem-thp\necho 'kernel BUG at mm/rmap.c:1200!'\n")
    # THEN the first has its figures, the second the kernel's words, the third its fate
    assert fake.run("--kernel", "6.1", "6.12") == 1
    cells = fake.cells()
    for kernel in ("6.1", "6.12"):
        assert cells[kernel, "lifecycle"].checked == 500
        lost, after = cells[kernel, "shmem-thp"], cells[kernel, "seed-2015"]
        assert (lost.outcome, after.outcome) == (matrix.LOST, matrix.LOST)
        assert "mm/rmap.c:1200" in lost.reason and "before it began" in after.reason
    assert "error: 6.1: the VM was lost" in capfd.readouterr().err


def test_results_before_are_kept_when_the_guests_time_is_up(
    fake: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a guest that hangs in its second workload WHEN run with a limit
    set_clock(monkeypatch, tmp_path)
    fake.does("ended lifecycle 0\nbegun shmem-thp\nhangs\nexec sleep 1000\n")
    assert fake.run("--seconds-per-guest", "1") == 1
    # THEN what was done is there, and the rest says why it is not
    outcomes = [cell.outcome for cell in fake.cells().values()]
    assert outcomes == [matrix.CHECKED, matrix.TIMED_OUT, matrix.TIMED_OUT]


def test_other_kernels_are_run_when_one_has_no_root(
    fake: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a kernel whose root cannot be built WHEN two are run
    fake.does(ALL_GOOD)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert fake.run("--kernel", "5.10", "6.1") == 1
    # THEN it has failed with the reason, and the other is done
    assert "needs root" in fake.cells()["5.10", "lifecycle"].reason
    assert fake.cells()["6.1", "lifecycle"].good


def test_kernel_is_left_out_when_debian_has_none_that_is_newer(
    fake: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a day on which testing has the newest kernel WHEN the matrix is run
    def overtaken() -> str:
        raise ahead.NothingNewer("no kernel is newer than the 7.4.2-1 of forky")

    monkeypatch.setattr(ahead, "suite", overtaken)
    fake.does(ALL_GOOD)
    # THEN `next` is left out with that reason, and nothing has failed
    assert fake.run("--kernel", "next", "6.1") == 0
    cell = fake.cells()["next", "lifecycle"]
    assert (cell.outcome, "7.4.2-1 of forky" in cell.reason) == (matrix.LEFT_OUT, True)


def test_nothing_checked_is_a_failure_when_the_table_has_folios(fake: Lab) -> None:
    # GIVEN a trace without one value to check, of a workload whose marks show folios
    fake.does(
        ALL_GOOD.replace("ended", 'echo() { builtin echo "${1/#lifecycle/seed-2015}"; }; ended')
    )
    assert fake.run() == 1
    # THEN it is not taken for a success; where the table has none, it is
    assert "nothing was checked" in fake.cells()["6.1", "lifecycle"].reason
    assert fake.cells()["6.1", "seed-2015"].good


@pytest.mark.parametrize("more", [("--kernel", "2.4"), ("--kernel", "6.1", "--workload", "chess")])
def test_matrix_is_a_usage_error_when_a_name_is_unknown(fake: Lab, more: tuple[str, ...]) -> None:
    # GIVEN a name that is none WHEN run THEN nothing is booted
    fake.does("exit 99\n")
    assert fake.run(*more) == 2
    assert not fake.output.exists()


def test_batch_leaves_each_steps_status_when_run(tmp_path: Path) -> None:
    # GIVEN a batch of a good, a failing and a hanging step, with its places moved to a folder
    steps = [
        job.Step("good", ["echo", "a b"], 60),
        job.Step("bad", ["sh", "-c", "echo no >&2; exit 9"], 60),
        job.Step("hangs", ["sleep", "100"], 1),
        job.Step("last", ["true"], 60),
    ]
    script = job.batch(steps, {"WHAT": "x y"}).replace(job.OUT, str(tmp_path))
    # A test must not change this machine's own settings.
    script = script.replace("settle\n", ":\n")
    # WHEN it is run
    done = subprocess.run(["sh", "-c", script])
    # THEN each has left what it printed and how it ended, and the batch ended well
    assert done.returncode == 0
    folder = tmp_path / job.STEPS
    assert [(folder / step.name / "status").read_text() for step in steps] == [
        *("0\n", "9\n", "124\n", "0\n")
    ]
    assert (folder / "good/stdout").read_text() == "a b\n"
    assert (folder / "bad/stderr").read_text() == "no\n"
    assert len((folder / "last/uptime").read_text().split()) == 2
    assert (tmp_path / "status").read_text() == "0\n"


def test_page_has_every_combination_when_made(fake: Lab) -> None:
    # GIVEN a matrix with a good, a skipped and a wrong combination
    fake.does(ALL_GOOD)
    fake.compares(wrong=("shmem-thp",))
    fake.run("--kernel", "6.1", "6.12")
    # WHEN the page is made
    page = page_of(fake)
    # THEN it says that it is made, by what, and shows the figures, a difference in bold
    assert "Generated by `make matrix`" in page
    assert matrix_text.made_on(fake.output / "matrix.json") in page
    assert "| workload | 6.1 | 6.12 |" in page
    assert "| `lifecycle` | 500: 0 (1) |" in page
    assert "**500: 1**" in page
    assert "- 6.12: folio_dup: not in this kernel; unseen: forks" in page


def test_parts_of_the_page_stay_when_another_is_made(fake: Lab) -> None:
    # GIVEN a page whose parts were made in another order than they stand
    fake.does(ALL_GOOD)
    fake.run()
    results, page = fake.output / "matrix.json", fake.folder / "page.md"
    for part in ("arm64", "matrix"):
        assert matrix_text.main([str(results), str(page), part]) == 0
    first = page.read_text()
    # THEN each stands once, in the page's order, below one title
    assert first.startswith("# Support matrix\n\n<!-- Generated by `make matrix`")
    assert first.count("# Support matrix") == first.count("Generated by `make arm64`") == 1
    assert first.index("## Values checked") < first.index("## arm64") < first.index("### Values")
    # AND one is made anew without touching the other
    fake.compares(wrong=("shmem-thp",))
    fake.run("-f")
    assert matrix_text.main([str(results), str(page), "arm64"]) == 0
    above, below = page.read_text().split("<!-- Generated by `make arm64`")
    assert first.startswith(above)
    assert "**500: 1**" in below and "**500: 1**" not in above


# -- kernels of other configurations ---------------------------------------------------------------

CONFIGURED = ("6.1-tiny", "6.1-no-btf")


@pytest.fixture
def built(fake: Lab) -> Lab:
    """The same lab with two kernels of other configurations that look built."""
    for name in CONFIGURED:
        recipe = kernels.BY_NAME[name].recipe
        assert recipe is not None
        touched(recipe.image)
        versions = chroot.path_of(recipe.suite, recipe.packages) / "mapcount/versions.json"
        touched(versions).write_text('{"linux-source-6.1": "6.1.192-2"}')
    return fake


def test_steps_have_more_time_when_the_guest_is_another_machine(
    fake: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a computer that is none of arm64
    monkeypatch.setattr(arch, "is_host", lambda machine: machine.MACHINE == "x86_64")
    monkeypatch.setattr(foreign, "check", lambda machine: None)
    root = chroot.path_of("trixie", kernels.BY_NAME["6.12-arm64"].packages)
    touched(root / "boot/vmlinuz-6.12.0-fake")
    touched(root / "mapcount/versions.json").write_text("{}")
    fake.does('cat "$out/job.sh" >>"$traces/../jobs"; finished')
    # WHEN a guest of its own kind and one of arm64 are asked for the same
    fake.run("--kernel", "6.1", "6.12-arm64")
    steps = [
        line.split()[1]
        for line in (fake.output / "jobs").read_text().splitlines()
        if line.startswith("step ") and "lifecycle" in line
    ]
    # THEN the other one has more time for each step
    assert steps == ["600", f"{600 * foreign.SLOWER:.0f}"]


def configs_run(lab: Lab, doctor: str, steps: str) -> int:
    """`lab matrix --configs` where doctor's status on each kernel is DOCTOR's value for it."""
    lab.does(
        f"declare -A doctor=({doctor})\nbegun doctor\n"
        'case "$*" in *6.1-tiny*) kernel=6.1-tiny ;; *) kernel=6.1-no-btf ;; esac\n'
        f'leave "${{doctor[$kernel]}}" "$out/steps/doctor/status"\n{steps}\nfinished\n'
    )
    return lab.run("--configs", "-f", "--kernel", *CONFIGURED)


def test_kernel_is_left_out_when_doctor_says_that_it_cannot_be_recorded(built: Lab) -> None:
    # GIVEN two configurations, one of which lacks what recording needs, and doctor says so
    fails = "ended $w 1 'error: the kernel has no kprobes'"
    works = "[ $kernel = 6.1-no-btf ] && ended $w 0"
    steps = f"for w in {' '.join(WORKLOADS)}; do {works} || {fails}; done"
    # WHEN they are run THEN that one is left out, with the recorder's line
    assert configs_run(built, "[6.1-tiny]=1 [6.1-no-btf]=0", steps) == 0
    cell = built.cells()["6.1-tiny", "lifecycle"]
    assert (cell.outcome, cell.reason) == (matrix.LEFT_OUT, "the kernel has no kprobes")
    # AND the other is verified, and the file says what it was built from, not what its root has
    assert built.cells()["6.1-no-btf", "lifecycle"].good
    data = json.loads((built.output / "matrix.json").read_text())
    assert data["configs"] is True
    assert [kernel["doctor"] for kernel in data["kernels"]] == [1, 0]
    packages = {"linux-source-6.1": "6.1.192-2", "python3-bpfcc": "0.26"}
    assert data["kernels"][0]["packages"] == packages


@pytest.mark.parametrize(
    ("doctor", "step", "words"),
    [
        ("1", "ended lifecycle 0", "recorded, but doctor's status is 1"),
        ("0", "ended lifecycle 1 'error: no field owner'", "no field owner"),
        ("124", "ended lifecycle 0", "recorded, but doctor's status is 124"),
    ],
)
def test_matrix_is_bad_when_doctor_and_record_disagree(
    built: Lab, doctor: str, step: str, words: str
) -> None:
    # GIVEN a kernel of which doctor says what is not so WHEN it is run
    steps = f"{step}\nended shmem-thp 0\nended seed-2015 0"
    assert configs_run(built, f"[6.1-tiny]={doctor} [6.1-no-btf]={doctor}", steps) == 1
    # THEN the disagreement is a failure
    cell = built.cells()["6.1-tiny", "lifecycle"]
    assert cell.outcome == matrix.FAILED and words in cell.reason


def test_page_has_only_the_configurations_that_were_run_when_made(
    built: Lab, tmp_path: Path
) -> None:
    # GIVEN a page about Debian's kernels, and a run of two configurations
    output = tmp_path / "support-matrix.md"
    built.does(ALL_GOOD)
    built.run()
    results = str(built.output / "matrix.json")
    assert matrix_text.main([results, str(output), "matrix"]) == 0
    debians = output.read_text()
    built.compares(wrong=("shmem-thp",))
    configs_run(built, "[6.1-tiny]=0 [6.1-no-btf]=0", ALL_GOOD)
    # WHEN the part about configurations is made, twice
    for _ in range(2):
        assert configs_text.main([results, str(output)]) == 0
    page = output.read_text()
    # THEN it follows the first, once, with a row for each that was run, and names the others
    assert page.startswith(debians)
    assert page.count("## Other configurations") == 1
    why = kernels.BY_NAME["6.1-tiny"].why
    row = f"| 6.1-tiny | {why} | 6.1.192-2 | 6.1.0-fake | 0 | 500: 0 (1) | **500: 1** (2) |"
    assert row in page
    assert "| 6.12-tiny |" not in page and "`6.12-tiny`" in page
    assert "- 6.1-tiny: folio_dup: not in this kernel; unseen: forks" in page
    # AND the first part can be made anew without touching it
    built.compares()
    built.run("-f")
    assert matrix_text.main([results, str(output), "matrix"]) == 0
    assert output.read_text() == page


def test_results_of_other_kernels_stay_when_they_are_to_be_kept(
    built: Lab, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN results of one configuration, of an earlier day
    built.compares(wrong=("shmem-thp",))
    built.does(ALL_GOOD)
    tiny = ("--configs", "--keep", "--kernel", "6.1-tiny")
    doctor = 'begun doctor\nleave 0 "$out/steps/doctor/status"\n'
    built.does(f"{doctor}{ALL_GOOD}")
    assert built.run(*tiny) == 1
    results = built.output / "matrix.json"
    data = json.loads(results.read_text())
    data["kernels"][0]["made"] = "2026-01-01"
    results.write_text(json.dumps(data))
    first = built.cells()
    # WHEN another one is added
    built.compares()
    assert built.run("--configs", "--keep", "--kernel", "6.1-no-btf") == 1
    # THEN the first is there as it was, with its difference, and the page names both days
    found = built.cells()
    assert {place: cell for place, cell in found.items() if place[0] == "6.1-tiny"} == first
    assert found["6.1-no-btf", "shmem-thp"].good
    assert configs_text.main([str(results), str(tmp_path / "page.md")]) == 0
    assert re.search(
        r"Made on 2026-01-01 and 2\d{3}-\d\d-\d\d by", (tmp_path / "page.md").read_text()
    )
    # AND the same kernel again replaces its own results alone
    assert built.run(*tiny) == 0
    assert set(built.cells()) == set(found)
    # BUT they are not mixed with those of Debian's kernels
    assert built.run("--keep") == 2
    assert "is of a run with --configs" in capfd.readouterr().err


def test_configurations_are_built_and_run_when_none_is_named(
    built: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN no choice WHEN the configurations are run
    asked: dict[str, object] = {}

    def run(*args: object, configs: bool, kept: matrix.Matrix | None) -> matrix.Matrix:
        assert kept is None
        asked["names"], asked["workloads"], *_ = args
        asked["configs"] = configs
        return matrix.Matrix()

    monkeypatch.setattr(matrix, "run", run)
    assert vm.__main__.main(["matrix", "--configs", "-o", str(built.output)]) == 0
    # THEN every one of them is recorded with one workload of each family
    assert asked["names"] == [kernel.name for kernel in kernels.CONFIG_KERNELS]
    assert asked["workloads"] == list(matrix.CONFIG_WORKLOADS)
    assert asked["configs"] is True


def test_every_workload_is_in_the_matrix_when_none_is_named(fake: Lab) -> None:
    # GIVEN no choice WHEN run THEN all of them are there, done or not
    fake.does("finished\n")
    argv = ["matrix", "-o", str(fake.output), "--kernel", "6.1"]
    assert vm.__main__.main(argv) == 1
    assert [workload for _, workload in fake.cells()] == list(scenarios.SCENARIOS)
