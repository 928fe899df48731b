# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of who may import whom: data flows probes -> trace file -> analysis."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANALYSIS = {"numpy", "pandas", "matplotlib"}
EXTRAS = {"rich", "pyarrow", "zstandard", "dask"}
SHARED = {"probes.events", "probes.tracefile"}
#: bcc is imported in one module, so that everything else runs and is tested without it.
BCC_MODULE = "probes/program.py"


def modules():
    return sorted(
        path.relative_to(ROOT).as_posix()
        for folder in ("probes", "analysis", "vm")
        for path in (ROOT / folder).rglob("*.py")
    )


def imports(path):
    tree = ast.parse((ROOT / path).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "probes":
                yield from (f"probes.{name.name}" for name in node.names)
            else:
                yield node.module


def allowed(path, name):
    top = name.split(".")[0]
    folder = path.split("/")[0]
    if top in sys.stdlib_module_names or top == folder:
        return True
    if folder == "probes":
        return top == "bcc" and path == BCC_MODULE
    if folder == "analysis":
        return top in ANALYSIS | EXTRAS or name in SHARED
    return False


@pytest.mark.parametrize("path", modules())
def test_imports_when_compared_with_the_table(path):
    # GIVEN a module of the three programs
    # THEN it imports only what its folder may import
    wrong = [name for name in imports(path) if not allowed(path, name)]
    assert not wrong, f"{path} may not import {wrong}"


def test_the_recorder_when_parsed_as_the_oldest_lab_python():
    # GIVEN that Debian bullseye's recorder runs on Python 3.9
    for path in (p for p in modules() if p.startswith("probes/")):
        ast.parse((ROOT / path).read_text(), feature_version=(3, 9))
