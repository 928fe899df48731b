# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw the map counts of one folio's life as a picture."""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING

from analysis.commands.common import (
    PICTURES,
    add_output_arguments,
    add_time_argument,
    add_trace_arguments,
    exit_code,
    open_trace,
    save_picture,
    tell,
    warn,
)
from probes import cli
from probes.events import page_option
from probes.output import check
from probes.visible import visible

if TYPE_CHECKING:
    from analysis.trace import Trace

#: Seconds between two pictures of a growing trace.
REDRAW = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `timeline`."""
    add_trace_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pfn", type=page_option, help="draw the busiest life of this page")
    which.add_argument("--life", metavar="ID", help="draw this life (number or id, see `lives`)")
    add_time_argument(parser)
    add_output_arguments(parser, "FILE", "png, svg or pdf", PICTURES)
    parser.add_argument(
        "--follow", action="store_true", help="redraw while the trace is being written"
    )


def _draw(args: argparse.Namespace, trace: Trace) -> None:
    import analysis
    from analysis.life_table import ids
    from analysis.ranking import interesting
    from analysis.slicing import span_of

    begin, end = span_of(trace, args.time)
    closer = (begin, end) if args.time != (0.0, math.inf) else None
    life = args.life
    if life is None:
        life = ids(interesting(trace, args.pfn, closer))[0]
    save_picture(args, analysis.plot_timeline(trace, life, window=closer))
    args.force = True  # the next picture takes the place of this one


def _follow(args: argparse.Namespace) -> Trace:
    from analysis.errors import AnalysisError
    from analysis.following import SILENCE, new_chunks
    from analysis.source import Source
    from analysis.trace import Trace

    fresh, drawn = False, 0.0
    with Source(args.file) as source:
        for chunks in new_chunks(source, poll=0.2):
            fresh |= bool(chunks)
            if fresh and time.monotonic() - drawn >= REDRAW and not source.ended:
                try:
                    _draw(args, Trace(source))
                except AnalysisError as error:
                    # The life that was asked for may be yet to come.
                    warn(f"no picture yet: {error}")
                fresh, drawn = False, time.monotonic()
        if not source.ended:
            warn(f"nothing was written for {SILENCE:.0f} s: the recorder is gone, "
                       "the picture shows what it wrote")  # fmt: skip
        trace = Trace(source)
    tell(trace)
    return trace


def run(args: argparse.Namespace) -> int:
    """Draw, and say where the picture is."""
    check(args.output, args.force)
    trace = _follow(args) if args.follow else open_trace(args)
    _draw(args, trace)
    cli.result(visible(f"wrote {args.output}"))
    return exit_code(args, trace)
