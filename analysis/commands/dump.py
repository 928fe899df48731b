# SPDX-License-Identifier: GPL-2.0-or-later
"""Print every record as one line of text, to debug the trace format.

Values are raw, as in the kernel's memory; records are in file order.
"""

from __future__ import annotations

import argparse

from analysis.commands.common import INCOMPLETE, add_trace_arguments, warn
from probes import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `dump`."""
    add_trace_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Stream the lines; reads one block at a time."""
    from analysis.dump import Dump

    dump = Dump(args.file)
    for line in dump.lines():
        cli.result(line)
    for text in dump.warnings:
        warn(text)
    return INCOMPLETE if args.strict and (dump.warnings or dump.losses) else 0
