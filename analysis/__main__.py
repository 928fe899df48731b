# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of the offline half: `python -m analysis COMMAND FILE`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from analysis.errors import AnalysisError, CommandError

COMMANDS = ("stats", "dump", "lives", "timeline", "audit", "verify", "report", "slice", "export")


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands; a command's docstring is its help."""
    parser = argparse.ArgumentParser(
        prog="mapcount", description="Read a recorded trace of map counts."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"analysis.commands.{name}")
        text = (module.__doc__ or "").strip()
        line = text.splitlines()[0].rstrip(".")
        sub = commands.add_parser(name, help=line[0].lower() + line[1:], description=text)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output has seen enough; Python must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (AnalysisError, OSError) as error:
        if args.verbose > 1:
            raise
        print(f"error: {_message(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, CommandError) else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if args.verbose > 1:
            raise
        print(
            f"error: a bug in mapcount ({type(error).__name__}: {error}): "
            "run again with -vv and report what it prints",
            file=sys.stderr,
        )
        return 1


def _message(error: AnalysisError | OSError) -> str:
    if isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
        return f"{error.filename or 'output'}: {reason}: check the name and the permissions"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
