# SPDX-License-Identifier: GPL-2.0-or-later
"""The one command, and in Python ``import mapcount``: both find our folders beside this file."""

from __future__ import annotations

import importlib
import re
import sys
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

#: Options that may stand before the command.
VERBOSITY = re.compile(r"-[vq]+|--verbose|--quiet")

HERE = str(Path(__file__).resolve().parent)

# Which package serves a subcommand. Only that one is imported: help must not wait for pandas, and
# a lab machine may have the recorder alone.
COMMANDS = {
    "record": ("probes", "record what changes the map counts of huge pages on this kernel"),
    "top": ("probes", "show the busiest folios live"),
    "compile": ("probes", "compile the probes into a file for machines without a compiler"),
    "doctor": ("probes", "check what recording needs on this kernel and host"),
    "recover": ("probes", "append what was left in a dead kernel's memory to its trace"),
    "stats": ("analysis", "totals, rates, losses and probe coverage of a trace"),
    "dump": ("analysis", "every record of a trace as one line of text"),
    "lives": ("analysis", "one line per folio life"),
    "timeline": ("analysis", "draw the map counts of a folio over time"),
    "audit": ("analysis", "check counters against operations and kernel rules, find races"),
    "verify": ("analysis", "compare the replay with the kernel's counters in the snapshots"),
    "where": ("analysis", "which process maps which folios, at which addresses, at each mark"),
    "holders": ("analysis", "who holds folios: who maps, who pinned, what is unexplained"),
    "waste": ("analysis", "memory that partially mapped folios keep unmapped, and why"),
    "report": ("analysis", "findings, pictures and totals as one HTML page"),
    "slice": ("analysis", "cut a part out of a trace, or pack all of it"),
    "export": ("analysis", "convert a trace to Parquet, CSV or Perfetto"),
    "lab": ("vm", "boot test kernels in virtual machines and record workloads there"),
}


def _ours(name: str) -> ModuleType:
    """One of our packages: people have folders of these names, too, and may stand in one."""
    sys.path.insert(0, HERE)
    try:
        package = importlib.import_module(name)
    finally:
        sys.path.remove(HERE)
    place = Path(package.__file__ or "?").resolve()
    if place.parent != Path(HERE, name):
        raise ImportError(f"{name} is {place}: import mapcount before that, or rename it")
    return package


def _program(name: str) -> ModuleType:
    """One of the three programs; they take the trace format from the recorder's package."""
    _ours("probes")
    _ours(name)
    return importlib.import_module(f"{name}.__main__")


def __getattr__(name: str) -> Any:
    """What ``analysis`` offers: ``mapcount.open_trace``, ``mapcount.plot_timeline`` and so on."""
    if name == "__version__":
        return _ours("probes").__version__
    if not name.startswith("_"):
        _ours("probes")
        public = _ours("analysis")
        if name in public.__all__:
            return getattr(public, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def usage() -> str:
    lines = [f"  {name:10}{text}" for name, (_, text) in COMMANDS.items()]
    return (
        "usage: mapcount COMMAND [ARG …]\n\n"
        "How the map counts of huge pages evolve, who changed them, and who raced with it.\n\n"
        + "\n".join(lines)
        + "\n\n`mapcount COMMAND --help` explains a command."
    )


def main(argv: list[str] | None = None) -> int:
    """Run `mapcount ARGV`; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    before = list(takewhile(VERBOSITY.fullmatch, argv))
    rest = argv[len(before) :]
    if not rest or rest[0] not in COMMANDS:
        _ours("probes")
        from probes import cli

        return cli.run(lambda: _about(rest))
    package = COMMANDS[rest[0]][0]
    status: int = _program(package).main(before + (rest[1:] if package == "vm" else rest))
    return status


def _about(argv: list[str]) -> int:
    """What is said without a command."""
    from probes import cli

    if argv[:1] in (["-h"], ["--help"]):
        cli.result(f"{usage()}\n\n{cli.STATUSES}")
        return 0
    if argv[:1] == ["--version"]:
        cli.result(f"mapcount {_ours('probes').__version__}")
        return 0
    what = f"unknown command {argv[0]!r}" if argv else "no command"
    cli.tell("error", f"{what}: see `mapcount --help`")
    return cli.USAGE


if __name__ == "__main__":
    sys.exit(main())
