# SPDX-License-Identifier: GPL-2.0-or-later
"""The command and ``import mapcount``, where folders of the user's have the names of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/6.1-lifecycle.mapcount"


@pytest.fixture
def theirs(tmp_path):
    """A folder with packages of the user's own that say so when they are imported."""
    for name in ("analysis", "probes", "vm"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('their {name}')\n")
    return tmp_path


def python(folder, *arguments):
    """Python run in a folder that comes first wherever modules are looked for."""
    paths = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("command", [["stats", GOLDEN], ["lab", "list"], ["record", "--help"]])
def test_command_when_the_users_folders_have_our_names(theirs, command):
    # GIVEN folders of the user's in the way WHEN a command is run there THEN it is ours
    script = "import sys, mapcount; sys.exit(mapcount.main(sys.argv[1:]))"
    done = python(theirs, "-c", script, *map(str, command))
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_when_the_users_folders_have_our_names(theirs):
    # GIVEN the same folders WHEN a script of the user's asks for a trace THEN it gets one
    script = (
        "import sys, mapcount\n"
        "trace = mapcount.open_trace(sys.argv[1])\n"
        "figure = mapcount.plot_timeline(trace, 0)\n"
        "print(len(trace.df_lives()), mapcount.__version__)\n"
    )
    done = python(theirs, "-c", script, str(GOLDEN))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0


def test_import_when_a_package_of_the_users_is_there_already(tmp_path):
    # GIVEN a script that has imported its own package of that name
    (tmp_path / "analysis.py").write_text("")
    done = python(tmp_path, "-c", "import analysis, mapcount; mapcount.open_trace('x')")
    # THEN the error names it and says what to do
    assert "ImportError: analysis is" in done.stderr
    assert "import mapcount before that, or rename it" in done.stderr


def test_attribute_when_there_is_none():
    # GIVEN the module WHEN something else is asked for THEN it is the usual error
    done = python(ROOT, "-c", "import mapcount; mapcount.nothing")
    assert "AttributeError: module 'mapcount' has no attribute 'nothing'" in done.stderr
