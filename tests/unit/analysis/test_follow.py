# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a trace while it is being written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import analysis
from probes.tracefile import BlockType, Writer
from tests import mock_stories
from tests.mock import write_records


def test_follow_yields_every_event_when_blocks_arrive(tmp_path: Path) -> None:
    # GIVEN a recorder that appends a block whenever what it wrote before was read
    trace = mock_stories.seed_2015()
    records = [content for kind, content in trace.items if kind is BlockType.RECORDS]
    blocks = [records[begin : begin + 10] for begin in range(0, len(records), 10)]
    path = tmp_path / "live.mapcount"
    out = Writer(str(path))
    out.json(BlockType.HEADER, trace.header())
    out.json(BlockType.TASKS, trace.tasks)
    # WHEN it is followed
    following, frames = analysis.follow(str(path), poll=0.005), []
    for block in blocks:
        write_records(out, block, ring=True)
        frames.append(next(following))
    out.json(BlockType.TRAILER, {"events": len(records), "end": "SIGINT"})
    out.close()
    # THEN each block came at once, nothing came twice, and together they are the whole file
    assert len(frames) == len(blocks) > 1
    assert list(following) == []
    together = pd.concat(frames).drop(columns=["comm"])
    whole = analysis.open_trace(str(path)).df_events().drop(columns=["comm", "life"])
    pd.testing.assert_frame_equal(together, whole, check_categorical=False)
    assert {comm for frame in frames for comm in frame["comm"]} == {"workload", "page-types"}


def test_follow_ends_when_the_trace_was_recovered(tmp_path: Path) -> None:
    # GIVEN a trace without a trailer, completed from a dead kernel's memory
    path = mock_stories.crash().write(tmp_path / "t.mapcount")
    # WHEN it is followed THEN it ends there, the recovered records among its own
    frames = list(analysis.follow(str(path), poll=0.001))
    assert frames[-1]["event"].iloc[-1] == "oops_enter"


def test_follow_raises_when_the_file_is_damaged(tmp_path: Path) -> None:
    # GIVEN a file whose second half does not match its checksum
    path = mock_stories.seed_2015().write(tmp_path / "t.mapcount")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    # WHEN it is followed THEN that is an error, not an endless wait
    with pytest.raises(analysis.AnalysisError, match="checksum"):
        list(analysis.follow(str(path), poll=0.001))
