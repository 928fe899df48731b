# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed: a wheel and a source archive of this tree, in an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.truth
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/6.1-lifecycle.mapcount"


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both files, made by the tool of CONTRIBUTING.md's RELEASING."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "venv", folder / "tools", cwd=folder)
    python = folder / "tools/bin/python"
    try:
        run(python, "-m", "pip", "install", "-q", "build", cwd=folder)
    except AssertionError as error:
        pytest.skip(f"no package index to build with: {error}")
    run(python, "-m", "build", "-o", folder, ROOT, cwd=folder)
    return folder


def test_command_works_beside_a_users_analysis_when_it_was_installed(
    built: Path, tmp_path: Path
) -> None:
    # GIVEN the wheel in an environment that has its requirements and nothing else of ours
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    bin_ = tmp_path / "env/bin"
    (wheel,) = built.glob("*.whl")
    run(bin_ / "python", "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    (site,) = (tmp_path / "env/lib").glob("python*/site-packages")
    (site / "requirements.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    # WHEN the command, and a script of theirs, run in a folder with packages of the same names
    theirs = tmp_path / "theirs"
    for name in ("analysis", "probes", "vm"):
        (theirs / name).mkdir(parents=True)
        (theirs / name / "__init__.py").write_text(f"raise SystemExit('their {name}')\n")
    told = run(bin_ / "mapcount", "stats", GOLDEN, cwd=theirs)
    script = "import mapcount, sys; print(len(mapcount.open_trace(sys.argv[1]).df_lives()))"
    (theirs / "script.py").write_text(script)
    lives = run(bin_ / "python", "script.py", GOLDEN, cwd=theirs)
    # THEN they are ours, and the page's own files are there
    assert "3081" in told and lives == "513\n"
    run(bin_ / "mapcount", "report", GOLDEN, "-o", "t.html", cwd=theirs)
    assert os.path.getsize(theirs / "t.html") > 100_000


def test_source_archive_has_docs_and_tests_when_it_is_made(built: Path) -> None:
    # GIVEN the source archive WHEN it is listed THEN one can build, test and read it
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    for name in ("README.md", "LICENSE", "Makefile", "docs/trace-format.md", "docs/why-split.ipynb",
                 "tests/golden/6.1-lifecycle.mapcount", "tests/unit/test_mapcount.py",
                 "vm/setup.sh", "probes/bpf/folio.h", "analysis/page/draw.js",
                 "analysis/py.typed"):  # fmt: skip
        assert name in names
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("build/")]
