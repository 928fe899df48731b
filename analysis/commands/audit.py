# SPDX-License-Identifier: GPL-2.0-or-later
"""Check the books, the kernel's own rules and the readers; name who broke them."""

from __future__ import annotations

import argparse

from analysis.commands.common import add_trace_arguments, exit_code, open_trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `audit`."""
    add_trace_arguments(parser)
    parser.add_argument("--check", action="store_true", help="exit 1 if anything is found")
    parser.add_argument("--json", action="store_true", help="the findings as a JSON list")
    parser.add_argument("--all", action="store_true", help="tell every finding in words")


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    from analysis.audit_text import audit_text

    trace = open_trace(args)
    findings = trace.df_findings()
    if args.json:
        print(findings.to_json(orient="records", indent=1))
    else:
        print(audit_text(trace, findings, trace.audit.set_aside, args.all))
    return exit_code(args, trace, 1 if args.check and len(findings) else 0)
