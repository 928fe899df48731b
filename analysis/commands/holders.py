# SPDX-License-Identifier: GPL-2.0-or-later
"""Show who holds folios at the marks: their references taken apart, who maps and who pinned."""

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
from probes.events import page_option

if TYPE_CHECKING:
    import pandas as pd

    from analysis.trace import Trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `holders`."""
    add_trace_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--pfn", type=page_option, metavar="P", help="only the folio of page frame P"
    )
    which.add_argument("--life", metavar="N", help="only this life, by its number or id")
    parser.add_argument("--mark", metavar="M", help="only this mark: its name, or its number")
    parser.add_argument("--all", action="store_true", help="every folio of a mark")
    add_json_argument(parser)
    what = "a picture of one folio: png, svg or pdf"
    add_output_arguments(parser, "FILE", what, PICTURES, required=False)


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    from analysis.holders_text import chosen, holders_text, of_folio
    from analysis.json_form import rows

    trace = open_to_draw(args)
    life = None if args.life is None else trace.life_number(args.life)
    held = chosen(trace.held, life, args.pfn, args.mark)
    refused = of_folio(trace.df_refusals(), life, args.pfn)
    if args.json:
        frames = {"references": held.references, "holders": held.holders, "refusals": refused}
        cli.json_result({name: rows(frame) for name, frame in frames.items()})
    else:
        cli.result(holders_text(trace, held, refused, args.all))
    if args.output is not None:
        _draw(args, trace, held.references)
    return exit_code(args, trace)


def _draw(args: argparse.Namespace, trace: Trace, references: pd.DataFrame) -> None:
    from analysis.plot.holders import most_held, plot_holders

    save_picture_beside(args, plot_holders(trace, most_held(references)))
