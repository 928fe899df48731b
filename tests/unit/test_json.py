# SPDX-License-Identifier: GPL-2.0-or-later
"""What --json prints: the values of the data frames, every key documented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
import mapcount
from analysis.verify import verify
from probes import doctor
from probes.layout import Layout
from probes.plan import Missing, Plan
from probes.tracefile import FLAG_ZLIB, BlockType, Reader, Writer
from tests import mock_places, mock_stories
from tests.mock import MockTrace

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/6.1-lifecycle.mapcount"
LAYOUT = Layout(
    "btf",
    64,
    0,
    dict.fromkeys(("entire", "nr_mapped", "large"), 32),
    {"double_map": None},
    False,
    {},
)
#: Objects whose keys are names of what is counted: anything.
COUNTED = ("births", "deaths")


def printed(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> Any:
    assert mapcount.main(list(argv)) == status
    return json.loads(capsys.readouterr().out)


def keys(value: Any) -> Iterator[str]:
    """The keys of all objects in a value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key not in COUNTED:
                yield from keys(inner)
    if isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def documented(command: str) -> set[str]:
    """The words in backquotes of the command's section of docs/json.md."""
    text = (ROOT / "docs/json.md").read_text()
    section = text.split(f"\n## {command}\n")[1].split("\n## ")[0]
    return set(re.findall(r"`([^`]+)`", section))


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trace with findings, losses and a probe that is missing."""
    story = mock_stories.seed_2015(rounds=2)
    story.loss(story.now, story.now + 10, [(0, "unmap", 7)])
    return str(story.write(tmp_path_factory.mktemp("t") / "t.mapcount"))


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trace that tells where pages are mapped."""
    return str(mock_places.story().write(tmp_path_factory.mktemp("t") / "t.mapcount"))


@pytest.mark.parametrize(
    "command", ["stats", "lives", "audit", "verify", "waste", "where", "holders"]
)
def test_each_key_is_documented(
    command: str, wrong: str, placed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace of a lab kernel, and one with findings
    traces = {"verify": (str(GOLDEN),), "where": (placed,)}.get(command, (str(GOLDEN), wrong))
    found = set()
    for trace in traces:
        # WHEN a command prints JSON THEN it is one value
        found |= set(keys(printed(capsys, command, trace, "--json")))
    # AND its keys are in the docs
    assert found or command == "audit"
    assert found <= documented(command), found - documented(command)


def test_tables_have_the_values_of_the_data_frames(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace with findings WHEN its tables are printed as JSON
    trace = analysis.open_trace(wrong)
    for frame, argv in (
        (trace.df_lives().reset_index(), ["lives", "--all", wrong]),
        (trace.df_findings(), ["audit", wrong]),
        (analysis.open_trace(str(GOLDEN)).df_waste(), ["waste", str(GOLDEN)]),
    ):
        told = printed(capsys, *argv, "--json")
        # THEN they have the columns and the values of the frames
        assert len(told) == len(frame) > 0
        assert list(told[0]) == list(frame.columns)
        for name in frame.columns:
            values = [
                None if pd.api.types.is_scalar(value) and pd.isna(value) else value
                for value in frame[name].tolist()
            ]
            if name == "events" and isinstance(values[0], tuple):
                values = [list(value) for value in values]
            assert [row[name] for row in told] == values


def test_stats_add_up(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN a trace with a loss WHEN its totals are printed as JSON
    told = printed(capsys, "stats", wrong, "--json")
    trace = analysis.open_trace(wrong)
    # THEN they are those of the tables
    assert told["events"] == len(trace.df_events())
    assert sum(row["events"] for row in told["by_task"]) == told["events"]
    assert sum(row["lives"] for row in told["lives"]) == len(trace.df_lives())
    assert sum(told["births"].values()) == sum(told["deaths"].values()) == len(trace.df_lives())
    assert told["lost"] == int(trace.df_losses()["lost"].sum()) == 7
    assert [row["kind"] for row in told["losses"]] == ["ring"]


def test_verification_is_told_with_its_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace whose replay does not give what the kernel had
    damaged = analysis.open_trace(str(GOLDEN))
    assert verify(damaged).certain == 0
    story = tmp_path / "t.mapcount"
    without_unmaps(GOLDEN, story)
    # WHEN it is verified THEN JSON has the differences, and the status says that there are some
    told = printed(capsys, "verify", str(story), "--json", status=1)
    result = verify(analysis.open_trace(str(story)))
    assert told["certain"] == result.certain > 0
    assert told["checked"] == result.checked and len(told["snapshots"]) == len(result.table)
    assert len(told["differences"]) == len(result.differences)
    assert set(keys(told)) <= documented("verify")


def without_unmaps(source: Path, path: Path) -> None:
    """A copy of a trace whose plan declares no change for an unmap."""
    with Reader(str(source)) as reader, Writer(str(path)) as writer:
        for block in reader.blocks():
            if block.type == BlockType.HEADER:
                header = block.json()
                for entry in header["plan"]:
                    if entry["op"] == "unmap":
                        entry["delta"] = 0
                writer.json(BlockType.HEADER, header)
            else:
                packed = bool(block.flags & FLAG_ZLIB)
                writer.block(BlockType(block.type), block.payload, block.count, packed)


def test_a_trace_without_snapshots_is_told_and_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace in which nothing can be verified WHEN it is asked for as JSON
    story = MockTrace()
    story.record("alloc", 0x11200, order=9, nr=0)
    path = str(story.write(tmp_path / "t.mapcount"))
    assert mapcount.main(["verify", path, "--json"]) == 1
    # THEN there is a result, and a line on stderr that says why it is none
    out, err = capsys.readouterr()
    assert json.loads(out)["checked"] == 0
    assert err.startswith("error: nothing was checked")


def test_each_key_of_doctor_is_documented(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a plan with a probe, and one that is missing
    plan = Plan(missing=[Missing("dup", ("copy_page_range",), "no such symbol", "forks")])
    plan.add(
        function="page_remove_rmap", attach="kprobe", offset=0, handler="on_point", values=(),
        op="unmap", phase="point", group="rmap", delta=-1,
    )  # fmt: skip
    monkeypatch.setattr(doctor, "unpublished", list)
    report = doctor.Report(as_json=True)
    # WHEN doctor tells of it THEN it is as documented
    report.lacks("tracefs", "not mounted", "marks", fatal=False)
    report.probes(LAYOUT, plan)
    assert report.end() == 0
    told = json.loads(capsys.readouterr().out)
    assert set(keys(told)) <= documented("doctor"), set(keys(told)) - documented("doctor")
    assert told["counters"] == LAYOUT.counters and len(told["probes"]) == len(told["missing"]) == 1
