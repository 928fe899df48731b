# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that does not count the pages of a large folio (CONFIG_NO_PAGE_MAPCOUNT).

No such kernel is at hand: the traces are the model's, with its words and its header.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.divergence import divergences
from analysis.stats_text import stats_text
from analysis.trace import Trace
from analysis.verify import verify
from tests import mock_stories
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

HEAD = 0x800


def _open(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


@pytest.mark.parametrize("story", ["lifecycle", "file_thp"])
def test_verify_when_pages_are_not_counted(tmp_path: Path, story: str) -> None:
    # GIVEN a story on such a kernel WHEN it is verified
    trace = _open(getattr(mock_stories, story)("uncounted"), tmp_path)
    result = verify(trace)
    # THEN the folio's counters and the page tables agree, and no word of a page was held
    # against anything but those of order 0
    assert len(result.differences) == 0
    assert result.table["page tables"].sum() > 2000
    assert result.table["mapcount"].sum() == (512 - 64 if story == "lifecycle" else 0)
    run = trace.replay(range(len(trace.lives)))
    found = divergences(trace.log, trace.lives, run, trace.counters)
    assert sum(len(one.row) for one in found) == 0


def test_frames_when_pages_are_not_counted(tmp_path: Path) -> None:
    # GIVEN a huge page, mapped by PTEs, and a page of order 0
    mock = MockTrace("uncounted")
    kernel = MockKernel(mock)
    huge = kernel.alloc(HEAD)
    kernel.map_pmd(huge, 100, new=True)
    kernel.split_pmd(huge, 100)
    kernel.unmap_pte(huge, 100, 5)
    small = kernel.alloc(HEAD + 512, 0)
    kernel.map_pte(small, 100, 0)
    kernel.map_pte(small, 101, 0)
    kernel.snapshot("end")
    trace = _open(mock, tmp_path)
    # WHEN frames are made of it THEN what was read of the huge page's pages is not shown
    events, truth = trace.df_events(), trace.df_truth()
    assert events.loc[events["order"] == 9, "mapcount"].isna().all()
    assert truth.loc[truth["order"] == 9, "mapcount"].isna().all()
    # AND their counts come from the operations alone
    counts = trace.df_counts(0)
    pages = counts[counts["counter"] == "mapcount"]
    assert set(pages["source"]) == {"replayed"}
    assert trace.counts(0).at(mock.now).mapcount.sum() == 511
    assert "nr_pages_mapped" not in set(counts["counter"])
    # AND those of the small page are held against what was read
    assert set(trace.df_counts(1).query("counter == 'mapcount'")["source"]) == {
        "replayed",
        "observed",
    }
    assert truth.loc[truth["pfn"] == HEAD + 512, "mapcount"].tolist() == [2]


def test_verify_when_a_small_page_is_wrong(tmp_path: Path) -> None:
    # GIVEN a page of order 0 with a mapping that no record shows
    mock = MockTrace("uncounted")
    kernel = MockKernel(mock)
    small = kernel.alloc(HEAD, 0)
    kernel.map_pte(small, 100, 0)
    small.ptes.add((101, 0))
    kernel.snapshot("end")
    # WHEN it is verified THEN it is found: such pages are counted on every kernel
    result = verify(_open(mock, tmp_path))
    assert set(result.differences["counter"]) == {"mapcount", "kpagecount"}


def test_stats_when_pages_are_not_counted(tmp_path: Path) -> None:
    # GIVEN the header's own words on what is missing
    mock = mock_stories.lifecycle("uncounted")
    lost = "map counts of a large folio's pages; they come from the operations alone"
    mock.missing.append(
        {"op": "counters", "functions": ["_mapcount"], "reason": "so built", "lost": lost}
    )
    # WHEN the trace is summed up THEN it is told, and that counter is not among those kept
    text = stats_text(_open(mock, tmp_path))
    assert f"missing   _mapcount: so built; unseen: {lost}" in text
    assert "counters    entire_mapcount, large_mapcount\n" in text
