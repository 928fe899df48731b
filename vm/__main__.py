# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of the lab: `mapcount lab list | fetch | run | shell | matrix | …`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from probes import cli
from probes.output import HELP_SYMLINK, check
from vm import (
    chroot,
    hunt,
    kernels,
    lab,
    matrix,
    matrix_text,
    mutant_run,
    mutants_text,
    pagetypes,
    say,
    scenarios,
    thread,
    wild,
)

STATUSES = (
    "exit status: 0 success; 1 error, or the workload failed; 2 usage; 124 time limit; "
    "128 the VM was lost; 130 interrupted"
)


def parser() -> cli.Parser:
    top = cli.Parser(
        prog="mapcount lab",
        description="Boot a test kernel in a virtual machine and record a workload in it.",
        epilog=STATUSES,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = partial(commands.add_parser, epilog=STATUSES)
    command(
        "list",
        help="list kernels and scenarios",
        description="List the kernels, whether they are fetched, and the scenarios.",
    )

    fetch = command(
        "fetch",
        help="fetch or build what a run on a kernel needs",
        description="Fetch or build what a run on a kernel needs: the kernel, a Debian root, and "
        "the kernel's page-types program.",
    )
    fetch.add_argument(
        "kernel",
        nargs="?",
        default=kernels.DEFAULT,
        metavar="K",
        help=f"a kernel of `lab list` (default: {kernels.DEFAULT})",
    )

    run = command(
        "run",
        help="record a scenario, or a command, in a guest",
        description="Boot a kernel in a virtual machine, record a scenario or a command there, and "
        "shut it down. If the kernel dies, the trace has its last records. The guest sees the "
        "current directory.",
        usage="mapcount lab run [options] (SCENARIO [ARG …] | -- CMD …)",
    )
    _guest_options(run)
    run.add_argument(
        "-o",
        "--output",
        default="trace.mapcount",
        metavar="FILE",
        help=f"the trace (default: trace.mapcount); {HELP_SYMLINK}",
    )
    run.add_argument("-f", "--force", action="store_true", help="overwrite the trace")
    run.add_argument(
        "--timeout",
        type=cli.seconds,
        default=300.0,
        metavar="SECONDS",
        help="time limit for the guest (default: 300)",
    )
    run.add_argument(
        "--record-opts",
        type=shlex.split,
        default=[],
        metavar="'OPT …'",
        help="further options for `mapcount record`",
    )
    run.add_argument("--no-record", action="store_true", help="run it without the recorder")
    run.add_argument(
        "what", nargs="*", metavar="SCENARIO", help="a scenario of `lab list`, and its arguments"
    )

    shell = command(
        "shell",
        help="open an interactive shell in a guest",
        description="Boot a kernel in a virtual machine and open a root shell in it.",
    )
    _guest_options(shell)

    every = command(
        "matrix",
        help="record and verify every workload on every kernel",
        description="Boot each kernel once, record every workload in it, and verify each trace. "
        "Exit 1 on a difference, a failed workload or a lost guest.",
    )
    every.add_argument(
        "--kernel",
        nargs="+",
        action="extend",
        metavar="K",
        help="only these kernels (default: all of `lab list`)",
    )
    every.add_argument(
        "--configs",
        action="store_true",
        help="use kernels built with other configurations (each takes minutes to build); one that "
        "cannot be recorded is left out if doctor says the same",
    )
    every.add_argument(
        "--keep",
        action="store_true",
        help="keep older results of other kernels, to which these are added",
    )
    every.add_argument(
        "--workload", nargs="+", action="extend", metavar="W", help="only these workloads"
    )
    _results(every, "out/matrix", "traces and matrix.json")
    every.add_argument(
        "--seconds-per-guest",
        type=cli.seconds,
        metavar="N",
        help="time limit for one kernel (default: ten minutes for each workload)",
    )
    foreign = command(
        "wild",
        help="record programs of others, with marks at random times, to find false alarms",
        description="Boot each kernel once, record programs that were not written for the lab, "
        "and verify and audit each trace. The kernel's own selftests, built from its source, also "
        "run without the recorder. Exit 1 on a difference or a certain finding, if a test's "
        "verdict changes under the recorder, or if a program could not be recorded.",
    )
    foreign.add_argument(
        "--kernel",
        nargs="+",
        action="extend",
        metavar="K",
        help="only these kernels (default: 6.1, 7.x)",
    )
    foreign.add_argument(
        "--program", nargs="+", action="extend", metavar="P",
        help=f"only these programs (default: {', '.join(wild.PROGRAMS)})",
    )  # fmt: skip
    _results(foreign, "out/wild", "traces and matrix.json")
    hunting = command(
        "hunt",
        help="look for kernel bugs with random programs, selftests and stress-ng",
        description="Boot a kernel again and again, record random programs, the kernel's own "
        "selftests and stress-ng in it, and audit each trace, until the time is over. Keep the "
        "first trace of each new kind of finding, reduce a random program to the fewest operations "
        "that still show it, and write a report with a C program, a picture and what is wrong. "
        "Exit 1 if something new was found.",
    )
    hunting.add_argument(
        "--kernel", nargs="+", action="extend", metavar="K",
        help=f"only these kernels (default: {', '.join(hunt.KERNELS)})",
    )  # fmt: skip
    hunting.add_argument(
        "--hours", type=cli.hours, default=3600.0, metavar="H", help="time limit (default: 1)"
    )
    hunting.add_argument(
        "--seed", type=cli.whole(0, 2**62), metavar="N",
        help="seed of the first random program (default: from the clock)",
    )  # fmt: skip
    hunting.add_argument(
        "--anew", action="store_true",
        help="also report the known bugs of docs/trophies.md",
    )  # fmt: skip
    _results(hunting, "out/hunt", "reports and hunt.json")
    bugs = command(
        "mutants",
        help="audit kernels with planted accounting bugs: is each found and named?",
        description="Build kernels with planted bugs, record a workload with each bug active, and "
        "audit the traces. Exit 1 if a bug is not found or its function is not named, or if the "
        "audit reports an error on the healthy kernel.",
    )
    bugs.add_argument(
        "--kernel",
        nargs="+",
        action="extend",
        default=[],
        metavar="K",
        help="only bugs of these kernels (default: all but that of arm64)",
    )
    bugs.add_argument(
        "--mutant", nargs="+", action="extend", default=[], metavar="NAME", help="only these bugs"
    )
    _results(bugs, "out/mutants", "traces and mutants.json")
    forms = command(
        "thread",
        help="measure four forms of stable_page_flags(): crashes, wrong answers, cost",
        description="Build 6.1 with four forms of stable_page_flags(), race each against a "
        "process that maps and unmaps a huge page, and count its instructions per page.",
    )
    forms.add_argument(
        "--form",
        nargs="+",
        action="extend",
        default=[],
        choices=[form.name for form in thread.FORMS],
        help="only these forms",
    )
    _results(forms, "out/thread", "traces and thread.json")
    return top


def _results(parser: argparse.ArgumentParser, folder: str, what: str) -> None:
    """-o and -f of an experiment, which leaves what it made in a folder."""
    parser.add_argument(
        "-o", "--output", default=folder, metavar="DIR",
        help=f"where the {what} go (default: {folder})",
    )  # fmt: skip
    parser.add_argument("-f", "--force", action="store_true", help="overwrite older results")


def _guest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel",
        metavar="K",
        help="a name of `lab list`, a linux-image .deb, a built kernel tree, or a bzImage "
        "(its modules, if any, beside it in lib/modules/RELEASE)",
    )
    parser.add_argument(
        "--headers",
        metavar="DIR",
        help="kernel headers for BCC (default: packaged, the tree's, or built in)",
    )
    parser.add_argument(
        "--root-suite",
        metavar="SUITE",
        choices=[kernel.suite for kernel in kernels.LAB_KERNELS],
        help="Debian suite of the guest's root",
    )
    parser.add_argument(
        "--cpus",
        type=cli.whole(1, 255),
        metavar="N",
        help="CPUs of the guest (default: what the scenario needs, or 2)",
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory of the guest (default: what the scenario needs, or 3G)",
    )


def _folder(args: argparse.Namespace, results: str) -> Path:
    """Where traces and RESULTS go; older ones are overwritten only when that is asked for."""
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    check(str(folder / results), args.force)
    return folder


def _options(args: argparse.Namespace) -> lab.Options:
    kernel = kernels.resolve(args.kernel, args.headers, args.root_suite)
    return lab.Options(kernel, args.cpus, args.memory)


def _list() -> int:
    for title, group in (
        ("kernels:", kernels.LAB_KERNELS),
        ("kernels of arm64:", kernels.ARM64_KERNELS),
        ("kernels built on demand:", kernels.BUILT_KERNELS),
        ("kernels of `matrix --configs`, built on demand:", kernels.CONFIG_KERNELS),
    ):
        cli.result(title)
        for kernel in group:
            ready = "ready" if kernels.is_ready(kernel) else "to be fetched"
            root = chroot.find(kernel.suite, kernel.packages)
            suite = chroot.suite_of(root) if root else kernel.suite
            where = f"Debian {suite}, {kernel.machine.MACHINE}, {kernel.page_kib}K pages"
            cli.result(f"  {kernel.name:20} {where}: {kernel.why} ({ready})")
    cli.result("scenarios:")
    for scenario in scenarios.SCENARIOS.values():
        cli.result(f"  {scenario.name:20} {scenario.shows}")
    return 0


def _fetch(name: str) -> int:
    if name not in kernels.BY_NAME:
        raise say.LabError(f"unknown kernel {name!r}: see `mapcount lab list`", 2)
    kernel = kernels.resolve(name)
    root = chroot.ensure(kernel.suite, kernel.packages, kernel.machine)
    image = kernels.image_of(kernel, root)
    program = pagetypes.ensure(kernel.machine)
    cli.result(f"root        {root}")
    cli.result(f"image       {image}")
    for package, version in chroot.versions(root).items():
        if package.startswith(("linux-image-", "python3-bpfcc")):
            cli.result(f"package     {package} {version}")
    cli.result(f"page-types  {program}")
    return 0


def _run(args: argparse.Namespace, command: list[str]) -> int:
    if bool(args.what) == bool(command):
        raise say.LabError("say what to run: a SCENARIO (see `lab list`), or -- and a command", 2)
    options = replace(
        _options(args),
        limit=args.timeout,
        record=tuple(args.record_opts),
    )
    plan = (
        lab.plan_command(command)
        if command
        else lab.plan_scenario(args.what[0], args.what[1:], options.kernel)
    )
    trace = None if args.no_record else Path(args.output)
    result = lab.run(plan, options, trace, args.force)
    if trace is not None and trace.exists():
        say.note(cli.page_of(str(trace)))
    return result.exit_code


def _matrix(args: argparse.Namespace) -> int:
    every = kernels.CONFIG_KERNELS if args.configs else kernels.LAB_KERNELS
    names = args.kernel or [kernel.name for kernel in every]
    workloads = args.workload or (
        list(matrix.CONFIG_WORKLOADS) if args.configs else list(scenarios.SCENARIOS)
    )
    for name in names:  # a slip of the pen shall not show after the first guest
        kernels.resolve(name)
    for workload in workloads:
        scenarios.find(workload)
    args.force |= args.keep
    folder = _folder(args, matrix.RESULTS)
    results = matrix.run(
        list(dict.fromkeys(names)),
        list(dict.fromkeys(workloads)),
        folder,
        args.seconds_per_guest,
        configs=args.configs,
        kept=_kept(folder / matrix.RESULTS, args.configs) if args.keep else None,
    )
    cli.result(matrix_text.table(results))
    for cell in results.cells:
        if not cell.good:
            say.error(f"{cell.workload} on {cell.kernel}: {cell.reason or cell.outcome}")
    return 0 if results.good else 1


def _kept(results: Path, configs: bool) -> matrix.Matrix | None:
    """What an earlier run left, if it did."""
    if not results.exists():
        return None
    kept = matrix_text.read(results)
    if kept.configs != configs:
        raise say.LabError(f"{results} is of a run {'without' if configs else 'with'} --configs", 2)
    return kept


def _wild(args: argparse.Namespace) -> int:
    names, programs = args.kernel or ["6.1", "7.x"], args.program or list(wild.PROGRAMS)
    for name in names:
        kernels.resolve(name)
    for program in programs:
        wild.find(program)
    folder = _folder(args, matrix.RESULTS)
    unique = (list(dict.fromkeys(names)), list(dict.fromkeys(programs)))
    results = matrix.run(*unique, folder, plan=wild.plan)
    cli.result(wild.table(results))
    return 0 if all(map(wild.silent, results.cells)) else 1


def _hunt(args: argparse.Namespace) -> int:
    names = list(dict.fromkeys(args.kernel or hunt.KERNELS))
    for name in names:
        kernels.resolve(name)
    folder = _folder(args, hunt.RESULTS)
    seed = int(time.time()) if args.seed is None else args.seed
    say.phase(f"the first random program is of seed {seed}")
    hunted = hunt.run(names, args.hours, folder, seed, args.anew)
    cli.result(hunt.table(hunted, folder))
    return 1 if hunted.new else 0


def _mutants(args: argparse.Namespace) -> int:
    bases = mutant_run.choose(args.kernel, args.mutant)
    folder = _folder(args, mutant_run.RESULTS)
    verdicts = mutant_run.run(bases, args.mutant, folder)
    cli.result(mutants_text.table(verdicts))
    for verdict in verdicts:
        if not verdict.good:
            reason = verdict.trouble or verdict.sentence or "nothing certain was found"
            say.error(f"{verdict.case} on {verdict.kernel}: {reason}")
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _thread(args: argparse.Namespace) -> int:
    folder = _folder(args, thread.RESULTS)
    cli.result(thread.table(thread.run(args.form, folder)))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mapcount lab ARGV`; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if "--" in argv:  # everything after it belongs to the guest, options and all
        split = argv.index("--")
        argv, command = argv[:split], argv[split + 1 :]
    return cli.main(parser, lambda args: _command(args, command), argv)


def _command(args: argparse.Namespace, command: list[str]) -> int:
    if args.command == "list":
        return _list()
    if args.command == "fetch":
        return _fetch(args.kernel)
    if args.command == "shell":
        return lab.shell(_options(args))
    if args.command == "matrix":
        return _matrix(args)
    if args.command == "wild":
        return _wild(args)
    if args.command == "hunt":
        return _hunt(args)
    if args.command == "mutants":
        return _mutants(args)
    if args.command == "thread":
        return _thread(args)
    return _run(args, command)


if __name__ == "__main__":
    sys.exit(main())
