# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of measurements: every file of out/bench/ is a section of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import offline, peers, table

GUEST = {
    "name": "guest",
    "title": "In the guest",
    "columns": {"tracer": "who", "instructions": "how many", "phases": "where"},
    "rows": [
        {"tracer": "ours", "instructions": 1110, "phases": {"compile": 1.5, "attach": 2}},
        {"tracer": "theirs", "instructions": None},
    ],
}


def test_page_when_made_has_each_table_and_what_its_columns_mean(tmp_path: Path) -> None:
    # GIVEN two tables WHEN the page is made
    (tmp_path / "guest.json").write_text(json.dumps(GUEST))
    (tmp_path / "also.json").write_text(json.dumps(GUEST | {"title": "Also", "rows": []}))
    lines = table.page(tmp_path).splitlines()
    # THEN each is a section, with a row a row, and its columns are explained
    assert [line for line in lines if line.startswith("## ")] == ["## Also", "## In the guest"]
    assert "| ours | 1 110 | compile 1.5, attach 2 |" in lines
    assert "| theirs | – | – |" in lines
    assert lines.count("- **tracer**: who") == 2


def test_page_when_nothing_was_measured_is_an_error(tmp_path: Path) -> None:
    # GIVEN an empty folder WHEN the page is made THEN it says what to do
    with pytest.raises(SystemExit, match="make bench"):
        table.page(tmp_path)


def test_steps_when_measured_compare_with_the_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a small file WHEN the steps are measured
    monkeypatch.setattr(offline, "STEP_EVENTS", 20_000)
    monkeypatch.setattr(offline, "STEP_LIVES", 20)
    monkeypatch.setattr(offline, "ROUNDS", 2)
    rows = offline.measure_steps(tmp_path)
    # THEN every step is there, as a ratio to itself where it is the peer
    assert [row["step"] for row in rows] == list(offline.STEPS)
    assert rows[0]["of read"] == 1 and rows[1]["of text"] == 1
    assert all(set(row) == set(offline.STEP_COLUMNS) for row in rows)


def test_scale_when_measured_again_keeps_the_other_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN sizes of which one does not fit its folios, and a row measured before
    monkeypatch.setattr(offline, "SIZES", (2_000, 30_000))
    monkeypatch.setattr(offline, "FOLIOS", (10, 100))
    before = {"command": "stats", "folios": 7, "events": 5, "CPU s": 1.0}
    # WHEN the larger ones are measured
    tables = list(offline.measure_scale(tmp_path, 2_000, 30_000, [before]))
    # THEN each file gave four rows, and the old one is still there
    assert [len(rows) for rows in tables] == [5, 9, 13]
    assert before in tables[-1]
    assert all(row["peak MiB"] > 10 for row in tables[-1] if row is not before)


def test_peers_when_their_report_is_read_count_its_lines(tmp_path: Path) -> None:
    # GIVEN a report of two events below a heading, whose fields are parted by blanks
    text = (
        "cpus=1\n touch-7 [000] 1.5: page_remove_rmap: page=0x1\n touch-7 [001] 1.6: map: x=1 y=2"
    )
    # WHEN it is piped into pandas THEN every line is a row
    assert peers.reported(["printf", f"{text}\n"]) == 3
    # AND a report that fails is an error
    with pytest.raises(SystemExit, match="exit 3"):
        peers.reported(["sh", "-c", "echo one; exit 3"])


def test_peers_when_no_guest_has_run_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN an empty folder WHEN the peers are measured THEN one line says what to run first
    monkeypatch.setattr(peers, "OUT", tmp_path)
    with pytest.raises(SystemExit, match="tests.bench.guest cost"):
        peers.measure(tmp_path)
