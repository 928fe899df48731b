# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of the offline half: `python -m analysis COMMAND FILE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from probes import cli

COMMANDS = (
    "stats", "dump", "lives", "timeline", "audit", "verify", "where", "waste", "holders", "report",
    "slice", "export",
)  # fmt: skip


def build_parser() -> cli.Parser:
    """The parser with all commands; a command's docstring is its help."""
    parser = cli.Parser(
        prog="mapcount",
        description="Analyse a recorded trace of map counts.",
        epilog=cli.STATUSES,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"analysis.commands.{name}")
        text = (module.__doc__ or "").strip()
        line = text.splitlines()[0].rstrip(".")
        sub = commands.add_parser(
            name, help=line[0].lower() + line[1:], description=text, epilog=cli.STATUSES
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    return cli.main(build_parser, lambda args: int(args.run(args)), argv)


if __name__ == "__main__":
    sys.exit(main())
