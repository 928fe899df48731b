# SPDX-License-Identifier: GPL-2.0-or-later
"""Small traces of real kernels, each of another layout: they must open, verify and read alike.

If a change of the printed text is wanted, run with MAPCOUNT_UPDATE_GOLDEN=1 and read the
difference in the commit.
"""

import os
from pathlib import Path

import pytest

import analysis
from analysis.__main__ import main

GOLDEN = Path(__file__).parents[1] / "golden"
TRACES = sorted(path.name for path in GOLDEN.glob("*.mapcount"))
KERNELS = {"5.10", "6.1", "6.12", "7.x", "6.12-arm64", "6.12-arm64-16k"}
WORKLOADS = ("lifecycle", "shmem-thp")


def test_golden_traces_when_listed():
    # GIVEN the folder THEN every kernel has a trace of a workload
    known = {f"{kernel}-{workload}.mapcount" for kernel in KERNELS for workload in WORKLOADS}
    assert set(TRACES) <= known
    assert {f"{kernel}-lifecycle.mapcount" for kernel in KERNELS} <= set(TRACES)


@pytest.mark.parametrize("name", TRACES)
def test_verify_when_run_on_a_golden_trace(name, capsys):
    # GIVEN a trace with the kernel's own counters in it
    # WHEN the replay is held against them
    status = main(["verify", str(GOLDEN / name)])
    # THEN thousands of values agree
    output = capsys.readouterr().out
    assert status == 0, output
    last = output.splitlines()[-1]
    assert last.endswith("0 differences, 0 possible")
    assert int(last.split()[0]) > 5000


@pytest.mark.parametrize("name", TRACES)
def test_audit_when_run_on_a_golden_trace(name, capsys):
    # GIVEN a trace of a kernel that nobody edited WHEN it is audited
    status = main(["audit", "--check", str(GOLDEN / name)])
    # THEN nothing is found
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", TRACES)
def test_lives_when_printed_for_a_golden_trace(name, capsys):
    # GIVEN a golden trace and the text that was right when it was recorded
    expected = GOLDEN / name.replace(".mapcount", ".lives.txt")
    # WHEN its lives are listed
    assert main(["lives", str(GOLDEN / name)]) == 0
    text = capsys.readouterr().out
    if os.environ.get("MAPCOUNT_UPDATE_GOLDEN"):
        expected.write_text(text)
    # THEN the text is the same
    assert text == expected.read_text()


@pytest.mark.parametrize("name", TRACES)
def test_timeline_when_drawn_for_a_golden_trace(name, tmp_path):
    # GIVEN a golden trace WHEN its picture is drawn THEN there is one
    trace = analysis.open_trace(str(GOLDEN / name))
    figure = analysis.plot_timeline(trace, 0)
    figure.savefig(tmp_path / "life.png")
    assert (tmp_path / "life.png").stat().st_size > 20_000
