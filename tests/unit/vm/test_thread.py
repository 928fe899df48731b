# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the experiment about the 2015 thread, with guests and an audit that only pretend."""

import json
from pathlib import Path

import pytest

import vm.__main__
from tests.fake_vng import PRETENDS, set_lab, touched
from vm import chroot, kbuild, thread

# The kernel with the strict form dies; a reader that is asked for its cost tells one.
FAKE_VNG = """\
echo "$@" >>"$LOG"
if grep -q 'kpageflags cost ' "$out/job.sh"; then
	echo '{"huge": 321.50, "every": 210.25}' >"$out/said"
	leave 0 "$out/status"
	exit
fi
echo trace >"$(sed -n "s,.*-o /mapcount/trace/\\([^ ]*\\).*,$traces/\\1,p" "$out/job.sh")"
echo '{"answers": 1000, "impossible": 1}' >"$out/said"
case $* in
*strict*)
	printf '{"answers": 20' >>"$out/said"
	echo "kernel BUG at include/linux/page-flags.h:800!"
	exit 1
	;;
esac
echo '{"answers": 5000, "impossible": 3}' >>"$out/said"
leave 0 "$out/status"
"""
FAKE_AUDIT = """\
import json
one = dict(severity="race", certainty="certain")
print(json.dumps([one, one, dict(one, certainty="possible"), dict(one, severity="error")]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    vng = touched(tmp_path / "bin/vng")
    vng.write_text(PRETENDS + FAKE_VNG)
    vng.chmod(0o755)
    (tmp_path / "mapcount.py").write_text(FAKE_AUDIT)
    set_lab(monkeypatch, tmp_path, tmp_path / "mapcount.py", "kvm")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setattr(kbuild, "ensure", lambda recipe: touched(tmp_path / recipe.name))
    touched(chroot.path_of("bookworm") / "boot/vmlinuz-6.1.0-fake")
    return tmp_path


def test_table_tells_crashes_races_answers_and_cost_when_forms_differ(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a form whose kernel dies and one whose kernel lives WHEN both are measured
    out = folder / "out"
    argv = ["thread", "-o", str(out), "--form", "strict", "head-first"]
    assert vm.__main__.main(argv) == 0
    # THEN both have a row: the dead one with what its reader had got by then
    rows = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["strict", "died", "1000", "1", "2", "321.5", "210.25"] in rows
    assert ["head-first", "finished", "5000", "3", "2", "321.5", "210.25"] in rows
    # AND the file has the kernel's words
    strict, _ = json.loads((out / thread.RESULTS).read_text())
    assert "page-flags.h:800" in strict["words"]


def test_instructions_are_counted_on_one_cpu_when_the_cost_is_measured(folder: Path) -> None:
    # GIVEN a machine with KVM WHEN a form is measured
    assert vm.__main__.main(["thread", "-o", str(folder / "out"), "--form", "shipped"]) == 0
    race, cost = (folder / "log").read_text().splitlines()
    # THEN the cost comes from the emulator that counts, without the checks, and the race does not
    assert "-icount shift=0" in cost and "--disable-kvm" in cost and "--cpus 1 " in cost
    assert "-checked" not in cost
    assert "-icount" not in race and "shipped-checked" in race


def test_every_form_differs_from_the_others_when_built() -> None:
    # GIVEN the forms WHEN their kernels are built, with the checks and without
    images = [form.recipe(checked).image for form in thread.FORMS for checked in (True, False)]
    # THEN each has a place of its own
    assert len(set(images)) == 2 * len(thread.FORMS)
