# SPDX-License-Identifier: GPL-2.0-or-later
"""Write findings, pictures and totals of a trace as one self-contained HTML page."""

from __future__ import annotations

import argparse
import os

from analysis.commands.common import (
    add_output_arguments,
    add_trace_arguments,
    exit_code,
    open_trace,
)
from probes import cli
from probes.output import Output, check
from probes.visible import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `report`."""
    add_trace_arguments(parser)
    add_output_arguments(parser, "FILE", "the HTML file", (".html", ".htm"))


def run(args: argparse.Namespace) -> int:
    """Write the page, and say where it is."""
    import matplotlib

    matplotlib.use("Agg")
    from analysis.report import report_html

    check(args.output, args.force)
    trace = open_trace(args)
    page = report_html(trace, os.path.basename(args.file))
    with (
        Output(args.output, args.force, private=False) as output,
        open(output.part, "x", encoding="utf-8") as file,
    ):
        file.write(page)
    cli.result(visible(f"wrote {args.output}"))
    return exit_code(args, trace)
