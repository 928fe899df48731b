# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut a smaller trace out of a trace, or pack all of it.

The slice is a trace like any other: every command reads it.  With --time a folio that is older
than the slice begins with its first record in it, and its counters are known from the
first record or snapshot that shows them.  With --pfn whole 2 MiB frames are kept.  Without
either all is kept, in a file of a tenth of the size.
"""

from __future__ import annotations

import argparse

from analysis.commands.common import (
    add_time_argument,
    add_trace_arguments,
    check_output,
    exit_code,
    open_trace,
    writing,
)
from probes.events import pages_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `slice`."""
    add_trace_arguments(parser)
    add_time_argument(parser)
    parser.add_argument("--pfn", type=pages_option, metavar="SPEC", help="pages: N, N+M or N,M")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the smaller trace")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite the output")


def run(args: argparse.Namespace) -> int:
    """Write the slice, and say how much it holds."""
    from analysis.slicing import Wanted, write_slice
    from analysis.text import count

    check_output(args.output, args.force)
    trace = open_trace(args)
    with writing(args.output) as partial:
        kept = write_slice(trace, partial, Wanted.of(trace, args.time, args.pfn))
    print(f"wrote {args.output}: {count(kept, 'event')}")
    return exit_code(args, trace)
