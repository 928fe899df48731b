# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of docs/python.md and the notebook do what they say."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "tests/golden/6.1-lifecycle.mapcount"
PAGE = ROOT / "docs/python.md"
NOTEBOOK = ROOT / "docs/why-split.ipynb"


def test_examples_run_when_they_are_followed_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("duckdb", "polars", "pyarrow"):
        pytest.importorskip(library)
    # GIVEN the trace that they speak of
    shutil.copy(TRACE, tmp_path / "t.mapcount")
    monkeypatch.chdir(tmp_path)
    # WHEN one after the other is run
    names: dict[str, Any] = {}
    for language, text in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if language == "python":
            exec(text, names)
        else:
            program, *argv = shlex.split(text)
            assert (language, program, main([*argv, "-q"])) == ("sh", "mapcount", 0)
    # THEN they found what is there
    assert len(names["lives"]) == 513
    assert names["at_marks"].tolist() == [1, 3, 2, 2, 1, 0, 0, 0, 0, 0]
    events = names["events"]
    assert names["per_10_ms"].sum() == (events["op"] == "unmap").sum()
    assert (tmp_path / "life.png").stat().st_size > 10_000
    # AND all three libraries agree
    ours = events[events["life"] == 0].groupby(["comm", "tid", "op"], observed=True).size()
    theirs = names["by_task"].set_index(["comm", "tid", "op"])["times"]
    assert theirs.to_dict() == ours.to_dict()
    rows = names["same"].select("comm", "tid", "op", "times").rows()
    assert rows == [(*key, times) for key, times in theirs.to_dict().items()]


def test_notebook_reaches_its_conclusion_when_it_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # GIVEN the notebook WHEN its cells are run
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shown = [cell["outputs"] for cell in notebook.cells if cell.cell_type == "code"]
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    client.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    # THEN none fails, and each shows the same kind of thing as it does on the page
    again = [cell["outputs"] for cell in notebook.cells if cell.cell_type == "code"]
    assert [_kinds(one) for one in again] == [_kinds(one) for one in shown]
    assert any("image/png" in kind for outputs in again for kind in _kinds(outputs))
    # AND the last one finds nothing wrong
    assert again[-1][0]["data"]["text/plain"] == "0"


def _kinds(outputs: list[Any]) -> list[set[str]]:
    return [set(output.get("data", {})) for output in outputs]
