# SPDX-License-Identifier: GPL-2.0-or-later
"""Check counters against operations and kernel rules, find racing readers, and name who did it.

FILE may also be a directory made by `export --to parquet`: its parts are audited in parallel,
by Dask processes on this machine, or by the cluster of --scheduler.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from analysis.commands.common import (
    add_json_argument,
    add_trace_arguments,
    exit_code,
    open_trace,
    tell,
    warn,
)
from analysis.errors import CommandError
from probes import cli

if TYPE_CHECKING:
    from analysis.audit import Audit
    from analysis.trace import Trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `audit`."""
    add_trace_arguments(parser)
    parser.add_argument("--check", action="store_true", help="exit 1 if there is any finding")
    add_json_argument(parser)
    parser.add_argument(
        "--all", action="store_true", help="print every finding, not three of each kind"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="address of a Dask scheduler (default: local processes)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    from analysis.audit_text import audit_text, unlisted
    from analysis.json_form import audit_json

    trace, audit = _audited(args)
    if args.json:
        cli.json_result(audit_json(audit))
        if audit.unlisted:
            warn(unlisted(audit))
    else:
        cli.result(audit_text(trace, audit, args.all))
    return exit_code(args, trace, 1 if args.check and len(audit.findings) else 0)


def _audited(args: argparse.Namespace) -> tuple[Trace, Audit]:
    if os.path.isdir(args.file):
        from analysis.dataset import Dataset

        dataset = Dataset(args.file, args.scheduler)
        tell(dataset.whole)
        return dataset.whole, dataset.audit
    if args.scheduler:
        raise CommandError(
            f"{args.file} is a single file, and a cluster audits parts: give the folder that "
            "`mapcount export --to parquet` made of it"
        )
    trace = open_trace(args)
    return trace, trace.audit
