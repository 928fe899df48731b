# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.qmp and vm.flight, with a program that only pretends to be QEMU."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

import vm.__main__
from tests.mock_crash import DeadKernel
from vm import chroot, qmp

# Stands for vng and QEMU: writes what a guest would, panics, and answers on the monitor's socket
# of the directory that it was started in.
FAKE = """\
#!/usr/bin/env python3
import json, shutil, socket, sys

words = sys.argv[1:]
trace = next(w.partition("=")[2] for w in words if w.startswith("/mapcount/trace="))
server = socket.socket(socket.AF_UNIX)
server.bind("qmp")
server.listen()
print("[    7.0] Kernel panic - not syncing: sysrq triggered crash", flush=True)
shutil.copy({trace!r}, trace + "/t.mapcount")
file = server.accept()[0].makefile("rw")
print('{{"QMP": {{}}}}', file=file, flush=True)
for line in file:
    ask = json.loads(line)
    answer = {{"return": {{"status": "shutdown"}}}}
    if ask["execute"] == "dump-guest-memory":
        core = ask["arguments"]["protocol"].removeprefix("file:")
        {dump}
    print('{{"event": "SHUTDOWN"}}', file=file)
    print(json.dumps(answer), file=file, flush=True)
    if ask["execute"] == "quit":
        break
"""
COPY = "shutil.copy({core!r}, core)"
REFUSE = 'answer = {{"error": {{"desc": "No space left on device"}}}}'


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeadKernel:
    """A trace and a core; the lab believes that its guest left them."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MAPCOUNT_ACCEL", "tcg")
    root = chroot.path_of("bookworm")
    (root / "boot").mkdir(parents=True)
    (root / "boot/vmlinuz-6.1.0-fake").touch()
    (tmp_path / "guest").mkdir()
    kernel = DeadKernel(tmp_path / "guest")
    kernel.put(4)
    kernel.drain()
    kernel.put(3)
    kernel.die()
    return kernel


def run(dead: DeadKernel, folder: Path, dump: str) -> int:
    program = folder / "bin/vng"
    program.parent.mkdir()
    program.write_text(FAKE.format(trace=dead.trace, dump=dump.format(core=dead.core)))
    program.chmod(0o755)
    dead.trace = str(folder / "t.mapcount")
    return vm.__main__.main(["run", "-o", dead.trace, "--", "true"])


def test_the_trace_is_completed_when_the_guest_panics(
    dead: DeadKernel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a guest that panics, with three records in its ring WHEN it was run
    assert run(dead, tmp_path, COPY) == 128
    # THEN they are in the trace, and the messages say so, and what to type next
    assert dead.recovered() == [4, 5, 6]
    said = capfd.readouterr().err
    assert "error: the VM was lost" in said and "sysrq triggered crash" in said
    assert "lab: 3 events recovered, the kernel said: [    7.0] Kernel panic" in said
    assert f"next: `mapcount stats {dead.trace}`" in said
    # AND the core, as large as the guest's memory, is gone
    assert not list((tmp_path / "cache/mapcount/runs").glob("*/core"))


def test_the_trace_stays_as_it_is_when_its_memory_cannot_be_saved(
    dead: DeadKernel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a disk that has no room for the guest's memory
    whole = Path(dead.trace).read_bytes()
    # WHEN it panics THEN one warning says why, and the trace is what had reached the host
    assert run(dead, tmp_path, REFUSE) == 128
    said = capfd.readouterr().err
    assert "warning: the guest's memory cannot be saved" in said
    assert "No space left on device" in said and "what was in its ring is lost" in said
    assert Path(dead.trace).read_bytes() == whole


def test_one_warning_says_why_when_the_core_does_not_fit(
    dead: DeadKernel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # GIVEN memory in which the ring is not found
    dead.die(missing=(100,))
    # WHEN it is recovered THEN the lab passes the reason on, and still says that the VM was lost
    assert run(dead, tmp_path, COPY) == 128
    said = capfd.readouterr().err
    assert "warning: nothing recovered" in said and "lacks the frame" in said


def test_the_monitor_is_quiet_when_there_is_no_qemu(tmp_path: Path) -> None:
    # GIVEN a directory in which no QEMU listens THEN its guest does not stand still
    monitor = qmp.Qmp(tmp_path)
    assert not monitor.stands_still()
    monitor.quit()
    with pytest.raises(qmp.QmpError):
        monitor.dump(tmp_path / "core")
    monitor.close()


def test_the_monitor_is_found_when_its_path_is_long(tmp_path: Path) -> None:
    # GIVEN a run directory whose path is longer than a socket's may be
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    here = os.getcwd()
    server = socket.socket(socket.AF_UNIX)
    os.chdir(folder)
    try:
        server.bind(qmp.SOCKET)
    finally:
        os.chdir(here)
    server.listen()

    def answer() -> None:
        file = server.accept()[0].makefile("rw")
        print(json.dumps({"QMP": {}}), file=file, flush=True)
        for _ in range(2):
            file.readline()
            print(json.dumps({"return": {"status": "running"}}), file=file, flush=True)

    thread = threading.Thread(target=answer)
    thread.start()
    # WHEN it is asked THEN QEMU answers
    monitor = qmp.Qmp(folder)
    assert monitor.ask("query-status") == {"status": "running"}
    thread.join()
    monitor.close()
