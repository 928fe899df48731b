# SPDX-License-Identifier: GPL-2.0-or-later
"""The offline tests on each Python that is declared, with the oldest and newest libraries.

`make versions` runs this.  An interpreter is looked for on PATH and in pyenv's folder; what is
missing is named, and is no failure.  The environments stay in the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
#: Tests that need nothing but the libraries whose versions are tried.
TESTS = ("tests/unit/analysis", "tests/integration")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mapcount/versions"


def interpreter(version: str) -> str | None:
    """A Python of a version, such as 3.12; None: there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    own = sorted(map(str, pyenv.glob(f"{version}.*/bin/python")), reverse=True)
    named = [shutil.which(f"python{version}"), *own]
    return next((python for python in named if python and _runs(python)), None)


def _runs(python: str) -> bool:
    """Whether it is more than pyenv's shim for a version that is not switched on."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def oldest(requirement: str) -> str:
    """The requirement on the lowest version that is declared."""
    found = re.fullmatch(r"([\w-]+)>=([\d.]+)(,.*)?", requirement)
    if not found:
        raise SystemExit(f"error: {requirement} declares no lowest version: write NAME>=VERSION")
    return f"{found[1]}=={found[2]}.*"


def requirements(newest: bool) -> list[str]:
    """What is installed for one run."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    libraries: list[str] = project["dependencies"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    tests = [
        each
        for each in extras["test"]
        if not each.startswith(("mypy", "ruff", "pandas-stubs", "pytest-cov"))
    ]
    if newest:
        return libraries + tests
    for_users = {each for name, extra in extras.items() if name != "test" for each in extra}
    return [oldest(each) for each in libraries] + [
        oldest(each) if each in for_users else each for each in tests
    ]


def runs() -> list[tuple[str, bool]]:
    """(Python, whether with the newest libraries): the oldest ones have wheels for the oldest."""
    return [(PYTHONS[0], False), *((version, True) for version in PYTHONS)]


def run(python: str, version: str, newest: bool) -> bool:
    """Make the environment and run the tests in it.  Returns whether they passed."""
    name = f"{version}-{'newest' if newest else 'oldest'}"
    folder = CACHE / name
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    own = str(folder / "bin/python")
    subprocess.run(
        [own, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements(newest)],
        check=True,
    )
    shown = (
        "import numpy, pandas, matplotlib as m; print(*(x.__version__ for x in (numpy, pandas, m)))"
    )
    found = subprocess.run([own, "-c", shown], capture_output=True, text=True, check=True)
    print(f"{name}: numpy, pandas, matplotlib {found.stdout.strip()}", flush=True)
    return subprocess.run([own, "-m", "pytest", "-q", *TESTS], cwd=ROOT).returncode == 0


def main() -> int:
    """Run all that can be run; 1 if any failed."""
    failed = []
    for version, newest in runs():
        python = interpreter(version)
        if python is None:
            print(f"note: no Python {version} here: not tested", file=sys.stderr)
        elif not run(python, version, newest):
            failed.append(f"{version} with the {'newest' if newest else 'oldest'} libraries")
    for name in failed:
        print(f"error: the tests fail on {name}: see above", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
