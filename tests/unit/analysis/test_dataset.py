# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace in parts on Dask must give what it gives in one process, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dask.distributed import Client, LocalCluster

import analysis
from analysis import on_dask
from analysis import recording as recording_module
from analysis.__main__ import main
from analysis.audit import Audit, audit_part, joined
from analysis.dataset import FACTS
from analysis.trace import Trace
from analysis.verify import verify
from tests import mock_stories

GOLDEN = Path(__file__).parents[2] / "golden"
#: Traces of every era.
TRACES = ("5.10-lifecycle", "6.1-shmem-thp", "6.12-lifecycle", "7.x-shmem-thp")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a real cluster: a scheduler and two workers, each a process."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as workers:
        yield workers.scheduler_address


@pytest.fixture(params=[1, 1 << 18], ids=["parts", "whole"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Records of a part."""
    monkeypatch.setattr(recording_module, "PART", request.param)
    part: int = request.param
    return part


def exported(path: Path | str, folder: Path) -> str:
    output = folder / "dataset"
    assert main(["export", str(path), "--to", "parquet", "-o", str(output), "-q"]) == 0
    return str(output)


def race(folder: Path) -> str:
    """A trace in which there is something to find."""
    return str(mock_stories.seed_2015().write(folder / "race.mapcount"))


@pytest.mark.parametrize("name", TRACES)
def test_findings_and_differences_are_those_of_one_process(
    name: str, size: int, cluster: str, tmp_path: Path
) -> None:
    # GIVEN a recorded trace, and the dataset made of it
    path = GOLDEN / f"{name}.mapcount"
    dataset = analysis.open_dataset(exported(path, tmp_path), cluster)
    assert size > 1 or len(dataset) > 1
    # WHEN two workers audit and verify its parts THEN the results are the same to the last value
    trace = analysis.open_trace(str(path))
    pd.testing.assert_frame_equal(dataset.df_findings(), trace.df_findings())
    assert (dataset.audit.set_aside, dataset.audit.lives) == (
        trace.audit.set_aside,
        len(trace.lives),
    )
    ours, theirs = dataset.verify(), verify(trace)
    pd.testing.assert_frame_equal(ours.table, theirs.table)
    pd.testing.assert_frame_equal(ours.differences, theirs.differences)
    assert ours.checked > 0 and dataset.whole.warnings == trace.warnings


@pytest.mark.parametrize("story", ["seed_2015", "lossy", "crash"])
def test_findings_are_told_in_the_same_words(
    story: str, size: int, cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace with a race, with losses, and of a kernel that died
    path = str(getattr(mock_stories, story)().write(tmp_path / "t.mapcount"))
    dataset = exported(path, tmp_path)
    # WHEN both are audited on the command line
    told = []
    for command in (["audit", path], ["audit", dataset, "--scheduler", cluster]):
        capsys.readouterr()
        status = main([*command, "--all", "-q", "--check"])
        told.append((status, capsys.readouterr().out))
    # THEN nothing tells them apart
    assert told[0] == told[1]
    assert told[0][1]


def killed_once(whole: Trace, part: Trace) -> Audit:
    """An audit whose worker dies at the first try: a file remembers it."""
    remembered = os.environ["MAPCOUNT_TEST_KILLED"]
    try:
        os.close(os.open(remembered, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return audit_part(whole, part)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def test_what_a_killed_worker_had_to_do_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace in parts, and two workers of which one is killed in the middle of its work
    monkeypatch.setattr(recording_module, "PART", 1)
    monkeypatch.setenv("MAPCOUNT_TEST_KILLED", str(tmp_path / "killed"))
    path = race(tmp_path)
    folder = exported(path, tmp_path)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as workers,
        Client(workers) as client,
    ):
        # WHEN the parts are audited
        found = joined(analysis.open_dataset(folder, workers.scheduler_address).each(killed_once))
        # Dask gives a worker that it stops a few seconds, in which one that begins may not end.
        client.wait_for_workers(2)
    # THEN the worker did die, and nothing is missing
    assert (tmp_path / "killed").exists()
    pd.testing.assert_frame_equal(found.findings, analysis.open_trace(str(path)).df_findings())


def test_processes_of_this_machine_work_when_no_cluster_is_given(tmp_path: Path) -> None:
    # GIVEN a dataset WHEN no scheduler is named THEN local processes give the same findings
    path = race(tmp_path)
    found = analysis.open_dataset(exported(path, tmp_path)).df_findings()
    pd.testing.assert_frame_equal(found, analysis.open_trace(str(path)).df_findings())


def _own_pid(_whole: Trace, _part: Trace) -> int:
    return os.getpid()


def test_the_parts_are_worked_on_elsewhere(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a dataset of many parts WHEN each says who worked on it
    monkeypatch.setattr(recording_module, "PART", 1)
    dataset = analysis.open_dataset(exported(GOLDEN / "7.x-shmem-thp.mapcount", tmp_path), cluster)
    pids = [pid for pid, _ in dataset.each(_own_pid)]
    # THEN it was never this process
    assert len(pids) == len(dataset) > 1
    assert os.getpid() not in pids


def _command(*words: Any) -> int:
    return main([str(word) for word in words])


def test_one_line_says_what_to_do_when_it_cannot_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = race(tmp_path)
    dataset = exported(path, tmp_path)
    capsys.readouterr()

    def error() -> str:
        text = capsys.readouterr().err
        assert text.count("\n") == 1 and text.startswith("error: "), text
        return text

    # GIVEN a folder that is no dataset, or a broken one
    (tmp_path / "empty").mkdir()
    assert _command("audit", tmp_path / "empty") == 1
    assert "export --to parquet" in error()
    # GIVEN a dataset for a command that needs the whole trace
    assert _command("stats", dataset) == 1
    assert "is a folder" in error()
    # GIVEN a cluster for a single file
    assert _command("audit", path, "--scheduler", "tcp://127.0.0.1:1") == 1
    assert "export --to parquet" in error()
    # GIVEN an address at which nobody answers
    monkeypatch.setattr(on_dask, "PATIENCE", 1)
    assert _command("audit", dataset, "--scheduler", "tcp://127.0.0.1:1", "-q") == 1
    assert "dask scheduler" in error()
    # GIVEN a machine without Dask
    monkeypatch.setattr(on_dask, "find_spec", lambda _name: None)
    assert _command("audit", dataset, "-q") == 1
    assert "pip install" in error()
    # GIVEN facts that are none
    (Path(dataset) / FACTS).write_text("[]")
    assert _command("audit", dataset) == 1
    assert "export --to parquet" in error()
