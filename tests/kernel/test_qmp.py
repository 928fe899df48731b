# SPDX-License-Identifier: GPL-2.0-or-later
"""vm.qmp and probes.elfcore against QEMU itself; no kernel is booted here, just the firmware."""

import subprocess
import time

import pytest

from probes.elfcore import Core
from vm import arch, procs, qmp

MIB = 1 << 20
# Above the first MiB, whose end is memory or firmware as the firmware set it.
PLACES = (2 * MIB, 33 * MIB + 4096)


@pytest.fixture
def machine(tmp_path):
    """The monitor of a machine with known bytes at two places; it has not begun to run."""
    command = [
        arch.GUEST.QEMU,
        "-accel",
        "tcg",
        "-m",
        "64",
        "-nodefaults",
        "-display",
        "none",
        "-S",
    ]
    command += ["-no-reboot", *qmp.OPTIONS]
    for number, place in enumerate(PLACES):
        page = tmp_path / f"page{number}"
        page.write_bytes(bytes([number + 1]) * 4096)
        command += ["-device", f"loader,file={page},addr={place:#x},force-raw=on"]
    with procs.Group(command, subprocess.PIPE, cwd=tmp_path) as group:
        monitor = qmp.Qmp(tmp_path)
        deadline = time.monotonic() + 30
        while not (tmp_path / qmp.SOCKET).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield group, monitor
        monitor.close()


def test_the_machine_stands_still_when_it_resets(machine, tmp_path):
    # GIVEN a machine that was started as the lab starts one
    group, monitor = machine
    assert not monitor.stands_still()
    # WHEN it runs and resets, as a kernel does after its panic
    monitor.ask("cont")
    monitor.ask("system_reset")
    # THEN it stands still, and its memory can be saved and read
    deadline = time.monotonic() + 10
    while not monitor.stands_still() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert monitor.stands_still()
    monitor.dump(tmp_path / "core")
    with Core(str(tmp_path / "core")) as core:
        for number, place in enumerate(PLACES):
            assert core.read(place, 4096) == bytes([number + 1]) * 4096
            assert core.read(place - 8, 16) == bytes(8) + bytes([number + 1]) * 8
        # AND what is no memory is none in the core
        assert core.read(65 * MIB, 4096) is None
    # AND it ends when it is told to
    monitor.quit()
    assert group.ended(10)
    assert not monitor.stands_still()


def test_the_refusal_is_an_error_when_the_memory_cannot_be_saved(machine, tmp_path):
    # GIVEN a place that cannot be written WHEN memory is to go there THEN QEMU's reason is told
    with pytest.raises(qmp.QmpError, match="No such file or directory"):
        machine[1].dump(tmp_path / "missing" / "core")
