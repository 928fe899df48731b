# SPDX-License-Identifier: GPL-2.0-or-later
"""Show memory that partially mapped folios keep unmapped: whose it is, and why not split."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from analysis.commands.common import (
    PICTURES,
    add_json_argument,
    add_output_arguments,
    add_trace_arguments,
    exit_code,
    open_to_draw,
    save_picture_beside,
)
from probes import cli

if TYPE_CHECKING:
    from analysis.trace import Trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `waste`."""
    add_trace_arguments(parser)
    parser.add_argument("--all", action="store_true", help="every row of the tables")
    add_json_argument(parser)
    add_output_arguments(parser, "FILE", "a picture: png, svg or pdf", PICTURES, required=False)


def run(args: argparse.Namespace) -> int:
    """Print the tables, and draw the picture where one is wanted."""
    from analysis.json_form import rows
    from analysis.waste_text import waste_text

    trace = open_to_draw(args)
    if args.json:
        cli.json_result(rows(trace.df_waste()))
    else:
        cli.result(waste_text(trace, trace.wasted, args.all))
    if args.output is not None:
        _draw(args, trace)
    return exit_code(args, trace)


def _draw(args: argparse.Namespace, trace: Trace) -> None:
    from analysis.plot.waste import plot_waste

    save_picture_beside(args, plot_waste(trace))
