# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds out whether guests can run under KVM here, by trying once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from vm import arch, cache, procs, say
from vm.say import LabError

PROBE_SECONDS = 30.0


def usable_kvm(image: Path, machine: arch.Arch = arch.GUEST) -> bool:
    """True if a guest really runs under KVM; tried once per boot of this machine.

    A guest of another MACHINE than this one never does.

    /dev/kvm may exist and open although no guest executes its first instruction (incomplete
    nested virtualisation), so only a boot proves it.
    $MAPCOUNT_ACCEL=kvm or tcg decides without a try.
    """
    forced = os.environ.get("MAPCOUNT_ACCEL", "")
    if forced not in ("", "kvm", "tcg"):
        raise LabError(f"MAPCOUNT_ACCEL is {forced!r}: set it to kvm or tcg, or unset it", 2)
    if not arch.is_host(machine):
        return False
    if forced:
        return forced == "kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory = cache.root() / "accel.json"
    with cache.locked("accel"):
        try:
            known = json.loads(memory.read_text())
        except (OSError, ValueError):
            known = {}
        if known.get("boot") != boot:
            say.phase(f"trying KVM with a short boot (at most {PROBE_SECONDS:.0f} s)")
            known = {"boot": boot, "kvm": boots_under_kvm(image, machine)}
            memory.write_text(json.dumps(known) + "\n")
            if not known["kvm"]:
                say.note("KVM does not run a guest here: guests are emulated, which is slower")
    return bool(known["kvm"])


def boots_under_kvm(
    image: Path, machine: arch.Arch = arch.GUEST, seconds: float = PROBE_SECONDS
) -> bool:
    """Boot IMAGE with no root: it prints its banner, panics, and with -no-reboot QEMU exits."""
    qemu = shutil.which(machine.QEMU)
    if qemu is None:
        raise LabError(f"{machine.QEMU} is missing: apt-get install {machine.QEMU_PACKAGE}")
    log = cache.root() / "accel.log"
    command = [
        *(
            qemu,
            *machine.QEMU_BOARD,
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "512",
            "-kernel",
            str(image),
        ),
        *(
            "-append",
            f"console={machine.CONSOLE} panic=-1",
            "-no-reboot",
            "-nodefaults",
            "-display",
            "none",
        ),
        *("-serial", "stdio"),
    ]
    with open(log, "wb") as file, procs.Group(command, file) as group:
        ended = group.ended(seconds)
    return ended and group.process.returncode == 0 and b"Linux version" in log.read_bytes()
