# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of who may import whom: data flows probes -> trace file -> analysis."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANALYSIS = {"numpy", "pandas", "matplotlib"}
EXTRAS = {"rich", "pyarrow", "zstandard", "dask", "bokeh", "perfetto"}
#: What the command lines have in common is beside the recorder, which is also used alone.
COMMON = {"probes.cli", "probes.errors", "probes.output", "probes.visible"}
SHARED = COMMON | {
    "probes.__version__",
    "probes.counters",
    "probes.events",
    "probes.limits",
    "probes.tracefile",
}
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
    return name in COMMON


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


#: The stages of analysis, first to last: a module imports from its own stage or an earlier one.
#: What is not named here is a reading of the file; docs/architecture.md tells what each is for.
STAGES = (
    ("reading", ()),
    ("model", ("lives", "life_table", "counters", "effects", "replay", "counts", "start_values",
               "windows", "totals", "divergence", "in_flight", "owners", "expected_at",
               "truth_frame", "clock", "part", "each_part", "doubt", "walked", "waste", "where",
               "parties", "pins", "references", "refusals")),
    ("audit", ("verify", "findings_frame", "audit")),
    ("frames", ("events_frame", "lives_frame", "counts_frame", "marks_frame", "stacks_frame",
                "tasks_frame", "waste_frame", "where_frame", "holders_frame", "refusals_frame",
                "following", "about")),
    ("trace", ("trace",)),
    ("text, plot, export, scale", ("ranking", "stats", "json_form", "stats_text", "lives_text",
               "audit_text", "verify_text", "waste_text", "where_text", "holders_text", "dump",
               "report", "page",
               "slicing", "dataset", "plot", "export")),
    ("commands", ("__init__", "__main__", "commands")),
)  # fmt: skip


def stage_of(module):
    """The number of the stage that a module of analysis belongs to."""
    first = module.split(".")[1] if "." in module else "__init__"
    return next((number for number, (_, names) in enumerate(STAGES) if first in names), 0)


def arrows():
    """(importing module, imported module) within analysis, wherever the import stands."""
    known = {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in modules()
        if path.startswith("analysis/")
    }
    for path in (path for path in modules() if path.startswith("analysis/")):
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{one.name}" for one in node.names} & known
                yield from ((name, one) for one in inner or {node.module} & known)
            elif isinstance(node, ast.Import):
                yield from ((name, one.name) for one in node.names if one.name in known)


#: The public functions are called by the commands, and by what draws for them.
PUBLIC = "analysis"


def test_stages_when_a_module_imports_another():
    # GIVEN the arrows between the modules of analysis THEN each points to an earlier stage
    wrong = [
        f"{one} -> {other}"
        for one, other in arrows()
        if other != PUBLIC and stage_of(other) > stage_of(one)
    ]
    assert not wrong, wrong


def test_imports_run_in_no_circle():
    # GIVEN the same arrows WHEN whatever imports nothing of the rest is taken away, again and again
    left = {(one, other) for one, other in arrows() if PUBLIC not in (one, other)}
    while True:
        importing = {one for one, _ in left}
        rest = {(one, other) for one, other in left if other in importing}
        if rest == left:
            break
        left = rest
    # THEN nothing is left
    assert not left, sorted(left)
