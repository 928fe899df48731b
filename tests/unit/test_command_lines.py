# SPDX-License-Identifier: GPL-2.0-or-later
"""The contract of all command lines: help for everything, -v and -q anywhere, no traceback."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import analysis.__main__ as analysis_main
import mapcount
import probes.__main__ as probes_main
import vm.__main__ as vm_main
from analysis.errors import AnalysisError, CommandError
from probes import cli
from probes.errors import MapcountError, ProbeError
from probes.output import OutputError
from probes.tracefile import TraceError
from vm.qmp import QmpError
from vm.say import LabError

GOLDEN = str(Path(__file__).parents[1] / "golden/6.1-lifecycle.mapcount")
PROGRAMS = (probes_main.parser, analysis_main.build_parser, vm_main.parser)


def parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


EVERY = [parser for make in PROGRAMS for parser in parsers(make())]


@pytest.mark.parametrize("parser", EVERY, ids=[parser.prog for parser in EVERY])
def test_each_option_has_its_help(parser: argparse.ArgumentParser) -> None:
    # GIVEN a parser of the three programs WHEN its options and positionals are walked
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            # THEN each command has a line in the list of commands
            told = {choice.dest: choice.help for choice in action._choices_actions}
            assert set(told) == set(action.choices) and all(told.values())
            continue
        # AND each argument says what it is for, as part of a sentence
        assert action.help, f"{parser.prog}: {action.option_strings or action.dest} has no help"
        assert not action.help.endswith("."), action.help
    # AND how the command ends
    assert "exit status" in parser.format_help()


def test_the_dispatcher_knows_every_command() -> None:
    # GIVEN the commands of the programs THEN the one command has them, and no other
    tops = [make() for make in PROGRAMS[:2]]
    served = {
        name
        for top in tops
        for action in top._actions
        if isinstance(action, argparse._SubParsersAction)
        for name in action.choices
    }
    assert served | {"lab"} == set(mapcount.COMMANDS)


@pytest.mark.parametrize(
    ("argv", "verbose", "quiet"),
    [
        (["doctor"], 0, False),
        (["-v", "doctor"], 1, False),
        (["doctor", "-v"], 1, False),
        (["-v", "doctor", "-v"], 2, False),
        (["doctor", "-vv"], 2, False),
        (["-vv", "doctor"], 2, False),
        (["-q", "doctor"], 0, True),
        (["doctor", "--quiet"], 0, True),
        (["record", "-q", "-d", "1", "--verbose", "--", "sh", "-v"], 1, True),
    ],
)
def test_verbosity_counts_wherever_it_stands(argv: list[str], verbose: int, quiet: bool) -> None:
    # GIVEN -v and -q before or behind a command WHEN it is parsed THEN they are added up
    options = probes_main.parser().parse_args(argv)
    assert (options.verbose, options.quiet) == (verbose, quiet)


@pytest.mark.parametrize(
    "command",
    [["stats", "/nonexistent"], ["record", "--pid", "4194304"], ["lab", "fetch", "nothing"]],
)
@pytest.mark.parametrize("where", [0, 1])
def test_an_error_is_a_line_and_with_vv_a_traceback(
    command: list[str], where: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # GIVEN a command of each program that fails WHEN it is run THEN even -q leaves one line
    for options in ([], ["-q"], ["-v"]):
        argv = [*options, *command] if where == 0 else [*command, *options]
        assert mapcount.main(argv) in (1, 2)
        err = capsys.readouterr().err.splitlines()
        assert err[-1].startswith("error: ") and len([e for e in err if "error" in e]) == 1
        assert "Traceback" not in "".join(err)
    # AND -vv raises, so that Python prints where it happened
    argv = ["-vv", *command] if where == 0 else [*command, "-vv"]
    with pytest.raises((MapcountError, FileNotFoundError)):
        mapcount.main(argv)


def test_an_error_of_the_system_is_a_line_and_with_vv_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # GIVEN a command in which the system refuses something
    def refused(_options: argparse.Namespace) -> int:
        raise PermissionError(13, "Permission denied", "/proc/kcore")

    # WHEN it is run THEN a line names the file
    assert cli.main(probes_main.parser, refused, ["doctor"]) == 1
    err = capsys.readouterr().err
    assert err == (
        "error: /proc/kcore: Permission denied: check the permissions, or write elsewhere\n"
    )
    # AND with -vv it is raised
    with pytest.raises(PermissionError):
        cli.main(probes_main.parser, refused, ["doctor", "-vv"])


def test_quiet_leaves_results_and_verbose_adds_notes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # GIVEN a trace that was cut short
    cut = tmp_path / "cut"
    cut.write_bytes(Path(GOLDEN).read_bytes()[:-100])
    said = {}
    for option in ("-q", "", "-v"):
        # WHEN it is read THEN the result is the same
        assert mapcount.main([option, "lives", str(cut)] if option else ["lives", str(cut)]) == 0
        out, said[option] = capsys.readouterr()
        assert "hugetlb" in out or "anon" in out
    # AND what is told besides is nothing, warnings, or warnings and notes
    assert said["-q"] == ""
    assert "warning: " in said[""] and "note: " not in said[""]
    assert said["-v"].startswith(said[""]) and "note: " in said["-v"]


def test_a_missing_module_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN a Python without what a command imports WHEN it is run
    def imports(_options: argparse.Namespace) -> int:
        return int(importlib.import_module("mapcount_needs_this").anything)

    # THEN a line names the module, and what installs it
    assert cli.main(probes_main.parser, imports, ["doctor"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: Python has no module mapcount_needs_this: ")
    assert "make setup" in err and err.count("\n") == 1


def test_errors_have_one_root() -> None:
    # GIVEN what the programs raise for users THEN all of it is a MapcountError, with a status
    for kind in (ProbeError, OutputError, TraceError, AnalysisError, LabError, QmpError):
        assert issubclass(kind, MapcountError)
        assert kind("what to do").exit_code == 1
    assert CommandError("what to do", 3).exit_code == 3
