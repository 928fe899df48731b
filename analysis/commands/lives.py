# SPDX-License-Identifier: GPL-2.0-or-later
"""Print one line per folio life."""

from __future__ import annotations

import argparse

from analysis.commands.common import add_json_argument, add_trace_arguments, exit_code, open_trace
from probes import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `lives`."""
    add_trace_arguments(parser)
    add_json_argument(parser)
    parser.add_argument("--all", action="store_true", help="include single pages (order 0)")


def run(args: argparse.Namespace) -> int:
    """Print the table; times are relative to the first event."""
    from analysis.json_form import lives_json
    from analysis.life_table import everyone, folios
    from analysis.lives_text import lives_lines

    trace = open_trace(args)
    shown = trace.life_table(everyone if args.all else folios)
    if args.json:
        cli.json_rows(lives_json(shown))
    else:
        for line in lives_lines(trace, shown):
            cli.result(line)
    if not args.all:
        cli.detail("lives of single pages are left out: --all")
    return exit_code(args, trace)
