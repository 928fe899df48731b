# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder's command line: ``python3 -m probes record``, ``top``, ``compile``, ``doctor``,
``recover``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Optional, Sequence

from probes import cli, limits
from probes.events import pages_option
from probes.groups import GROUPS, groups_option
from probes.output import HELP_SYMLINK

RECORD_EPILOG = """\
examples:
  mapcount record -o trace.mapcount -- ./workload    one command and its children
  mapcount record -d 10 --pid 1234                   ten seconds of a running process
  mapcount record --pfn 0x100000+512                 every actor on one 2 MiB frame
  mapcount record --cgroup /sys/fs/cgroup/app        the tasks of a cgroup

Once a folio is watched, everybody who touches it is recorded until the allocator hands
its pages to somebody else: khugepaged and kswapd work in other tasks.
"""


TOP_EPILOG = """\
One line for each folio or page, the busiest first, as its last record saw it (most are made
before their operation): PMD mappings of the whole, PTE mappings of its pages (where the kernel
has the sum of both), map count of the page that was touched last, references; the function
that came last and its task.  Nothing is kept: use `record` for that.
"""


COMPILE_EPILOG = """\
The file belongs to the running kernel's build: take it to other machines that boot the same
kernel, and record there with `mapcount record --compiled FILE`.  They need neither python3-bpfcc
nor the kernel's headers.
"""


RECOVER_EPILOG = """\
CORE is an ELF file of the machine's physical memory: of a QEMU guest that stands still the
one that the monitor's dump-guest-memory writes, of a machine with kdump /proc/vmcore or what
`makedumpfile -E` makes of it.  Nothing that TRACE holds is changed: a block is added.
"""


#: PID_MAX_LIMIT of the kernel.
PID_MAX = 1 << 22


def _mebibytes(text: str) -> int:
    value = cli.whole(1, cli.LARGEST_RING)(text)
    if value & (value - 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no power of two: write 1, 2, 4, 8, …")
    return value << 20


def _add_what(rec: argparse.ArgumentParser) -> None:
    """What is watched, for how long, and by how large a ring."""
    rec.add_argument("-d", "--duration", type=cli.seconds, metavar="SECONDS", help="end after that")
    rec.add_argument(
        "--pid",
        type=cli.whole(1, PID_MAX),
        action="append",
        default=[],
        metavar="P",
        help="only folios of a process and its children",
    )
    rec.add_argument("--cgroup", metavar="PATH", help="only folios of a cgroup's tasks")
    rec.add_argument("--pfn", type=pages_option, default=(), metavar="SPEC", help="N, N+M or N,M")
    rec.add_argument(
        "--min-order",
        type=cli.whole(0, limits.ORDER),
        default=2,
        metavar="N",
        help="smallest folio order (default: 2)",
    )
    rec.add_argument(
        "--buffer",
        type=_mebibytes,
        default=8 << 20,
        metavar="MIB",
        help="size of the ring buffer, a power of two (default: 8)",
    )
    _add_only(rec)
    _add_programs(rec)
    rec.add_argument("cmd", nargs="*", metavar="-- CMD", help="a command to run and follow")


def _add_only(command: argparse.ArgumentParser) -> None:
    """Which probes are attached; without it all are."""
    command.add_argument(
        "--only",
        type=groups_option,
        default=(),
        metavar="GROUP[,GROUP]",
        help=f"attach fewer probes: {', '.join(GROUPS)}; what tells of a folio's life always is",
    )


def _add_programs(command: argparse.ArgumentParser) -> None:
    """Where the compiled programs come from; by default from the cache, if it has them."""
    ways = command.add_mutually_exclusive_group()
    ways.add_argument("--compiled", metavar="FILE", help="take what `mapcount compile` made")
    ways.add_argument(
        "--no-cache", dest="cache", action="store_false", help="compile, and keep nothing"
    )


def parser() -> cli.Parser:
    """The recorder's options."""
    top = cli.Parser(
        prog="mapcount",
        description="Record how the map counts of huge pages evolve.",
        epilog=cli.STATUSES,
    )
    commands = top.add_subparsers(dest="action", required=True, metavar="COMMAND")
    rec = commands.add_parser(
        "record",
        help="record a trace (as root, on a lab kernel)",
        epilog=f"{RECORD_EPILOG}\n{cli.STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rec.add_argument(
        "-o",
        "--output",
        default="trace.mapcount",
        metavar="FILE",
        help=f"the trace (default: trace.mapcount); {HELP_SYMLINK}",
    )
    rec.add_argument("-f", "--force", action="store_true", help="overwrite the trace")
    _add_what(rec)
    rec.add_argument("--stacks", action="store_true", help="record kernel stacks")
    live = commands.add_parser(
        "top",
        help="show the busiest folios while it happens (as root)",
        epilog=f"{TOP_EPILOG}\n{cli.STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    live.add_argument(
        "--delay", type=cli.seconds, default=2.0, metavar="SECONDS", help="between two looks (2)"
    )
    _add_what(live)
    examine = commands.add_parser(
        "doctor", help="say what this kernel and host offer and lack", epilog=cli.STATUSES
    )
    _add_only(examine)
    _add_programs(examine)
    examine.add_argument("--json", action="store_true", help="print JSON, see docs/json.md")
    comp = commands.add_parser(
        "compile",
        help="make the file by which a machine without a compiler records (as root)",
        epilog=f"{COMPILE_EPILOG}\n{cli.STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    comp.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help=f"the programs for this kernel; {HELP_SYMLINK}",
    )
    comp.add_argument("-f", "--force", action="store_true", help="replace FILE if it is there")
    rescue = commands.add_parser(
        "recover",
        help="add what was left in the memory of a kernel that died to its trace",
        epilog=f"{RECOVER_EPILOG}\n{cli.STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rescue.add_argument("--core", required=True, metavar="FILE", help="the dead kernel's memory")
    rescue.add_argument("--console", metavar="FILE", help="what it printed, for its last words")
    rescue.add_argument(
        "trace", metavar="TRACE", help=f"what `mapcount record` wrote before; {HELP_SYMLINK}"
    )
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command.  Returns its exit status."""
    return cli.main(parser, _run, argv)


def _run(options: argparse.Namespace) -> int:
    if options.action == "doctor":
        from probes.doctor import doctor

        return doctor(options.compiled, options.cache, options.only, options.json)
    if options.action == "compile":
        from probes.compile_command import compile_programs

        return compile_programs(options.output, options.force)
    if options.action == "recover":
        from probes.recover import recover

        return recover(options.core, options.trace, options.console)
    from probes.record import Request, record

    what = Request(
        seconds=options.duration,
        pids=tuple(options.pid),
        cgroup=options.cgroup,
        pfns=options.pfn,
        min_order=options.min_order,
        ring_bytes=options.buffer,
        only=options.only,
        compiled=options.compiled,
        cache=options.cache,
        command=tuple(options.cmd),
    )
    if options.action == "top":
        from probes.top import top

        return top(what, options.delay)
    return record(replace(what, stacks=options.stacks), options.output, options.force)


if __name__ == "__main__":
    sys.exit(main())
