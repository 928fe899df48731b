# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the planted bugs: their table, and what is made of a guest that shows them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import vm.__main__
from probes.hooks import HOOKS
from tests.fake_vng import PRETENDS, set_lab, touched
from vm import (
    arch,
    chroot,
    flight,
    foreign,
    guest,
    kbuild,
    kernels,
    lab,
    mutant_run,
    mutants,
    mutants_text,
    scenarios,
)
from vm.historic import HISTORIC
from vm.mutant_run import Case, Verdict
from vm.mutants import BASES, Base, Mutant
from vm.say import LabError

PROBED = {candidate.function for hook in HOOKS for candidate in hook.candidates}


def each_mutant() -> list[tuple[Base, Mutant]]:
    return [(base, mutant) for base in BASES.values() for mutant in base.mutants]


def ids(value: object) -> str:
    return getattr(value, "name", "")


@pytest.mark.parametrize(("base", "mutant"), each_mutant(), ids=ids)
def test_bug_can_be_named_when_it_is_found(base: Base, mutant: Mutant) -> None:
    # GIVEN a bug of the table THEN its workload exists, and the function is one that is probed
    assert mutant.workload in scenarios.SCENARIOS
    assert mutant.function in PROBED
    # AND the healthy code is still there, beside the bug
    assert mutants.AWAKE in mutant.edit.new


def test_bugs_are_told_apart_when_they_are_chosen_by_number() -> None:
    for base in BASES.values():
        # GIVEN all bugs of a kernel WHEN they are built into its image
        edits = base.recipe.edits
        # THEN each answers to a number of its own, and none has its name twice
        numbers = [f"planted_bug == {number};" for number in range(1, len(base.mutants) + 1)]
        assert [sum(number in edit.new for edit in edits) for number in numbers] == [1] * len(
            numbers
        )
        assert len({mutant.name for mutant in base.mutants}) == len(base.mutants)


def test_at_least_ten_bugs_are_planted_when_two_kernels_are_counted() -> None:
    # GIVEN the table THEN the older kernel has ten bugs, and a second kernel some of its own
    assert len(BASES["6.1-mutants"].mutants) >= 10
    assert len(BASES["6.12-mutants"].mutants) >= 3


def test_workloads_come_healthy_first_when_bugs_share_them() -> None:
    # GIVEN two bugs of one workload and one of another WHEN their cases are listed
    base = BASES["6.1-mutants"]
    names = ["unmap-misses-page", "split-tail-miscounted", "file-pmd-not-counted"]
    found = [case.name for case in mutant_run.cases(base, names)]
    # THEN each workload is seen on the healthy kernel once, before any bug is awake
    assert found[:2] == ["healthy-lifecycle", "healthy-shmem-thp"]
    assert sorted(found[2:]) == sorted(names)


@pytest.mark.parametrize(
    ("kernels", "names", "message"),
    [(["5.10"], [], "no bugs are known"), ([], ["typo"], "unknown bug 'typo'")],
)
def test_slip_of_the_pen_is_a_usage_error_when_choosing(
    kernels: list[str], names: list[str], message: str
) -> None:
    # GIVEN a kernel without bugs, and a bug that does not exist WHEN chosen THEN it is refused
    with pytest.raises(LabError, match=message) as caught:
        mutant_run.choose(kernels, names)
    assert caught.value.exit_code == 2


def test_only_kernels_with_the_bug_are_used_when_it_is_chosen() -> None:
    # GIVEN a bug that one kernel alone has WHEN it is chosen THEN the other is left in peace
    assert mutant_run.choose([], ["entire-left"]) == [BASES["6.12-mutants"]]


def test_emulated_kernels_are_left_out_when_none_is_named() -> None:
    # GIVEN a kernel of another machine WHEN all are meant THEN it is not
    emulated = BASES["6.12-arm64-mutants"]
    assert emulated not in mutant_run.choose([], [])
    # BUT it is when it is named
    assert mutant_run.choose([emulated.name], ["entire-left"]) == [emulated]


def test_kernel_of_arm64_has_the_bugs_of_its_sibling_on_a_board_of_its_own() -> None:
    # GIVEN the two kernels of one source THEN they have the same bugs
    one, other = BASES["6.12-mutants"], BASES["6.12-arm64-mutants"]
    assert one.mutants == other.mutants and one.recipe.edits == other.recipe.edits
    # AND each has the devices of its machine and not those of the other
    options = [base.recipe.fragment.splitlines() for base in (one, other)]
    for option, on in (("ACPI", (True, False)), ("SERIAL_AMBA_PL011", (False, True))):
        assert tuple(f"CONFIG_{option}=y" in lines for lines in options) == on
    # AND the guest's root has the programs of its machine
    kernel = kernels.resolve(other.name)
    assert (kernel.machine, kernel.packages) == (arch.ARM64, chroot.ARM64_PACKAGES)
    assert kernels.resolve(one.name).packages == chroot.PACKAGES


def test_guest_of_another_machine_has_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a kernel of another machine
    prepared: list[lab.Options] = []

    def prepare(options: lab.Options, plan: lab.Plan) -> tuple[guest.Machine, Path]:
        prepared.append(options)
        raise LabError("enough")

    monkeypatch.setattr(arch, "is_host", lambda machine: machine is arch.GUEST)
    monkeypatch.setattr(lab, "prepare", prepare)
    machines: list[arch.Arch] = []

    def plan(name: str, *, kernel: kernels.Kernel) -> lab.Plan:
        machines.append(kernel.machine)
        return lab.Plan(name, [name])

    monkeypatch.setattr(lab, "plan_scenario", plan)
    # WHEN one of its bugs is recorded, and the same one on this computer's own kind
    for name in ("6.12-mutants", "6.12-arm64-mutants"):
        with pytest.raises(LabError, match="enough"):
            mutant_run.run([BASES[name]], ["entire-left"], tmp_path)
    # THEN its workload is of its machine, and its limit as many times longer as such a guest takes
    assert machines == [arch.GUEST] * 2 + [arch.ARM64] * 2
    assert prepared[1].limit == foreign.SLOWER * prepared[0].limit


def finding(function: str, certainty: str = "certain", severity: str = "error") -> dict[str, str]:
    sentence = f"{function} did it"
    return {
        "rule": "double-entry", "severity": severity, "certainty": certainty,
        "function": function, "sentence": sentence,
    }  # fmt: skip


BUG = Verdict("k", "bug", "lifecycle", expected="page_remove_rmap")
HEALTHY = Verdict("k", "healthy-lifecycle", "lifecycle")


def test_bug_is_found_when_a_certain_finding_names_its_function() -> None:
    # GIVEN findings of which the second is the one WHEN they are told
    verdict = mutant_run.told(BUG, [finding("copy_huge_pmd"), finding("page_remove_rmap")])
    # THEN that is the one to be shown
    assert verdict.good and verdict.sentence == "page_remove_rmap did it"
    assert verdict.certain == 2


@pytest.mark.parametrize(
    "findings",
    [
        [],
        [finding("page_remove_rmap", "possible")],
        [finding("copy_huge_pmd")],
        [finding("page_remove_rmap", severity="race")],
    ],
    ids=["nothing", "possible", "another function", "a race"],
)
def test_bug_is_not_found_when_nothing_certain_names_its_function(
    findings: list[dict[str, str]],
) -> None:
    # GIVEN findings that miss the bug in one way or the other WHEN told THEN it is not good
    assert not mutant_run.told(BUG, findings).good


def test_healthy_kernel_is_at_fault_when_a_finding_is_certain() -> None:
    # GIVEN the healthy kernel WHEN only races and possible findings are told THEN it is good
    races = [finding("stable_page_flags", severity="race"), finding("x", "possible")]
    assert mutant_run.told(HEALTHY, races).good
    # AND with one certain finding it is not
    assert not mutant_run.told(HEALTHY, [*races, finding("page_remove_rmap")]).good


# -- whole runs, with a guest and an audit that only pretend -------------------------------------

FAKE_VNG = """\
begins
cp "$out/job.sh" "$traces"
# The steps that the script asks for, but for one of which the kernel dies, once.
for name in $(sed -n 's,^step [0-9]* /mapcount/out/steps/\\([^ ]*\\) .*,\\1,p' "$out/job.sh"); do
	mkdir -p "$out/steps/$name"
	echo "$name" >"$traces/$name.mapcount"
	[ "$name" != "$DEADLY" ] || { echo "kernel BUG at mm/rmap.c:7!"; exit 1; }
	leave 0 "$out/steps/$name/status"
done
leave 0 "$out/status"
"""
# In place of `mapcount audit FILE --json`: a trace is the name of its case.
FAKE_AUDIT = """\
import json, sys
from pathlib import Path
name = Path(sys.argv[2]).read_text().strip()
function = {"unmap-misses-page": "page_remove_rmap", "split-tail-miscounted": "copy_huge_pmd"}
one = dict(rule="r", severity="error", certainty="certain", sentence=name)
one["function"] = function.get(name)
print(json.dumps([] if name.startswith("healthy") else [one]))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    vng = touched(tmp_path / "bin/vng")
    vng.write_text(PRETENDS + FAKE_VNG)
    vng.chmod(0o755)
    audit = tmp_path / "mapcount.py"
    audit.write_text(FAKE_AUDIT)
    set_lab(monkeypatch, tmp_path, audit)
    monkeypatch.setenv("DEADLY", "")
    monkeypatch.setattr(lab.pagetypes, "ensure", lambda *_: touched(tmp_path / "page-types"))
    monkeypatch.setattr(kbuild, "ensure", lambda recipe: touched(tmp_path / "bzImage"))
    touched(chroot.path_of("bookworm") / "boot/vmlinuz-6.1.0-fake")

    def run(*names: str) -> tuple[int, dict[str, Verdict]]:
        argv = ["mutants", "-o", str(tmp_path / "out"), "--kernel", "6.1-mutants", "--mutant"]
        status = vm.__main__.main([*argv, *names])
        data = json.loads((tmp_path / "out" / mutant_run.RESULTS).read_text())
        return status, {one["case"]: Verdict(**one) for one in data}

    return run


def test_run_is_good_when_the_bug_is_named_and_the_healthy_kernel_is_not(  # type: ignore
    run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a bug that the audit names WHEN it is run
    status, verdicts = run("unmap-misses-page")
    # THEN the status and the table say so
    assert status == 0
    assert verdicts["healthy-lifecycle"].good and verdicts["unmap-misses-page"].named
    output = capfd.readouterr().out
    assert "1 of 1 bugs found at their function; healthy: 1 of 1" in output
    # AND the bug was awake for its own recording only
    script = (tmp_path / "out/6.1-mutants/job.sh").read_text().splitlines()
    steps = [line for line in script if line.startswith("step ")]
    assert all(f"echo {number} >{mutants.BUG_SWITCH}" in steps[number] for number in (0, 1))
    assert all(f"echo 0 >{mutants.BUG_SWITCH}; exit" in step for step in steps)


def test_run_is_bad_when_a_bug_is_named_at_the_wrong_function(  # type: ignore
    run, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a bug for which the audit names another function WHEN run THEN the error is its words
    status, verdicts = run("unmap-misses-page", "split-tail-miscounted")
    assert status == 1 and not verdicts["split-tail-miscounted"].good
    assert "error: split-tail-miscounted on 6.1-mutants: split-tail" in capfd.readouterr().err


def test_other_bugs_get_another_guest_when_one_kills_it(  # type: ignore
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a bug that kills the guest before it is found WHEN it is run with one after it
    monkeypatch.setenv("DEADLY", "doublemap-not-set")
    status, verdicts = run("unmap-misses-page", "doublemap-not-set", "split-tail-miscounted")
    # THEN it has the kernel's words, and the others their verdicts
    assert status == 1
    assert "kernel BUG at mm/rmap.c:7" in verdicts["doublemap-not-set"].trouble
    assert verdicts["unmap-misses-page"].good
    assert verdicts["split-tail-miscounted"].certain == 1


def test_nothing_is_recorded_after_a_bug_that_ruins_its_kernel() -> None:
    # GIVEN bugs, of which two leave memory behind that is not to be trusted
    left = mutant_run.cases(BASES["7.x-mutants"], [])
    guests = []
    # WHEN they are given to guests
    while left:
        guests.append(mutant_run.together(left))
        left = left[len(guests[-1]) :]
    # THEN each of these is the last of its guest, and no other bug is
    ruinous = [[bool(case.mutant and case.mutant.ruins) for case in one] for one in guests]
    assert [sum(one) for one in ruinous] == [1, 1]
    assert all(one[-1] for one in ruinous)


def test_memory_of_a_dead_guest_is_read_for_the_bug_that_was_awake(  # type: ignore
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a guest whose kernel dies when the first of its steps is over
    rescued: list[str] = []

    def dies(*given) -> guest.Result:  # type: ignore[no-untyped-def]
        run_dir, on_death = given[2], given[5]
        over = run_dir / "steps/healthy-lifecycle"
        over.mkdir(parents=True)
        (over / "status").write_text("0\n")
        (run_dir / guest.CONSOLE).touch()
        on_death(None)
        return guest.Result(guest.Outcome.LOST, None, run_dir, 1.0)

    monkeypatch.setattr(guest, "run", dies)
    monkeypatch.setattr(flight.Flight, "rescue", lambda self, _: rescued.append(self.trace.name))
    # WHEN a bug is run THEN its trace is completed, that of the step before is not touched
    run("unmap-misses-page")
    assert rescued == ["unmap-misses-page.mapcount"]


def test_page_tells_each_bug_in_the_audits_words_when_written(tmp_path: Path) -> None:
    # GIVEN a bug that was found, one that was not, and the healthy kernel
    found = mutant_run.told(BUG, [finding("page_remove_rmap")])
    missed = mutant_run.told(Verdict("k", "other", "ksm", expected="copy_huge_pmd"), [])
    results = tmp_path / "mutants.json"
    results.write_text(json.dumps([vars(one) for one in (HEALTHY, found, missed)]))
    # WHEN the page is made of the results THEN each has its line
    assert mutants_text.main([str(results), str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert "| `bug`:  | `lifecycle` | `page_remove_rmap` | page_remove_rmap did it |" in page
    assert "| **not** `copy_huge_pmd` |" in page
    assert "| `lifecycle` | 0 | 0 | 0 |" in page
    assert "healthy: 1 of 1 workloads without a certain finding.\n" in page


def test_page_keeps_the_sections_of_kernels_that_were_not_run(tmp_path: Path) -> None:
    # GIVEN the page of a run of one kernel
    output, results = tmp_path / "page.md", tmp_path / "mutants.json"
    for kernel in ("6.12-mutants", "6.1-mutants", "6.12-mutants"):
        found = mutant_run.told(replace(BUG, kernel=kernel), [finding("page_remove_rmap")])
        results.write_text(json.dumps([vars(found)]))
        # WHEN another one is run, and the first one again
        assert mutants_text.main([str(results), str(output)]) == 0
    # THEN the page has each once, in the order of the bases, and the historic bugs once
    page = output.read_text()
    titles = re.findall("^## (.*)", page, re.MULTILINE)
    assert titles == ["6.1-mutants", "6.12-mutants", "Historic bugs"]
    assert page.count("| page_remove_rmap did it |") == 2


def test_historic_bugs_are_planted_or_say_what_they_need() -> None:
    # GIVEN the bugs that kernels had THEN each is a row that names its fix, or says why it is none
    rows = {mutant.name: mutant for _, mutant in each_mutant()}
    for one in HISTORIC:
        assert bool(one.planted) != bool(one.needed)
        assert not one.planted or f"{one.fix} undone" in rows[one.planted].breaks


def test_case_is_named_after_its_bug_when_it_has_one() -> None:
    # GIVEN a workload with a bug and without WHEN named THEN no trace overwrites the other's
    mutant = BASES["6.1-mutants"].mutants[0]
    assert Case("lifecycle", mutant).name != Case("lifecycle").name
