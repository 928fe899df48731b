# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare the replay with the kernel's counters in the snapshots; exit 1 on a difference."""

from __future__ import annotations

import argparse

from analysis.commands.common import add_json_argument, add_trace_arguments, exit_code, open_trace
from analysis.errors import CommandError
from probes import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `verify`."""
    add_trace_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table of snapshots, then each difference."""
    from analysis.json_form import verify_json
    from analysis.verify import verify
    from analysis.verify_text import verify_text

    trace = open_trace(args)
    result = verify(trace)
    if args.json:
        cli.json_result(verify_json(trace, result))
    else:
        cli.result(verify_text(trace, result))
    if result.checked == 0:
        raise CommandError(
            f"nothing was checked: {args.file} has {len(trace.snapshots)} snapshots and none "
            "shows a folio that was alive: let the workload write a mark while one is mapped"
        )
    return exit_code(args, trace, 1 if result.certain else 0)
