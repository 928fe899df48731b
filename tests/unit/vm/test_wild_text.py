# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of docs/wild.md: figures of runs, added up by kernel and kind of program."""

import json
from dataclasses import replace
from pathlib import Path

from vm import wild_text
from vm.matrix import CHECKED, LEFT_OUT, Booted, Cell, Matrix

STRESS = Cell(
    "6.12", "stress-map", CHECKED, events=10, lost=1, snapshots=3, checked=100,
    differences=0, possible=2, findings=1, certain=0, real={"T2": 4},
)  # fmt: skip
TEST = replace(STRESS, workload="cow", events=5, verdict="status 0, 3 passed")


def _run(folder: Path, *cells: Cell) -> Path:
    """The file that a run with these results left."""
    path = folder / "matrix.json"
    folder.mkdir()
    results = Matrix([Booted("6.12", "trixie", "6.12.118+deb13-amd64")], list(cells))
    path.write_text(json.dumps(results.as_json()))
    return path


def test_page_has_the_sums_of_several_runs_and_each_program(tmp_path: Path) -> None:
    # GIVEN two runs, the second of which repeated a program, and a page with older figures
    first = _run(tmp_path / "1", STRESS, replace(STRESS, workload="stress-tasks"))
    second = _run(
        tmp_path / "2",
        replace(STRESS, events=30),
        replace(TEST, alone="status 1, 3 failed"),
        Cell("6.12", "rmap", LEFT_OUT, "no rmap"),
    )
    page = tmp_path / "wild.md"
    page.write_text(f"# Title\n\n{wild_text.BEGIN}\nold\n{wild_text.END}\n\nThe rest.\n")
    # WHEN the tables are written
    assert wild_text.main([str(page), str(first), str(second)]) == 0
    text = page.read_text()
    # THEN the repeated program counts once, and what was not run is named
    assert "| 6.12.118+deb13-amd64 | stress-ng: 2 | 40 | 2 | 200 | 0 | 4 | 2 | 0 |" in text
    assert "| 6.12.118+deb13-amd64 | selftests: 1 | 5 | 1 | 100 | 0 | 2 | 1 | 0 |" in text
    assert "| 6.12 | stress-map | 30 | 1 | 3 | 100 | 0 | 2 | 1 | 0 | T2:4 |  |" in text
    assert "status 0, 3 passed; without the recorder: status 1, 3 failed |" in text
    assert "does not build there: `rmap` on 6.12." in text
    # AND the page around them stays
    assert text.startswith("# Title\n\n<!--") and text.endswith("-->\n\nThe rest.\n")
    assert "old" not in text
