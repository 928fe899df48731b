# SPDX-License-Identifier: GPL-2.0-or-later
"""Print totals, rates, losses, probe coverage and lives of a trace."""

from __future__ import annotations

import argparse

from analysis.commands.common import add_json_argument, add_trace_arguments, exit_code, open_trace
from probes import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `stats`."""
    add_trace_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    from analysis.json_form import stats_json
    from analysis.stats_text import stats_text

    trace = open_trace(args)
    if args.json:
        cli.json_result(stats_json(trace))
    else:
        cli.result(stats_text(trace))
    return exit_code(args, trace)
