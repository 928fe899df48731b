# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Pythons and libraries `make versions` tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import versions


def program(path: Path, status: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


def test_interpreter_is_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a shim of pyenv's for a version that is not switched on, and a Python of that version
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    program(tmp_path / "shims/python3.13", 127)
    found = program(tmp_path / "versions/3.13.0/bin/python", 0)
    # THEN the latter is taken, and where neither runs none is
    assert versions.interpreter("3.13") == found
    program(tmp_path / "versions/3.13.0/bin/python", 1)
    assert versions.interpreter("3.13") is None


def test_oldest_libraries_are_those_that_are_declared() -> None:
    # GIVEN a range of versions THEN its lower end is pinned, and without one that is an error
    assert versions.oldest("pandas>=2.2.2,<4") == "pandas==2.2.2.*"
    with pytest.raises(SystemExit, match="NAME>=VERSION"):
        versions.oldest("pandas")
    # AND so are the libraries of the extras, but not the tools of the tests
    pinned = [
        each.partition("==")[0] for each in versions.requirements(newest=False) if "==" in each
    ]
    assert {"numpy", "pandas", "matplotlib", "pyarrow", "bokeh", "perfetto"} <= set(pinned)
    assert "pytest" not in pinned and not [
        each for each in versions.requirements(newest=True) if "==" in each
    ]
