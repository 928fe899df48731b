# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut a part out of a trace, or pack all of it.

The slice is a trace like any other: every command reads it.  With --time, a folio older than
the slice begins with its first record in it, and its counters are known from the first record
or snapshot that shows them.  With --pfn, whole frames (what a PMD maps) are kept.  Without either,
everything is kept, in a file of about a tenth of the size.
"""

from __future__ import annotations

import argparse

from analysis.commands.common import (
    add_output_arguments,
    add_time_argument,
    add_trace_arguments,
    exit_code,
    open_trace,
)
from analysis.errors import CommandError
from probes import cli
from probes.events import pages_option
from probes.output import Output, check
from probes.visible import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `slice`."""
    add_trace_arguments(parser)
    add_time_argument(parser)
    parser.add_argument(
        "--pfn", type=pages_option, metavar="SPEC", help="page frames: N, N+COUNT or FIRST,LAST"
    )
    add_output_arguments(parser, "FILE", "the smaller trace")


def run(args: argparse.Namespace) -> int:
    """Write the slice, and say how much it holds."""
    from analysis.slicing import Wanted, matches, write_slice
    from analysis.text import count

    check(args.output, args.force)
    trace = open_trace(args)
    wanted = Wanted.of(trace, args.time, args.pfn)
    if trace.census.events and not matches(trace, wanted):
        raise CommandError(
            f"{args.file} has no record of these pages in that time: "
            "`mapcount lives --all` shows what it has; nothing was written"
        )
    with Output(args.output, args.force) as output:
        kept = write_slice(trace, output.part, wanted)
    cli.result(visible(f"wrote {args.output}: {count(kept, 'event')}"))
    return exit_code(args, trace)
