# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of mapcount.py: each subcommand reaches its program, and only that program is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

import mapcount

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("argv", [["--help"], ["lab", "list"]])
def test_pandas_is_not_imported_when_it_is_not_needed(argv: list[str]) -> None:
    # GIVEN a command without numbers
    code = f"import sys, mapcount; mapcount.main({argv!r}); sys.exit('pandas' in sys.modules)"
    # WHEN it is run THEN pandas stays out
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    assert done.returncode == 0


def test_every_command_is_understood_by_its_program_when_asked_for_help() -> None:
    for name in mapcount.COMMANDS:
        # GIVEN a subcommand of the table WHEN its help is asked for THEN its program gives it
        done = subprocess.run(
            [sys.executable, "mapcount.py", name, "--help"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "usage: mapcount" in done.stdout


def test_unknown_command_is_a_usage_error_when_given(capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN a command that does not exist, and none WHEN run THEN one line says where to look
    for argv in (["bogus"], []):
        assert mapcount.main(argv) == 2
        assert capsys.readouterr().err.endswith("see `mapcount --help`\n")
