# SPDX-License-Identifier: GPL-2.0-or-later
"""Write findings, lives and totals of a trace as one self-contained HTML page."""

from __future__ import annotations

import argparse
import os
import webbrowser
from pathlib import Path

from analysis.commands.common import (
    add_output_arguments,
    add_trace_arguments,
    exit_code,
    open_trace,
    warn,
)
from analysis.page import LIVES, RECORDS
from probes import cli
from probes.output import Output, check
from probes.visible import visible

#: What no page can hold.
MOST = 10_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `report`."""
    add_trace_arguments(parser)
    add_output_arguments(parser, "FILE", "the HTML file", (".html", ".htm"))
    parser.add_argument("--open", action="store_true", help="show it in a browser")
    parser.add_argument(
        "--lives", type=cli.whole(1, MOST), default=LIVES, metavar="N",
        help="lives in its table, those with findings and the busiest first (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--records", type=cli.whole(1, MOST), default=RECORDS, metavar="N",
        help="records of lives that it can draw (default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the page, and say where it is."""
    from analysis.report import report_html

    check(args.output, args.force)
    trace = open_trace(args)
    page = report_html(trace, os.path.basename(args.file), args.lives, args.records)
    with (
        Output(args.output, args.force, private=False) as output,
        open(output.part, "x", encoding="utf-8") as file,
    ):
        file.write(page)
    cli.result(visible(f"wrote {args.output}"))
    if args.open and not webbrowser.open(Path(args.output).resolve().as_uri()):
        warn("no browser was found: open the page with one")
    return exit_code(args, trace)
