# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's death as the analysis has it: from a record, from the console, from neither."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.dump import Dump
from analysis.verify import verify
from probes.tracefile import BlockType, TraceError, Writer
from tests import mock_stories
from tests.mock import MockTrace


def _with_block(folder: Path, trace: MockTrace, kind: BlockType, content: Any) -> str:
    """A trace without a trailer, and one more block."""
    path = trace.write(folder / "t.mapcount", trailer=False)
    with Writer(str(path), at=path.stat().st_size) as writer:
        writer.json(kind, content)
    return str(path)


def test_there_is_no_oops_when_the_kernel_lived(tmp_path: Path) -> None:
    # GIVEN an ordinary trace THEN nothing says that its kernel died
    trace = analysis.open_trace(str(mock_stories.lifecycle().write(tmp_path / "t.mapcount")))
    assert trace.oops is None
    assert trace.recovery is None


def test_the_records_time_counts_when_a_probe_saw_the_oops(tmp_path: Path) -> None:
    # GIVEN an oops with a record of its own
    trace = analysis.open_trace(str(mock_stories.crash().write(tmp_path / "t.mapcount")))
    assert trace.oops is not None
    # THEN the record has the time, the console the words without their stamp
    assert trace.oops.ts == trace.log.ts[-1]
    assert trace.oops.ts == trace.log.ts[-1]
    assert trace.oops.within_ns == 0
    assert trace.oops.title == "page dumped because: VM_BUG_ON_PAGE(!PageHead(page))"


def test_the_oops_is_told_when_the_kernel_survived_it(tmp_path: Path) -> None:
    # GIVEN an oops in a recording that went on
    mock = mock_stories.seed_2015()
    mock.record("oops", tid=900)
    trace = analysis.open_trace(str(mock.write(tmp_path / "t.mapcount")))
    # THEN its thread is named, and the trace is not called incomplete
    assert trace.oops is not None and trace.oops.title == "oops_enter by tid 900"
    assert not trace.warnings


def test_the_consoles_time_counts_when_no_probe_saw_the_oops(tmp_path: Path) -> None:
    # GIVEN a kernel whose oops could not be probed, but whose console was kept
    mock = mock_stories.lifecycle()
    words = {"lines": ["[    7.5] Kernel panic"], "monotonic_ns": mock.now, "within_ns": 4000}
    path = _with_block(tmp_path, mock, BlockType.OOPS, words)
    # THEN the time is that of its first line, with its uncertainty
    oops = analysis.open_trace(path).oops
    assert oops is not None
    assert (oops.ts, oops.within_ns) == (mock.now, 4000)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (BlockType.OOPS, {"lines": None}),
        (BlockType.OOPS, [1]),
        (BlockType.OOPS, {"lines": [], "monotonic_ns": "soon"}),
        (BlockType.RECOVERY, [1]),
        (BlockType.RECOVERY, {"events": []}),
        (BlockType.RECOVERY, {"events": 1 << 70}),
        (BlockType.TASKS, [[1 << 70, 1, "large"]]),
        (BlockType.LOSS, {"from": 0, "to": 1, "kind": "ring"}),
        (BlockType.LOSS, {"from": 0, "to": 1 << 70, "kind": "ring", "lost": [[0, 1, 2]]}),
    ],
)
def test_one_error_says_so_when_a_block_holds_nonsense(
    tmp_path: Path, kind: BlockType, content: Any
) -> None:
    # GIVEN a whole block that no recovery writes
    path = _with_block(tmp_path, mock_stories.lossy(), kind, content)
    # WHEN the trace is opened THEN this is one error, as for any other block
    with pytest.raises(analysis.AnalysisError, match="what no recorder writes"):
        analysis.open_trace(path)


def test_one_error_says_so_when_the_words_are_missing(tmp_path: Path) -> None:
    # GIVEN an oops without words WHEN the file is dumped THEN this is one error, too
    path = _with_block(tmp_path, mock_stories.lossy(), BlockType.OOPS, {"monotonic_ns": 1})
    with pytest.raises(TraceError, match="what no recorder writes"):
        list(Dump(path).lines())


@pytest.mark.parametrize(
    ("table", "name", "place"),
    [("fields", "flags", None), ("fields", "mapcount", 64), ("fields", "entire", 1000),
     ("bits", "head", None), ("bits", "head", 64)],
)  # fmt: skip
def test_snapshots_are_left_out_when_the_header_cannot_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, name: str, place: int | None
) -> None:
    # GIVEN a trace whose header has no place, or an impossible one, of what snapshots are made of
    mock = mock_stories.lifecycle()
    header = copy.deepcopy(mock.header())
    header["layout"][table][name] = place
    monkeypatch.setattr(mock, "header", lambda: header)
    trace = analysis.open_trace(str(mock.write(tmp_path / "t.mapcount")))
    # WHEN it is verified or audited THEN nothing is compared with them, and a warning says why
    assert verify(trace).checked == 0
    assert len(trace.df_findings()) == 0
    assert [warning for warning in trace.warnings if "does not decode" in warning]


def test_the_trace_opens_when_the_words_are_few(tmp_path: Path) -> None:
    # GIVEN an oops without lines and without a time
    path = _with_block(tmp_path, mock_stories.lossy(), BlockType.OOPS, {"lines": []})
    # WHEN it is opened THEN it has no time, and a picture needs none
    trace = analysis.open_trace(path)
    assert trace.oops is not None and trace.oops.ts is None
    analysis.plot_timeline(trace, 0)
