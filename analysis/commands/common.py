# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands share: their common arguments, opening a trace, output files."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from analysis.errors import CommandError

if TYPE_CHECKING:
    from analysis.trace import Trace

INCOMPLETE = 3


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that reads a trace."""
    parser.add_argument("file", metavar="FILE", help="a trace that `mapcount record` wrote")
    parser.add_argument(
        "--strict", action="store_true",
        help="exit 3 if the trace is damaged, has no trailer or lost events",
    )  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes and no warnings")
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="say more; -vv: tracebacks"
    )


def _time(text: str) -> tuple[float, float]:
    try:
        begin, end = (part.strip() for part in text.split(":"))
        span = float(begin or 0), float(end or math.inf)
    except ValueError:
        span = (0.0, 0.0)
    if not 0 <= span[0] < span[1]:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time span: write A:B in milliseconds, as `lives` shows them"
        )
    return span


def add_time_argument(parser: argparse.ArgumentParser) -> None:
    """--time, for the commands that take a part of a trace."""
    parser.add_argument(
        "--time", type=_time, default=(0.0, math.inf), metavar="A:B",
        help="milliseconds since the first record, A included; either may be left out",
    )  # fmt: skip


def warn(args: argparse.Namespace, text: str) -> None:
    """One warning on stderr."""
    if not args.quiet:
        print(f"warning: {text}", file=sys.stderr)


def note(args: argparse.Namespace, text: str) -> None:
    """One note on stderr, for those who asked for more."""
    if args.verbose and not args.quiet:
        print(f"note: {text}", file=sys.stderr)


def open_trace(args: argparse.Namespace) -> Trace:
    """Open the trace of a command and pass its warnings on."""
    import analysis

    if os.path.isdir(args.file):
        raise CommandError(
            f"{args.file} is a folder: give a trace file; only `audit` takes what `export` made"
        )
    trace = analysis.open_trace(args.file)
    tell(args, trace)
    return trace


def tell(args: argparse.Namespace, trace: Trace) -> None:
    """Pass the warnings of a trace on."""
    for text in trace.warnings:
        warn(args, text)
    lost = sum(loss.lost for loss in trace.losses)
    if lost:
        warn(args, f"{lost} events were lost: counts after a loss may differ; "
                   "record with a larger ring or fewer probes")  # fmt: skip
    note(args, f"{trace.census.events} events, {len(trace.snapshots)} snapshots")


def exit_code(args: argparse.Namespace, trace: Trace, code: int = 0) -> int:
    """The command's own exit code, or 3 where --strict asks for a complete trace."""
    incomplete = bool(trace.warnings) or bool(trace.losses)
    return INCOMPLETE if code == 0 and args.strict and incomplete else code


def check_output(path: str, force: bool) -> None:
    """Refuse to overwrite a file that was not offered for it."""
    if os.path.exists(path) and not force:
        raise CommandError(f"{path} exists: give another name, or -f/--force to overwrite it")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise CommandError(f"the folder {folder} does not exist: create it first")


@contextmanager
def writing(path: str) -> Iterator[str]:
    """A name to write a file or folder under, which goes to its place at ``path`` when whole."""
    partial = f"{path}.partial"
    _remove(partial)
    yield partial
    # A file takes the place of a file at once; a folder, or one's place, has to be made free.
    if os.path.isdir(partial) or os.path.isdir(path):
        _remove(path)
    os.replace(partial, path)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
