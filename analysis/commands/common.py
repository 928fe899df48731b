# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands share: common arguments, opening a trace, printing its warnings."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.errors import CommandError
from probes import cli
from probes.output import HELP_SYMLINK, Output, check
from probes.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.trace import Trace

INCOMPLETE = 3
#: Endings of the names of pictures: the formats that there are.
PICTURES = (".png", ".svg", ".pdf")
#: No trace is longer than so many milliseconds: a century.
LONGEST = 3.2e12


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that reads a trace."""
    parser.add_argument("file", metavar="FILE", help="a trace that `mapcount record` wrote")
    parser.add_argument(
        "--strict", action="store_true",
        help="exit 3 if the trace is damaged, has no trailer or lost events",
    )  # fmt: skip


def _time(text: str) -> tuple[float, float]:
    try:
        begin, end = (part.strip() for part in text.split(":"))
        span = float(begin or 0), float(end or math.inf)
    except ValueError:
        span = (0.0, 0.0)
    if not (0 <= span[0] < span[1] and span[0] < LONGEST and not LONGEST <= span[1] < math.inf):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time span: write A:B in milliseconds, as `lives` shows them"
        )
    return span


def add_time_argument(parser: argparse.ArgumentParser) -> None:
    """--time, for the commands that take a part of a trace."""
    parser.add_argument(
        "--time", type=_time, default=(0.0, math.inf), metavar="A:B",
        help="only from A to before B, in ms since the first record; either may be omitted",
    )  # fmt: skip


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """--json, for the commands whose result has a form for scripts."""
    parser.add_argument("--json", action="store_true", help="print JSON, see docs/json.md")


def warn(text: str) -> None:
    """Print a warning on stderr."""
    cli.tell("warning", text)


def open_trace(args: argparse.Namespace) -> Trace:
    """Open the trace of a command and print its warnings."""
    import analysis

    if os.path.isdir(args.file):
        raise CommandError(
            f"{args.file} is a folder: give a trace file; only `audit` reads what `export` made"
        )
    trace = analysis.open_trace(args.file)
    tell(trace)
    return trace


def tell(trace: Trace) -> None:
    """Print the warnings of a trace."""
    for text in trace.warnings:
        warn(text)
    every, missed, outside = (
        sum(loss.lost for loss in trace.losses if kind in ("", loss.kind))
        for kind in ("", "missed", "outside")
    )
    lost = every - missed - outside
    if lost:
        advice = cli.fewer_losses(trace.meta.get("ring_bytes", 0))
        warn(f"{lost} events were lost: counts after a loss may differ; {advice}")
    if missed:
        warn(cli.skipped(missed))
    if outside:
        warn(f"{outside} folios lay in memory that came online after recording began: what "
             "happened to them was not recorded")  # fmt: skip
    cli.detail(f"{trace.census.events} events, {len(trace.snapshots)} snapshots")


def open_to_draw(args: argparse.Namespace) -> Trace:
    """Open the trace of a command with an optional picture, whose place is checked before."""
    if args.output is not None:
        check(args.output, args.force)
    return open_trace(args)


def exit_code(args: argparse.Namespace, trace: Trace, code: int = 0) -> int:
    """The command's own exit code, or 3 if --strict is given and the trace is incomplete."""
    incomplete = bool(trace.warnings) or bool(trace.losses)
    return INCOMPLETE if code == 0 and args.strict and incomplete else code


def save_picture(args: argparse.Namespace, figure: Figure) -> None:
    """Write the output; it appears as a whole, for programs that watch the file."""
    with Output(args.output, args.force, private=False) as output:
        figure.savefig(output.part)


def save_picture_beside(args: argparse.Namespace, figure: Figure) -> None:
    """The same, for a picture beside tables: the message goes to stderr."""
    save_picture(args, figure)
    cli.tell("note", visible(f"wrote {args.output}"))


def add_output_arguments(
    parser: argparse.ArgumentParser,
    name: str,
    what: str,
    endings: Sequence[str] = (),
    required: bool = True,
) -> None:
    """The arguments of every command that makes a file or a folder; ENDINGS name its formats."""

    def output(text: str) -> str:
        if text and endings and not text.lower().endswith(tuple(endings)):
            raise argparse.ArgumentTypeError(f"{text!r} must end with {' or '.join(endings)}")
        return text

    parser.add_argument(
        "-o", "--output", required=required, type=output, metavar=name,
        help=f"{what}; {HELP_SYMLINK}",
    )  # fmt: skip
    parser.add_argument("-f", "--force", action="store_true", help="overwrite the output")
