# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a trace's findings, pictures and totals as one self-contained HTML page."""

from __future__ import annotations

import argparse
import os

from analysis.commands.common import (
    add_trace_arguments,
    check_output,
    exit_code,
    open_trace,
    writing,
)


def _output(text: str) -> str:
    if not text.lower().endswith((".html", ".htm")):
        raise argparse.ArgumentTypeError(f"{text!r} must end with .html")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `report`."""
    add_trace_arguments(parser)
    parser.add_argument(
        "-o", "--output", required=True, type=_output, metavar="FILE", help="the .html to write"
    )
    parser.add_argument("-f", "--force", action="store_true", help="overwrite the output")


def run(args: argparse.Namespace) -> int:
    """Write the page, and say where it is."""
    import matplotlib

    matplotlib.use("Agg")
    from analysis.report import report_html

    check_output(args.output, args.force)
    trace = open_trace(args)
    page = report_html(trace, os.path.basename(args.file))
    with writing(args.output) as partial, open(partial, "w", encoding="utf-8") as out:
        out.write(page)
    print(f"wrote {args.output}")
    return exit_code(args, trace)
