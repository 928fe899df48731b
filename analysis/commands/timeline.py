# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw the map counts of one folio's life as a picture."""

from __future__ import annotations

import argparse
import math
import os
import time
from typing import TYPE_CHECKING

from analysis.commands.common import (
    add_time_argument,
    add_trace_arguments,
    check_output,
    exit_code,
    open_trace,
    warn,
)

if TYPE_CHECKING:
    from analysis.trace import Trace

FORMATS = (".png", ".svg", ".pdf")
#: Seconds between two pictures of a growing trace.
REDRAW = 2.0


def _pfn(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no page frame number") from None


def _output(text: str) -> str:
    if not text.lower().endswith(FORMATS):
        raise argparse.ArgumentTypeError(f"{text!r} must end with one of {', '.join(FORMATS)}")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `timeline`."""
    add_trace_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pfn", type=_pfn, help="the busiest life that this page had")
    which.add_argument("--life", metavar="ID", help="a life's number or id, see `lives`")
    add_time_argument(parser)
    parser.add_argument(
        "-o", "--output", required=True, type=_output, metavar="FILE", help="png, svg or pdf"
    )
    parser.add_argument("-f", "--force", action="store_true", help="overwrite the output")
    parser.add_argument(
        "--follow", action="store_true", help="redraw while the trace is being written"
    )


def _draw(args: argparse.Namespace, trace: Trace) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    import analysis
    from analysis.interest import interesting
    from analysis.life_table import ids
    from analysis.slicing import span_of

    begin, end = span_of(trace, args.time)
    closer = (begin, end) if args.time != (0.0, math.inf) else None
    life = args.life
    if life is None:
        life = ids(interesting(trace, args.pfn, closer))[0]
    figure = analysis.plot_timeline(trace, life, window=closer)
    # A viewer that watches the file must never see half a picture.
    stem, suffix = os.path.splitext(args.output)
    partial = f"{stem}.partial{suffix}"
    figure.savefig(partial)
    os.replace(partial, args.output)
    pyplot.close(figure)


def _follow(args: argparse.Namespace) -> Trace:
    from analysis.errors import AnalysisError
    from analysis.following import new_chunks
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
                    warn(args, f"no picture yet: {error}")
                fresh, drawn = False, time.monotonic()
        return Trace(source)


def run(args: argparse.Namespace) -> int:
    """Draw, and say where the picture is."""
    check_output(args.output, args.force)
    trace = _follow(args) if args.follow else open_trace(args)
    _draw(args, trace)
    print(f"wrote {args.output}")
    return exit_code(args, trace)
