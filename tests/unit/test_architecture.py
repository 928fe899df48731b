# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/architecture.md against the tree: it names each module, and no file that is gone."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import pytest

from tests.unit.test_imports import ROOT, STAGES, modules, stage_of

TEXT = (ROOT / "docs/architecture.md").read_text()
#: Folders of files that the page names without one.
FOLDERS = ("", "probes/", "probes/bpf/", "analysis/", "analysis/audit/", "vm/", "docs/")
FILE = r"\b[\w./-]+\.(?:py|h|md|c)\b"


def stages() -> dict[str, set[str]]:
    """The modules and packages of analysis that the page names, by stage; "": those that serve
    all."""
    table = TEXT.split("\n| stage | modules | makes |\n")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([a-z, ]+) \| (`.+?) \|", table, re.M)
    found = {stage: set(re.findall(r"`([a-z_*]+)/?`", named)) for stage, named in rows}
    serving = re.findall(r"^.*serve all\.$", TEXT, re.M)[0]
    return {**found, "": set(re.findall(r"`([a-z_]+)`", serving))}


def tops() -> set[str]:
    """The modules and packages directly in analysis/, but for what makes it a program."""
    paths = (path.split("/") for path in modules())
    names = {path[1].removesuffix(".py") for path in paths if path[0] == "analysis"}
    return {name for name in names if not name.startswith("__")}


def test_stages_when_the_page_is_compared_with_the_tree() -> None:
    # GIVEN what the page says of each stage
    told = stages()
    assert [stage for stage in told if stage] == [stage for stage, _ in STAGES]
    for name in tops():
        homes = [stage for stage, named in told.items() if any(fnmatch(name, n) for n in named)]
        # THEN each module is in one of them, the one whose imports it may have
        assert len(homes) == 1, (name, homes)
        assert homes[0] in ("", STAGES[stage_of(f"analysis.{name}")][0]), name
    # AND the page names no module that is gone
    for named in (one for each in told.values() for one in each):
        assert any(fnmatch(name, named) for name in tops()), named


@pytest.mark.parametrize("folder", ("probes", "vm"))
def test_modules_when_the_page_is_compared_with_the_tree(folder: str) -> None:
    # GIVEN the table of a program's modules THEN each that there is is in it once
    table = TEXT.split(f"\n| about | modules of `{folder}` |\n")[1].split("\n\n")[0]
    there = (path.removeprefix(f"{folder}/") for path in modules() if path.startswith(f"{folder}/"))
    names = sorted(name.removesuffix(".py") for name in there if not name.startswith("__"))
    assert sorted(re.findall(r"`(\w+)`", table)) == names


@pytest.mark.parametrize("name", sorted(set(re.findall(FILE, TEXT))))
def test_file_when_the_page_names_it(name: str) -> None:
    # GIVEN a file that the page names THEN it is there
    assert any((ROOT / folder / name).exists() for folder in FOLDERS)
