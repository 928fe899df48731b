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

Once a folio is watched, the operations of every task on it are recorded, those of khugepaged
and kswapd too, until its pages are reallocated.
"""


TOP_EPILOG = """\
One line per folio or page, the busiest first, with the values of its last record (most records
are made before the operation): PMD mappings of the folio, PTE mappings of its pages (where the
kernel keeps the sum of both), map count of the page that was touched last, reference count, last
function and its task.  Nothing is saved: use `record` for that.
"""


COMPILE_EPILOG = """\
The file fits this build of the kernel alone.  Copy it to other machines that boot the same
kernel, and record there with `mapcount record --compiled FILE`: they need neither python3-bpfcc
nor kernel headers.
"""


RECOVER_EPILOG = """\
The core is an ELF dump of physical memory: QEMU's dump-guest-memory of a paused guest, or
kdump's /proc/vmcore, or what `makedumpfile -E` makes of that.  TRACE is appended to; nothing
that it holds is changed.
"""


#: PID_MAX_LIMIT of the kernel.
PID_MAX = 1 << 22


def _mebibytes(text: str) -> int:
    return cli.whole(1, cli.LARGEST_RING)(text) << 20


def _add_what(rec: argparse.ArgumentParser) -> None:
    """What is watched, for how long, and by how large a ring."""
    rec.add_argument(
        "-d", "--duration", type=cli.seconds, metavar="SECONDS", help="stop after SECONDS"
    )
    rec.add_argument(
        "--pid",
        type=cli.whole(1, PID_MAX),
        action="append",
        default=[],
        metavar="P",
        help="record what process P and its children map (may be repeated)",
    )
    rec.add_argument("--cgroup", metavar="PATH", help="record what the tasks of a cgroup map")
    rec.add_argument(
        "--pfn",
        type=pages_option,
        default=(),
        metavar="SPEC",
        help="watch page frames: N, N+COUNT or FIRST,LAST",
    )
    rec.add_argument(
        "--min-order",
        type=cli.whole(0, limits.ORDER),
        default=2,
        metavar="N",
        help="smallest order of a folio to watch (default: 2)",
    )
    rec.add_argument(
        "--buffer",
        type=_mebibytes,
        metavar="MIB",
        help="most MiB that the ring buffers of all CPUs have together; each has the largest power "
        "of two that fits (default: 1 for each CPU, but at least 8 and at most 64)",
    )
    _add_only(rec)
    _add_programs(rec)
    rec.add_argument(
        "cmd", nargs="*", metavar="-- CMD", help="run a command and record it and its children"
    )


def _add_only(command: argparse.ArgumentParser) -> None:
    """Which probes are attached; without it all are."""
    command.add_argument(
        "--only",
        type=groups_option,
        default=(),
        metavar="GROUP[,GROUP]",
        help=f"attach only these groups of probes: {', '.join(GROUPS)}; probes that follow a "
        "folio's life are always attached",
    )


def _add_programs(command: argparse.ArgumentParser) -> None:
    """Where the compiled programs come from; by default from the cache, if it has them."""
    ways = command.add_mutually_exclusive_group()
    ways.add_argument(
        "--compiled", metavar="FILE", help="use the programs in FILE, from `mapcount compile`"
    )
    ways.add_argument(
        "--no-cache",
        dest="cache",
        action="store_false",
        help="compile the probes; neither read nor write the cache",
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
        help="record a trace (needs root)",
        description="Record the operations on watched folios and the counters at each, until the "
        "command ends, the time is over, or Ctrl-C.  Needs root.",
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
    rec.add_argument(
        "--nice",
        action="store_true",
        help="do not ask for a real-time priority, by which the ring buffers are emptied in time "
        "on a busy machine",
    )
    rec.add_argument("--stacks", action="store_true", help="record the kernel stack of each event")
    rec.add_argument(
        "--where",
        action="store_true",
        help="record in which address space and at which address each mapping is, for "
        "`mapcount where`",
    )
    rec.add_argument(
        "--pins",
        action="store_true",
        help="record who takes and drops pins (pin_user_pages()), too; for `mapcount holders`",
    )
    live = commands.add_parser(
        "top",
        help="show the busiest folios live (needs root)",
        description="Show the busiest folios while they change.  Needs root.",
        epilog=f"{TOP_EPILOG}\n{cli.STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    live.add_argument(
        "--delay",
        type=cli.seconds,
        default=2.0,
        metavar="SECONDS",
        help="refresh interval (default: 2)",
    )
    _add_what(live)
    examine = commands.add_parser(
        "doctor",
        help="check what recording needs on this kernel and host",
        description="Check what recording needs on this kernel and host, and what each missing "
        "part would leave unrecorded.  Exit 1 if recording cannot work.",
        epilog=cli.STATUSES,
    )
    _add_only(examine)
    _add_programs(examine)
    examine.add_argument("--json", action="store_true", help="print JSON, see docs/json.md")
    comp = commands.add_parser(
        "compile",
        help="compile the probes into a file for machines without a compiler (needs root)",
        description="Compile the probes for the running kernel into a file.  Needs root.",
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
    comp.add_argument("-f", "--force", action="store_true", help="overwrite FILE")
    rescue = commands.add_parser(
        "recover",
        help="append what was left in a dead kernel's memory to its trace",
        description="Append the records that were still in the ring buffers when a kernel died "
        "to the trace that was being recorded on it.",
        epilog=f"{RECOVER_EPILOG}\n{cli.STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rescue.add_argument(
        "--core", required=True, metavar="FILE", help="ELF dump of the dead kernel's memory"
    )
    rescue.add_argument(
        "--console", metavar="FILE", help="log of that kernel's console, for its last messages"
    )
    rescue.add_argument(
        "trace", metavar="TRACE", help=f"the trace that was being recorded; {HELP_SYMLINK}"
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
        buffer=options.buffer,
        only=options.only,
        compiled=options.compiled,
        cache=options.cache,
        command=tuple(options.cmd),
    )
    if options.action == "top":
        from probes.top import top

        # It looks at each record in Python: others should not have to wait for that.
        return top(replace(what, nice=True), options.delay)
    what = replace(
        what,
        stacks=options.stacks,
        where=options.where,
        pins=options.pins,
        nice=options.nice,
    )
    return record(what, options.output, options.force)


if __name__ == "__main__":
    sys.exit(main())
