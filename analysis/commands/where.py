# SPDX-License-Identifier: GPL-2.0-or-later
"""Show which process maps which folios, at which addresses, at each mark."""

from __future__ import annotations

import argparse

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
from probes.limits import TASK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `where`."""
    add_trace_arguments(parser)
    parser.add_argument(
        "--pid", type=cli.whole(0, TASK), metavar="P", help="only what process P maps"
    )
    parser.add_argument(
        "--life", metavar="N", help="only this life, a number or id of `lives`: each place of it"
    )
    parser.add_argument(
        "--mark", metavar="M", help="only at this mark; start and end are marks, too"
    )
    parser.add_argument("--all", action="store_true", help="every row of the tables")
    add_json_argument(parser)
    add_output_arguments(parser, "FILE", "a picture: png, svg or pdf", PICTURES, required=False)


def run(args: argparse.Namespace) -> int:
    """Print a table for each mark, and draw the picture where one is wanted."""
    import analysis
    from analysis.json_form import where_json
    from analysis.where_text import only, where_text

    trace = open_to_draw(args)
    life = trace.life_number(args.life) if args.life is not None else None
    frame = only(trace.df_where(args.mark), args.pid, life)
    if args.json:
        cli.json_result(where_json(frame))
    else:
        cli.result(where_text(trace, frame, args.mark, life is not None, args.all))
    if args.output is not None:
        save_picture_beside(args, analysis.plot_where(trace, life, args.pid))
    return exit_code(args, trace)
