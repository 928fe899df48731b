# SPDX-License-Identifier: GPL-2.0-or-later
"""Print one line per folio life."""

from __future__ import annotations

import argparse

from analysis.commands.common import add_trace_arguments, exit_code, note, open_trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `lives`."""
    add_trace_arguments(parser)
    parser.add_argument("--all", action="store_true", help="single pages too, not only folios")


def run(args: argparse.Namespace) -> int:
    """Print the table; times are relative to the first event."""
    from analysis.lives_text import lives_text

    trace = open_trace(args)
    lives = trace.df_lives()
    shown = lives if args.all else lives[lives["order"] > 0]
    print(lives_text(trace, shown))
    if len(shown) < len(lives):
        note(args, f"{len(lives) - len(shown)} lives of single pages are left out: --all")
    return exit_code(args, trace)
