# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a trace for other programs: Parquet, CSV, or a file for ui.perfetto.dev.

csv: the events, a line each.  parquet: a folder with the events, lives, marks, snapshots and
losses, in which a folio's life is in one file.  perfetto: folios with their map counts, and
what each task did to them.
"""

from __future__ import annotations

import argparse

from analysis.commands.common import (
    add_trace_arguments,
    check_output,
    exit_code,
    open_trace,
    warn,
    writing,
)

FORMATS = ("parquet", "csv", "perfetto")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `export`."""
    add_trace_arguments(parser)
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="the file; of parquet the folder"
    )
    parser.add_argument("-f", "--force", action="store_true", help="overwrite the output")


def run(args: argparse.Namespace) -> int:
    """Write it, and say where it is."""
    from analysis.export import perfetto, tables

    check_output(args.output, args.force)
    trace = open_trace(args)
    if args.to == "perfetto" and trace.census.events > perfetto.MANY:
        warn(args, f"{trace.census.events} events make the page slow: cut some out with `slice`")
    write = {
        "parquet": tables.write_parquet,
        "csv": tables.write_csv,
        "perfetto": perfetto.write_perfetto,
    }[args.to]
    with writing(args.output) as partial:
        write(trace, partial)
    print(f"wrote {args.output}")
    return exit_code(args, trace)
