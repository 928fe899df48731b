# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of the lab: a kernel, a command, and a trace of the command's huge pages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from probes import cli
from probes.output import OutputError, check
from vm import (
    accel,
    arch,
    build,
    cache,
    chroot,
    flight,
    folders,
    foreign,
    guest,
    job,
    kernels,
    pagetypes,
    say,
    scenarios,
)

PROBES = Path(__file__).resolve().parent.parent / "probes"


@dataclass(frozen=True)
class Options:
    """The options of the command line for the guest."""

    kernel: kernels.Kernel
    cpus: int | None = None  # None: what the plan needs
    memory: str | None = None  # the same
    limit: float = 300.0  # seconds
    record: tuple[str, ...] = ()  # more options for the recorder
    qemu: tuple[str, ...] = ()  # more options for QEMU; then it emulates


@dataclass(frozen=True)
class Plan:
    """A guest's task: a command, its working directory, and the directories that it sees."""

    name: str
    command: list[str]
    cwd: str = job.OUT
    shares: list[guest.Share] = field(default_factory=list)
    record: tuple[str, ...] = ()
    files: list[Path] = field(default_factory=list)  # copied to job.OUT
    policy: str = "always"  # whom the kernel gives huge pages
    boot: tuple[str, ...] = ()  # more of the kernel's command line
    cpus: int = 2
    memory: int = 3  # GiB
    nodes: int = 1  # of memory
    packages: tuple[str, ...] = ()  # of the suite, beside those that every guest has
    alone: bool = False  # before it is recorded it runs without, and both verdicts are kept


def plan_scenario(
    name: str, args: Sequence[str] = (), kernel: kernels.Kernel | None = None
) -> Plan:
    """The plan for a workload of the lab on KERNEL; ARGS replace its usual arguments."""
    kernel = kernel or kernels.resolve(None)
    scenario = scenarios.find(name)
    program = build.workload(scenario.source, kernel.machine, kernel.page_kib)
    command = [f"{job.OUT}/{program.name}", *(args or scenario.args)]
    files = [program]
    if scenario.page_types and not args[1:]:
        try:
            files.append(pagetypes.ensure(kernel.machine))
            command.append(f"{job.OUT}/{files[-1].name}")
        except say.LabError as problem:
            say.warning(f"{name} goes without page-types: {problem}")
    # The workloads ask for their huge pages; nobody else, the recorder's heap least of all, should
    # have some in the picture.
    return Plan(
        name,
        command,
        record=scenario.record,
        files=files,
        policy="madvise",
        boot=scenario.boot,
        memory=scenario.memory,
        nodes=scenario.nodes,
    )


def plan_together(name: str, plans: Sequence[Plan], traces: Path) -> Plan:
    """One guest for all of PLANS, which leave their traces in TRACES; it fits the needs of each."""
    return Plan(
        name,
        [],
        shares=[*(each for plan in plans for each in plan.shares), trace_share(traces)],
        files=sorted({path for plan in plans for path in plan.files}),
        boot=tuple(dict.fromkeys(option for plan in plans for option in plan.boot)),
        cpus=max(plan.cpus for plan in plans),
        memory=max(plan.memory for plan in plans),
        nodes=max(plan.nodes for plan in plans),
        packages=tuple(dict.fromkeys(package for plan in plans for package in plan.packages)),
    )


def plan_command(argv: Sequence[str]) -> Plan:
    """The plan for a command of the user's, started in the current directory."""
    here = guest.Share(job.CWD, Path.cwd(), writable=True)
    return Plan(Path(argv[0]).name, list(argv), job.CWD, [here])


def run(plan: Plan, options: Options, trace: Path | None, force: bool = False) -> guest.Result:
    """Boot a guest and run PLAN in it, recorded into TRACE (None: without the recorder).

    FORCE: an older trace of that name is removed at once.
    """
    if trace is not None:
        trace = trace.absolute()
        plan = recorded(plan, options, trace, force)
    machine, run_dir = prepare(options, plan)
    say.phase(f"booting {options.kernel.name} ({how(machine)}) for {plan.name}")
    relays = [
        Relay(run_dir / "stdout", sys.stdout.buffer),
        Relay(run_dir / "stderr", sys.stderr.buffer),
    ]

    def poll() -> None:
        for relay in relays:
            relay()

    script = job.script(plan.command, plan.cwd, environment(options), plan.policy)
    flown = flight.Flight(trace, run_dir) if trace is not None else None
    on_death = flown.rescue if flown else None
    result = guest.run(machine, script, run_dir, options.limit, poll, on_death)
    _report(plan.name, result, options)
    if flown is not None:
        flown.report(result.outcome is guest.Outcome.LOST)
    return result


def how(machine: guest.Machine) -> str:
    """How MACHINE runs, in one word."""
    return "KVM" if machine.kvm else "emulated"


def environment(options: Options) -> dict[str, str]:
    """The variables that the guest's recorder needs for this kernel."""
    return {"BCC_KERNEL_SOURCE": job.HEADERS} if options.kernel.headers else {}


def recorded(plan: Plan, options: Options, trace: Path, force: bool) -> Plan:
    """PLAN with its command under the recorder, which writes TRACE."""
    try:
        check(str(trace), force)
    except OutputError as problem:
        raise say.LabError(str(problem), 2) from None
    # Should the guest never get to its recorder, an older trace must not pass for this run's.
    trace.unlink(missing_ok=True)
    return replace(
        plan,
        command=record_command(plan, trace.name, options.record),
        shares=[*plan.shares, trace_share(trace.parent)],
    )


def record_command(plan: Plan, trace: str, more: Sequence[str] = ()) -> list[str]:
    """PLAN's command in the guest under the recorder, which writes the file TRACE."""
    recorder = ["python3", "-m", "probes", "record", "-o", f"{job.TRACE}/{trace}"]
    return [*recorder, *plan.record, *more, "--", *plan.command]


def doctor_command() -> list[str]:
    """The command that reports in the guest whether recording can work there."""
    return ["python3", "-m", "probes", "doctor"]


def trace_share(traces: Path) -> guest.Share:
    """The share through which a guest records into the host's directory TRACES.

    A trace grows on the host itself, so that it can be followed while it is written.
    """
    if not (PROBES / "__main__.py").is_file():
        raise say.LabError(f"no recorder in {PROBES}: take the whole repository, or --no-record")
    return guest.Share(job.TRACE, traces, writable=True)


def prepare(options: Options, plan: Plan | None = None) -> tuple[guest.Machine, Path]:
    """Make everything that a boot needs: root, accelerator, run directory."""
    more = plan.packages if plan else ()
    if not arch.is_host(options.kernel.machine):
        foreign.check(options.kernel.machine)
    root = chroot.ensure(
        options.kernel.suite, (*options.kernel.packages, *more), options.kernel.machine
    )
    image = kernels.image_of(options.kernel, root)
    # Options like -icount are the emulator's alone.
    kvm = not options.qemu and accel.usable_kvm(image, options.kernel.machine)
    cpus = options.cpus or (plan.cpus if plan else Plan.cpus)
    memory = options.memory or f"{plan.memory if plan else Plan.memory}G"
    machine = guest.Machine(
        image, root, kvm, cpus, memory, qemu=options.qemu, arch=options.kernel.machine
    )
    # Also where nothing is recorded by the lab: a user's script may call the recorder.
    if (PROBES / "__main__.py").is_file():
        machine = _with_shares(machine, guest.Share(f"{job.SOURCE}/probes", PROBES))
    run_dir = cache.new_run_dir(plan.name if plan else "shell")
    machine = _with_shares(machine, compiled_share(run_dir))
    machine = folders.attach(machine, run_dir, options.kernel.folders)
    if plan is not None:
        machine = replace(_with_shares(machine, *plan.shares), boot=plan.boot, nodes=plan.nodes)
        for path in plan.files:
            shutil.copy2(path, run_dir / path.name)
    if kernels.lacks(image, "CONFIG_BLOCK"):
        machine = folders.with_root(machine)
    return machine, run_dir


def compiled_share(run_dir: Path) -> guest.Share:
    """The share in which all guests' recorders keep the programs that they compiled.

    Each file is for one kernel build and is renamed into place: two guests may make the same one.
    """
    (run_dir / Path(job.COMPILED).name).mkdir()  # where it is mounted
    return guest.Share(job.COMPILED, cache.compiled(), writable=True)


def shell(options: Options) -> int:
    """An interactive shell in a guest, with the current directory at job.CWD."""
    machine, run_dir = prepare(options)
    machine = _with_shares(machine, guest.Share(job.CWD, Path.cwd(), writable=True))
    say.phase(f"booting {options.kernel.name}; this directory is {job.CWD}, leave with `exit`")
    say.phase(f"there, the recorder is `PYTHONPATH={job.SOURCE} python3 -m probes`")
    if options.kernel.folders:
        say.phase(f"`sh {job.OUT}/{job.FOLDERS}` mounts the kernel's modules and headers")
    command = guest.vng_command(machine, run_dir, None)
    # In the terminal's own session: job control and Ctrl-C belong to the guest's shell.
    return subprocess.run(command, env=guest.vng_environment(run_dir)).returncode


def _with_shares(machine: guest.Machine, *shares: guest.Share) -> guest.Machine:
    return replace(machine, shares=(*machine.shares, *shares))


class Relay:
    """Copies a guest's output from a file to a stream, as the file grows."""

    def __init__(self, path: Path, to: BinaryIO) -> None:
        self.path = path
        self.to = to
        self.done = 0

    def __call__(self) -> None:
        try:
            with open(self.path, "rb") as file:
                file.seek(self.done)
                data = file.read()
        except FileNotFoundError:
            return
        if data:
            try:
                self.to.write(data)
                self.to.flush()
            except OSError as error:
                raise cli.Unwritten(error) from error
            self.done += len(data)


def _report(name: str, result: guest.Result, options: Options) -> None:
    kept = f"its output and console.log are in {result.run_dir}"
    if result.outcome is guest.Outcome.TIMED_OUT and not result.booted:
        say.error(f"the guest did not boot within {result.seconds:.0f} s: run it again; {kept}")
    elif result.outcome is guest.Outcome.TIMED_OUT:
        advice = "raise --timeout"
        stall = guest.stall(result.run_dir)
        if stall is not None:
            # QEMU 7.2 was seen to run a breakpoint for ever that another CPU had taken away.
            advice = f"a CPU hung ({stall}): if emulated, try --cpus 1 or a newer QEMU"
        say.error(f"{name} was ended after {options.limit:.0f} s: {advice}; {kept}")
    elif result.outcome is guest.Outcome.LOST:
        words = guest.last_words(result.run_dir)
        if "Unable to mount root fs" in words:
            kept += (
                "; a kernel of one's own needs 9p over virtio built in (see `vng --kconfig`), or "
                "its modules beside the image (lib/modules/RELEASE)"
            )
        say.error(f"the VM was lost after {result.seconds:.0f} s ({words}); {kept}")
    elif result.status != 0:
        say.error(f"{name} ended with status {result.status} in the guest; {kept}")
    else:
        say.phase(f"{name} finished after {result.seconds:.0f} s")
