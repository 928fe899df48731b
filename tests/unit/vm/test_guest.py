# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.guest and the commands above it, with a program that only pretends to be vng."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vm.__main__
from tests.fake_vng import PRETENDS, set_clock
from vm import boots, cache, chroot, guest, job, lab, say

REPOSITORY = Path(__file__).parents[3]
#: Seconds, longer than whatever a test waits for takes on a busy machine.
PATIENCE = 60.0

#: Does what the test says.
FAKE = PRETENDS + 'echo "$*" >"$FAKE_LOG"\n'


@pytest.fixture
def fake_vng(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "FakeVng":
    fake = FakeVng(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_LOG", str(fake.log))
    monkeypatch.setenv("MAPCOUNT_ACCEL", "tcg")
    # A root that looks complete, so that nothing is fetched.
    root = chroot.path_of("bookworm")
    (root / "boot").mkdir(parents=True)
    (root / "boot/vmlinuz-6.1.0-fake").touch()
    return fake


class FakeVng:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin/vng"
        self.log = folder / "arguments"
        self.path.parent.mkdir()

    def does(self, body: str) -> None:
        self.path.write_text(FAKE + body + "\n")
        self.path.chmod(0o755)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, tmp_path)


def run_dirs(folder: Path) -> list[Path]:
    return list((folder / "cache/mapcount/runs").iterdir())


def test_command_succeeds_when_the_guest_leaves_zero(
    fake_vng: FakeVng, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    # GIVEN a guest that prints a result and ends well
    fake_vng.does('echo result >"$out/stdout"; leave 0 "$out/status"')
    # WHEN a command is run in it
    status = vm.__main__.main(["run", "--no-record", "--", "true"])
    # THEN its output comes through, and the status is good
    assert status == 0
    assert capfdbinary.readouterr().out == b"result\n"
    assert "--disable-kvm" in fake_vng.log.read_text()


def test_command_fails_with_one_when_the_guests_status_is_not_zero(
    fake_vng: FakeVng, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a guest whose command ends with 7
    fake_vng.does('leave 7 "$out/status"')
    # WHEN it is run THEN the exit status is 1 and the message has the number
    assert vm.__main__.main(["run", "--no-record", "--", "false"]) == 1
    assert "error: false ended with status 7 in the guest" in capfd.readouterr().err


def test_vm_is_lost_when_the_guest_dies_without_a_status(
    fake_vng: FakeVng, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a guest that panics; vng itself then ends with any status
    fake_vng.does("echo '[ 1.5] Kernel panic - not syncing: sysrq'; exit 0")
    # WHEN it is run THEN this is not taken for a success, and the console's reason is shown
    assert vm.__main__.main(["run", "--no-record", "--", "true"]) == 128
    assert "panic - not syncing: sysrq" in capfd.readouterr().err


@pytest.mark.parametrize("got", ["", 'touch "$out/stdout"'])
def test_guest_boots_again_when_it_was_lost_before_its_command(
    fake_vng: FakeVng, tmp_path: Path, capfd: pytest.CaptureFixture[str], got: str
) -> None:
    # GIVEN an emulator that meets a stale breakpoint in the first boot, and not in the second: in
    # the kernel's own boot, or in what the script sets up
    fake_vng.does(
        f'[ -e {tmp_path}/once ] && {{ leave 0 "$out/status"; exit; }}\n'
        f"{got}\ntouch {tmp_path}/once; echo '[ 1.6] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI'"
    )
    # WHEN a command is run THEN it succeeds, and the user is told why it took longer
    assert vm.__main__.main(["run", "--no-record", "--", "true"]) == 0
    said = "note: the guest was lost while it booted ([ 1.6] Oops: int3"
    assert said in capfd.readouterr().err
    # AND what the first boot said is kept
    assert "Oops: int3" in (run_dirs(tmp_path)[0] / "first-console.log").read_text()


@pytest.mark.parametrize(
    ("does", "boots"), [("begins; echo Oops: int3", 1), ("echo Unable to mount root", 2)]
)
def test_guest_is_lost_when_it_was_lost_in_its_command_or_twice_before(
    fake_vng: FakeVng, tmp_path: Path, does: str, boots: int
) -> None:
    # GIVEN a guest that is lost in the midst of its command, or cannot boot
    fake_vng.does(f"echo boot >>{tmp_path}/boots; {does}")
    # WHEN a command is run THEN it is lost, and what it did is not done again
    assert vm.__main__.main(["run", "--no-record", "--", "true"]) == 128
    assert (tmp_path / "boots").read_text() == "boot\n" * boots


def test_guest_boots_again_when_it_hangs_at_boot(
    fake_vng: FakeVng,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    clock: None,
) -> None:
    # GIVEN a guest that hangs in its first boot, and not in the second
    fake_vng.does(
        f'[ -e {tmp_path}/once ] && {{ begins; leave 0 "$out/status"; exit; }}\n'
        f"touch {tmp_path}/once; echo first words; hangs; sleep 1000"
    )
    # WHEN a command is run THEN it succeeds, though its own limit is longer
    run = ["run", "--no-record", "--timeout", "20000", "--", "true"]
    assert vm.__main__.main(run) == 0
    assert "note: the guest hung while it booted" in capfd.readouterr().err
    # AND both boots are remembered, and what the first one said
    assert [boot.hung for boot in boots.history()] == [True, False]
    assert "first words" in (run_dirs(tmp_path)[0] / "first-console.log").read_text()


def test_time_is_over_when_the_guest_hangs_at_each_boot(
    fake_vng: FakeVng, capfd: pytest.CaptureFixture[str], clock: None
) -> None:
    # GIVEN a guest that never boots WHEN it is run THEN two boots are tried, and the error says so
    fake_vng.does("hangs; sleep 1000")
    run = ["run", "--no-record", "--timeout", "20000", "--", "true"]
    assert vm.__main__.main(run) == 124
    assert "error: the guest did not boot within" in capfd.readouterr().err
    assert [boot.hung for boot in boots.history()] == [True, True]


def test_vm_is_lost_when_the_status_is_only_half_written(fake_vng: FakeVng) -> None:
    # GIVEN a guest that died before its status was renamed into place
    fake_vng.does('echo 0 >"$out/status.part"')
    # WHEN it is run THEN the half status counts for nothing
    assert vm.__main__.main(["run", "--no-record", "--", "true"]) == 128


def test_guest_is_ended_when_the_time_limit_is_over(
    fake_vng: FakeVng, tmp_path: Path, capfd: pytest.CaptureFixture[str], clock: None
) -> None:
    # GIVEN a guest that hangs, with a process of its own below
    fake_vng.does('begins; sleep 1000 & echo $! >"$out/below"; hangs; wait')
    # WHEN it is run with a limit
    status = vm.__main__.main(["run", "--no-record", "--timeout", "1", "--", "true"])
    # THEN the status says so, and neither process is left
    assert status == 124
    assert "raise --timeout" in capfd.readouterr().err
    assert is_gone(int((run_dirs(tmp_path)[0] / "below").read_text()))


def test_the_hung_cpu_is_named_when_the_time_limit_is_over(
    fake_vng: FakeVng, capfd: pytest.CaptureFixture[str], clock: None
) -> None:
    # GIVEN a guest one of whose CPUs does not come on
    stall = "echo '[ 92.2] rcu: INFO: rcu_preempt self-detected stall on CPU'"
    fake_vng.does(f"begins; {stall}; hangs; sleep 1000")
    # WHEN its time is over THEN the advice is not to wait longer
    assert vm.__main__.main(["run", "--no-record", "--timeout", "1", "--", "true"]) == 124
    errors = capfd.readouterr().err
    assert "self-detected stall on CPU): if emulated, try --cpus 1" in errors
    assert "raise --timeout" not in errors


@pytest.mark.parametrize(
    ("number", "habit"),
    [(signal.SIGINT, ":"), (signal.SIGTERM, "trap '' TERM"), (signal.SIGHUP, ":")],
)
def test_interrupt_leaves_no_process_when_a_guest_runs(
    fake_vng: FakeVng, tmp_path: Path, number: signal.Signals, habit: str
) -> None:
    # GIVEN the command as a process, with a hanging guest that perhaps does not heed SIGTERM
    fake_vng.does(f'{habit}; sleep 1000 & echo $! >"$out/below"; wait; wait')
    command = [sys.executable, "-m", "vm", "run", "--no-record", "--", "true"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    below = wait_for(tmp_path / "cache/mapcount/runs", "*/below")
    # WHEN it gets the signal
    process.send_signal(number)
    # THEN it ends with the status of that signal, and nothing of the guest is left
    assert process.wait(PATIENCE) == 128 + number
    assert is_gone(int(below.read_text()))


def test_shares_are_refused_when_qemu_could_not_parse_them(tmp_path: Path) -> None:
    # GIVEN a host directory with a comma in its name
    share = guest.Share(job.CWD, tmp_path / "a,b", writable=True)
    machine = guest.Machine(tmp_path / "image", tmp_path, False, shares=(share,))
    # WHEN the command is made THEN it is refused with a word on what to do
    with pytest.raises(say.LabError, match="use a path without"):
        guest.vng_command(machine, tmp_path, "/mapcount/out/job.sh")


def test_recorder_is_there_when_a_script_calls_it(fake_vng: FakeVng) -> None:
    # GIVEN a user's script that calls the recorder itself WHEN run THEN the guest sees it
    fake_vng.does('leave 0 "$out/status"')
    assert vm.__main__.main(["run", "--no-record", "--", "./mine.sh"]) == 0
    assert f"--rodir /mapcount/src/probes={lab.PROBES}" in fake_vng.log.read_text()


def test_guests_share_what_they_compile(fake_vng: FakeVng) -> None:
    # GIVEN two guests WHEN each is run THEN both keep what they compile in one place of the host
    fake_vng.does('leave 0 "$out/status"')
    for _ in range(2):
        assert vm.__main__.main(["run", "--no-record", "--", "true"]) == 0
        assert f"--rwdir {job.COMPILED}={cache.compiled()}" in fake_vng.log.read_text()
    # AND the recorder is told the place, which is there to be mounted
    (run, _) = sorted((cache.root() / "runs").iterdir())
    assert f"export MAPCOUNT_CACHE={job.COMPILED}" in (run / "job.sh").read_text()
    assert (run / Path(job.COMPILED).name).is_dir()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: apt-get install gcc")
def test_guest_boots_with_the_options_when_a_scenario_needs_them(
    fake_vng: FakeVng, tmp_path: Path
) -> None:
    # GIVEN a workload that needs more of the kernel's command line, and one that does not
    fake_vng.does('leave 0 "$out/status"')
    # WHEN each is run THEN the first guest is booted with it
    vm.__main__.main(["run", "--no-record", "migrate"])
    assert "--append=numa=fake=2" in fake_vng.log.read_text()
    vm.__main__.main(["run", "--no-record", "lifecycle"])
    assert "--append" not in fake_vng.log.read_text()


def test_recorder_wraps_the_command_when_recording(
    fake_vng: FakeVng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a repository with a recorder
    probes = tmp_path / "probes"
    probes.mkdir()
    (probes / "__main__.py").touch()
    monkeypatch.setattr(lab, "PROBES", probes)
    fake_vng.does('leave 0 "$out/status"')
    # WHEN a command with awkward arguments is recorded
    status = vm.__main__.main(
        ["run", "-o", str(tmp_path / "t.mapcount"), "--record-opts=--min-order 9", "--"]
        + ["prog", "--", "a b", "$c"]
    )
    # THEN the guest runs the recorder, with the command and the options as they were
    assert status == 0
    script = (run_dirs(tmp_path)[0] / "job.sh").read_text()
    assert (
        "python3 -m probes record -o /mapcount/trace/t.mapcount --min-order 9 "
        "-- prog -- 'a b' '$c'\n"
    ) in script
    # AND it sees the recorder read-only, the trace's place and the current directory writable
    arguments = fake_vng.log.read_text()
    assert f"--rodir /mapcount/src/probes={probes}" in arguments
    assert f"--rwdir /mapcount/trace={tmp_path}" in arguments
    assert f"--rwdir /mapcount/cwd={Path.cwd()}" in arguments


@pytest.mark.parametrize("argv", [["run"], ["run", "lifecycle", "--", "true"], ["run", "nonesuch"]])
def test_run_is_a_usage_error_when_it_is_unclear_what_to_run(
    fake_vng: FakeVng, argv: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN nothing to run, two things, or an unknown one WHEN it is run THEN it is refused
    assert vm.__main__.main(argv) == 2
    assert capfd.readouterr().err.startswith("error: ")


def test_run_is_a_usage_error_when_the_traces_folder_is_missing(
    fake_vng: FakeVng, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN an output in a folder that is not there
    output = str(tmp_path / "missing/t.mapcount")
    # WHEN a run is asked for THEN it is refused before anything boots
    assert vm.__main__.main(["run", "-o", output, "--", "true"]) == 2
    assert "does not exist" in capfd.readouterr().err
    assert not fake_vng.log.exists()


def wait_for(folder: Path, pattern: str) -> Path:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = [path for path in folder.glob(pattern) if path.read_text().strip()]
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{pattern} never appeared in {folder}")


def is_gone(pid: int) -> bool:
    """True once PID has ended (a zombie whom nobody reaps, as in a container, has ended too)."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
