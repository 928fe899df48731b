# SPDX-License-Identifier: GPL-2.0-or-later
"""Convert a trace to Parquet, CSV or Perfetto (ui.perfetto.dev).

csv: one line per event.  parquet: a directory with events, lives, marks, snapshots, losses,
findings, waste, stacks and tasks; all events of a folio's life are in one file.  perfetto: folios
with their map counts, and what each task did to them; JSON, or a smaller .pftrace where the package
perfetto is installed.
"""

from __future__ import annotations

import argparse
import os

from analysis.commands.common import (
    add_output_arguments,
    add_trace_arguments,
    exit_code,
    open_trace,
    warn,
)
from probes import cli
from probes.output import Output, check, refuse
from probes.visible import visible

FORMATS = ("parquet", "csv", "perfetto")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `export`."""
    add_trace_arguments(parser)
    parser.add_argument("--to", required=True, choices=FORMATS, help="format")
    add_output_arguments(parser, "OUT", "output file (for parquet a directory)")


def run(args: argparse.Namespace) -> int:
    """Write it, and say where it is."""
    from analysis.dataset import not_ours
    from analysis.export import perfetto, tables
    from analysis.export.perfetto_proto import SUFFIXES, classes

    path = args.output.rstrip("/") if args.to == "parquet" else args.output
    owned = not_ours if args.to == "parquet" else refuse
    check(path, args.force, owned)
    proto = args.to == "perfetto" and path.endswith(SUFFIXES)
    if proto:
        classes()  # rather now than after an hour
    trace = open_trace(args)
    write = {
        "parquet": tables.write_parquet,
        "csv": tables.write_csv,
        "perfetto": perfetto.write_pftrace if proto else perfetto.write_json,
    }[args.to]
    with Output(path, args.force, owned=owned) as output:
        write(trace, output.part)
    cli.result(visible(f"wrote {args.output}"))
    size = os.path.getsize(path)
    if args.to == "perfetto" and size > perfetto.LARGE:
        smaller = "" if proto else f", or write {SUFFIXES[0]}, which is a fraction of the JSON"
        warn(f"{size >> 20} MiB make the page slow: cut some out with `slice`{smaller}")
    return exit_code(args, trace)
