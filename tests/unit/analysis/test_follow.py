# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a trace while it is being written."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import analysis
from probes.tracefile import BlockType, Writer
from tests import mock_stories
from tests.mock import write_records


def test_follow_yields_every_event_when_blocks_arrive(tmp_path: Path) -> None:
    # GIVEN a recorder that appends blocks, slowly
    trace = mock_stories.seed_2015()
    records = [content for kind, content in trace.items if kind is BlockType.RECORDS]
    path = tmp_path / "live.mapcount"
    out = Writer(str(path))

    def record() -> None:
        out.json(BlockType.HEADER, trace.header())
        out.json(BlockType.TASKS, trace.tasks)
        for begin in range(0, len(records), 10):
            time.sleep(0.02)
            write_records(out, records[begin : begin + 10], ring=True)
        out.json(BlockType.TRAILER, {"events": len(records), "end": "SIGINT"})
        out.close()

    # WHEN another thread follows it
    writer = threading.Thread(target=record)
    writer.start()
    frames = list(analysis.follow(str(path), poll=0.005))
    writer.join()
    # THEN it came in several frames, and together they are what the whole file has
    assert len(frames) > 1
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
