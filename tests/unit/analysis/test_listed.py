# SPDX-License-Identifier: GPL-2.0-or-later
"""More breaches of a rule than are listed: the first are findings, all are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis import verify as verification
from analysis.__main__ import main
from analysis.audit.listed import Listed
from tests import hostile

PAGES = 60


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Each of many pages has a map count that no operation made, and a call that does not fit."""
    return hostile.write(tmp_path / "t.mapcount", hostile.with_findings(PAGES, 0))


def test_the_first_are_kept_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN room for three of a kind WHEN five are there THEN the three with the lowest rows are
    # kept, in the order in which they were given, and of another kind there is room still
    monkeypatch.setattr(Listed, "MOST", 3)
    room = Listed()
    assert room.first("rule", "counter", np.array([9, 1, 7, 2, 8])) == [1, 2, 3]
    assert room.first("rule", "counter", np.array([1])) == []
    assert room.first("rule", "other", np.array([1])) == [0]
    assert room.beyond == 3
    # WHEN the kernel died in one of them THEN that one has its place
    died = np.array([True, False, False, False, False])
    assert room.first("rule", "third", np.array([9, 1, 7, 2, 8]), died) == [0, 1, 3]


def test_all_are_counted_and_the_first_are_told(
    trace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace with many breaches of one kind
    everything = analysis.open_trace(str(trace)).audit
    assert everything.unlisted == 0 and len(everything.findings) == 2 * PAGES
    # WHEN there is room for seven
    monkeypatch.setattr(Listed, "MOST", 7)
    few = analysis.open_trace(str(trace)).audit
    # THEN these are the first in time, the others are counted
    first = everything.findings.groupby("rule", observed=True).head(7)
    assert few.findings["sentence"].tolist() == first["sentence"].tolist()
    left = 2 * PAGES - len(first)
    assert few.unlisted == left > 0
    # AND text and JSON say so
    assert main(["audit", str(trace), "--check"]) == 1
    told = capsys.readouterr().out
    assert f"{left} more breaches" in told and f"{left} not listed" in told
    assert main(["audit", str(trace), "--json"]) == 0
    assert f"{left} more breaches" in capsys.readouterr().err


def test_differences_are_counted_and_the_certain_ones_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN snapshots that are wrong in every page, of so many folios
    path = hostile.write(tmp_path / "t.mapcount", hostile.wrong_pages(folios=2, snapshots=2))
    everything = verification.verify(analysis.open_trace(str(path)))
    assert everything.unlisted == 0 and everything.certain == len(everything.differences) > 2000
    # WHEN there is room for fewer differences
    monkeypatch.setattr(verification, "MOST", 5)
    few = verification.verify(analysis.open_trace(str(path)))
    # THEN all are counted, the first are told, and the rules know of all
    assert few.certain == everything.certain and len(few.differences) == 5
    assert few.unlisted == everything.certain - 5
    assert main(["verify", str(path)]) == 1
    assert f"{few.unlisted} differences that are only counted" in capsys.readouterr().out
    audit = analysis.open_trace(str(path)).audit
    assert "published" not in set(audit.findings["rule"]) and audit.unlisted >= few.unlisted
