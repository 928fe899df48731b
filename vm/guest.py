# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots one guest for one script and returns how it ended."""

from __future__ import annotations

import contextlib
import enum
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vm import boots, job, procs, qmp, say
from vm.arch import GUEST, Arch, is_host
from vm.say import LabError

# After the script has left its status the guest only has to power off.
SHUTDOWN_SECONDS = 20.0
POLL_SECONDS = 0.1
CONSOLE = "console.log"
# Of a root for another machine: what virtme-ng begins with there.
BUSYBOX = "usr/bin/busybox"


class Outcome(enum.Enum):
    """How a guest ended."""

    FINISHED = "finished"
    TIMED_OUT = "timed out"
    LOST = "lost"  # died without leaving a status: a panic, or QEMU was killed


@dataclass(frozen=True)
class Share:
    """A host directory at a place in the guest."""

    guest: str
    host: Path
    writable: bool = False


@dataclass(frozen=True)
class Machine:
    """What to boot."""

    image: Path
    root: Path
    kvm: bool
    cpus: int = 2
    memory: str = "3G"
    shares: tuple[Share, ...] = ()
    boot: tuple[str, ...] = ()  # more of the kernel's command line
    nodes: int = 1  # of memory
    qemu: tuple[str, ...] = ()  # more of QEMU's options
    arch: Arch = GUEST


@dataclass(frozen=True)
class Result:
    """How one run ended; `status` is the script's exit status, None if it did not end."""

    outcome: Outcome
    status: int | None
    run_dir: Path
    seconds: float

    @property
    def booted(self) -> bool:
        """Whether the guest began its command; the script's part before it is only set-up."""
        return _begun(self.run_dir)

    @property
    def exit_code(self) -> int:
        """The exit code of the host command."""
        if self.outcome is Outcome.TIMED_OUT:
            return 124
        if self.outcome is Outcome.LOST:
            return 128
        return 0 if self.status == 0 else 1


def find_vng() -> str:
    """virtme-ng's command: on PATH, or beside the Python that runs us (a virtual environment)."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("vng") or shutil.which("vng", path=beside)
    if found is None:
        raise LabError("virtme-ng is missing: pip install virtme-ng (or run `make setup`)")
    return found


def vng_command(
    machine: Machine, run_dir: Path, script: str | None, monitored: bool = False
) -> list[str]:
    """The command that boots MACHINE; without a SCRIPT it is an interactive shell.

    MONITORED: the guest is paused at its end, until it is told to quit (vm.qmp).
    """
    command = [find_vng(), "--run", str(machine.image), "--root", str(machine.root)]
    command += ["--force-9p", "--cpus", str(machine.cpus), "--memory", machine.memory]
    if machine.nodes > 1:
        command += machine.arch.nodes(machine.nodes, machine.memory)
    command += [f"--append={option}" for option in machine.boot]
    if machine.qemu:
        command.append(f"--qemu-opts={' '.join(machine.qemu)}")
    if not machine.kvm:
        command += ["--disable-kvm", f"--qemu-opts=-cpu {machine.arch.EMULATED_CPU}"]
    if not is_host(machine.arch):
        command += ["--arch", machine.arch.DEBIAN, "--busybox", f"{machine.root}/{BUSYBOX}"]
    # vng wants the guest's directory as a host path below the root.
    cwd = job.OUT if script is not None else job.CWD
    command += ["--cwd", f"{machine.root}{cwd}"]
    for share in (Share(job.OUT, run_dir, writable=True), *machine.shares):
        for path in (share.guest, str(share.host)):
            if set(path) & set(",= \t\"'"):
                raise LabError(f"QEMU cannot share {path!r}: use a path without , = space or quote")
        kind = "--rwdir" if share.writable else "--rodir"
        command += [kind, f"{share.guest}={share.host}"]
    if monitored:
        command.append(f"--qemu-opts={' '.join(qmp.OPTIONS)}")
    if script is not None:
        # Verbose, or a Debian kernel's console (with the reason of a panic) goes nowhere.
        command += ["--verbose", "--", script]
    return command


def vng_environment(run_dir: Path) -> dict[str, str]:
    """The environment of vng: it starts helpers by name, and if killed leaves temporary files."""
    env = dict(os.environ, TMPDIR=str(run_dir))
    env["PATH"] = f"{Path(find_vng()).parent}:{env.get('PATH', os.defpath)}"
    return env


def run(
    machine: Machine,
    script: str,
    run_dir: Path,
    limit: float,
    on_poll: Callable[[], None] = lambda: None,
    on_death: Callable[[qmp.Qmp], None] | None = None,
) -> Result:
    """Boot MACHINE, run the text SCRIPT in it, and wait at most LIMIT seconds.

    RUN_DIR keeps the script, its output (stdout, stderr), its status and the console's log.
    With ON_DEATH a guest that dies is paused while ON_DEATH uses its monitor.
    Whatever happens here, an exception or a signal included, no process is left behind.
    """
    path = run_dir / "job.sh"
    path.write_text(script)
    path.chmod(0o755)
    result = _boot(machine, run_dir, limit, on_poll, on_death)
    again = _why_once_more(result, limit)
    if again:
        say.note(f"{again}: booting it once more")
        (run_dir / CONSOLE).replace(run_dir / f"first-{CONSOLE}")
        result = _boot(machine, run_dir, limit, on_poll, on_death)
    return result


def _why_once_more(result: Result, limit: float) -> str:
    """Why a guest that did not get to its command is worth a second boot, or nothing."""
    if result.booted:
        return ""  # what it did must not be done again
    if result.outcome is Outcome.TIMED_OUT and result.seconds < limit:
        return f"the guest hung while it booted, for {result.seconds:.0f} s"
    if result.outcome is Outcome.LOST:
        # Of an emulated guest mostly the emulator's fault; a kernel that cannot boot says so twice.
        return f"the guest was lost while it booted ({last_words(result.run_dir)})"
    return ""


def _boot(
    machine: Machine,
    run_dir: Path,
    limit: float,
    on_poll: Callable[[], None],
    on_death: Callable[[qmp.Qmp], None] | None,
) -> Result:
    # Should this Python be killed outright, timeout(1) still ends its group, QEMU included.
    command = ["timeout", "--kill-after=10", str(int(limit) + 60)]
    command += vng_command(machine, run_dir, f"{job.OUT}/job.sh", on_death is not None)
    say.detail(f"in {run_dir}: {shlex.join(command)}")
    name = boots.key(machine.image, machine.kvm, machine.cpus)
    boot_limit = min(limit, boots.limit(name))
    start = time.monotonic()
    with (
        open(run_dir / CONSOLE, "wb") as console,
        procs.Group(command, console, vng_environment(run_dir), run_dir) as group,
        contextlib.closing(qmp.Qmp(run_dir)) as monitor,
    ):

        def over() -> bool:
            return group.ended(POLL_SECONDS) or (on_death is not None and monitor.stands_still())

        died = False
        booted: float | None = None
        while not died and not (run_dir / "status").exists():
            seconds = time.monotonic() - start
            if booted is None and _begun(run_dir):
                booted = seconds
            if seconds > (boot_limit if booted is None else limit):
                boots.add(boots.Boot(name, booted or seconds, hung=booted is None))
                on_poll()
                return Result(Outcome.TIMED_OUT, None, run_dir, seconds)
            died = over()
            on_poll()
        seconds = booted or time.monotonic() - start
        boots.add(boots.Boot(name, seconds, hung=not _begun(run_dir)))
        status = read_status(run_dir / "status")
        if on_death is not None and status is None and monitor.stands_still():
            on_death(monitor)
        patience = time.monotonic() + SHUTDOWN_SECONDS
        while not over() and time.monotonic() < patience:
            pass
        monitor.quit()
        group.ended(SHUTDOWN_SECONDS)
    on_poll()
    seconds = time.monotonic() - start
    outcome = Outcome.LOST if status is None else Outcome.FINISHED
    return Result(outcome, status, run_dir, seconds)


def _begun(run_dir: Path) -> bool:
    return (run_dir / job.RELEASE).exists()


def read_status(path: Path) -> int | None:
    """The script's exit status, or None if it wrote none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def read_lines(path: Path) -> list[str]:
    """The lines of a file that a guest may have written; none if it is missing."""
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def last_words(run_dir: Path) -> str:
    """The reason for the kernel's death in the console's log: its first complaint, or its end."""
    lines = _console(run_dir)
    complaints = [line for line in lines if re.search(r"kernel BUG|BUG:|Oops|panic - not", line)]
    found = complaints[:1] or lines[-1:]
    return found[0] if found else "nothing was printed"


def stall(run_dir: Path) -> str | None:
    """The message in the console's log about a CPU that made no progress, or None."""
    stalls = (line for line in _console(run_dir) if re.search(r"stall on CPU|lockup - CPU", line))
    return next(stalls, None)


def _console(run_dir: Path) -> list[str]:
    text = (run_dir / CONSOLE).read_text(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
