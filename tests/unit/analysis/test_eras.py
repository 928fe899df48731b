# SPDX-License-Identifier: GPL-2.0-or-later
"""Eras of which no kernel is at hand: the model's traces, opened, verified, audited and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.text import Text

import analysis
from analysis.audit import audit
from analysis.trace import Trace
from analysis.verify import verify
from tests import mock_stories
from tests.mock import COUNTERS, MockTrace
from tests.mock_kernel import MockKernel

#: "subpages" is that of 6.2 to 6.9; "summed" is announced, and keeps no counts of pages.
ERAS = ("subpages", "summed")
HEAD = 0x800


def _open(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


@pytest.mark.parametrize("story", ["lifecycle", "file_thp", "seed_2015"])
@pytest.mark.parametrize("era", ERAS)
def test_story_when_the_era_has_no_kernel_here(tmp_path: Path, era: str, story: str) -> None:
    # GIVEN a story of a healthy kernel of the era
    trace = _open(getattr(mock_stories, story)(era), tmp_path)
    # WHEN it is verified and audited
    result, found = verify(trace), audit(trace).findings
    # THEN each counter that the kernel keeps of folios was compared where they live at a mark
    compared = {name for name in COUNTERS[era] if result.table[name].sum()}
    assert compared == (set() if story == "seed_2015" else set(COUNTERS[era]))
    # AND nothing differs, and nothing is found but readers
    assert len(result.differences) == 0
    assert set(found["severity"]) <= {"race"}


def test_pages_when_the_replay_alone_knows_them(tmp_path: Path) -> None:
    # GIVEN a huge page, mapped by a PMD here and by PTEs there, on the announced kernel
    mock = MockTrace("summed")
    kernel = MockKernel(mock)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, 100, new=True)
    kernel.fork(folio, 100, 101)
    kernel.split_pmd(folio, 101)
    kernel.unmap_pte(folio, 101, 7, 3)
    kernel.snapshot("end", tasks=(100, 101))
    trace = _open(mock, tmp_path)
    # WHEN its counts are asked for THEN each page's are what the page tables say
    state = trace.counts(0).at(mock.now)
    assert state.entire == 1
    assert state.pte.tolist() == [0 if 7 <= page < 10 else 1 for page in range(512)]
    result = verify(trace)
    assert result.table["page tables"].sum() == 512
    assert len(result.differences) == 0
    # AND its sum, the sum that the kernel keeps
    truth = trace.df_truth()
    assert set(truth.loc[truth["order"] == 9, "total_mapped_pages"]) == {512 + 509}
    assert truth["entire_mapcount"].isna().all()


def test_verify_when_a_page_table_entry_is_missing(tmp_path: Path) -> None:
    # GIVEN the announced kernel, and a page that a task no longer maps though nobody said so
    mock = MockTrace("summed")
    kernel = MockKernel(mock)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, 100, new=True)
    kernel.split_pmd(folio, 100)
    folio.ptes.remove((100, 44))
    kernel.snapshot("end", tasks=(100,))
    # WHEN it is verified THEN the page tables tell which page, and the sums that one is missing
    wrong = verify(_open(mock, tmp_path)).differences
    found = set(zip(wrong["counter"], wrong["subpage"], wrong["truth"], strict=True))
    assert found == {
        ("page tables", 44, 0), ("large_mapcount", -1, 511), ("total_mapped_pages", -1, 511),
    }  # fmt: skip


def test_audit_when_a_pmd_mapping_is_not_counted(tmp_path: Path) -> None:
    # GIVEN the announced kernel, whose sum of pages has one page too few for a PMD mapping
    mock = MockTrace("summed")
    kernel = MockKernel(mock)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, 100, new=True)
    kernel.emit("unmap", folio, nr=0, level="pmd", tid=100, nr_mapped=511)
    folio.pmds.clear()
    kernel.free(folio)
    # WHEN it is audited THEN the counter is named, and the operation before
    found = audit(_open(mock, tmp_path)).findings
    assert found["counter"].tolist() == ["total_mapped_pages"]
    assert found["function"].tolist() == ["folio_add_new_anon_rmap"]
    assert (found["expected"][0], found["observed"][0]) == (512, 511)


def test_older_folio_when_only_sums_are_kept(tmp_path: Path) -> None:
    # GIVEN a folio from before the recording, mapped by two PMDs and four PTEs
    mock = MockTrace("summed")
    kernel = MockKernel(mock)
    folio = kernel.older(HEAD)
    folio.pmds += [100, 101]
    folio.ptes |= {(102, page) for page in range(4)}
    kernel.snapshot("start")
    kernel.unmap_pmd(folio, 101)
    kernel.snapshot("end")
    trace = _open(mock, tmp_path)
    # WHEN it is replayed THEN the two sums told how many were of which kind
    state = trace.counts(0).at(mock.now)
    assert (state.entire, state.large_mapcount) == (1, 5)
    # AND what its pages had nobody knows
    assert set(state.pte.tolist()) == {-1}
    assert len(verify(trace).differences) == 0


def test_torn_sums_when_no_number_of_mappings_explains_them(tmp_path: Path) -> None:
    # GIVEN two records of an older folio, of which the first saw one sum changed already
    mock = MockTrace("summed")
    kernel = MockKernel(mock)
    folio = kernel.older(HEAD)
    folio.pmds += [100, 101]
    kernel.emit("migrate", folio, nr_mapped=1024 - 3)
    kernel.emit("migrate", folio)
    # WHEN it is replayed THEN the whole one tells
    assert _open(mock, tmp_path).counts(0).at(mock.now).entire == 2


@pytest.mark.parametrize("story", ["lifecycle", "file_thp"])
@pytest.mark.parametrize("era", ERAS)
def test_picture_when_the_era_has_no_kernel_here(tmp_path: Path, era: str, story: str) -> None:
    # GIVEN a story WHEN its huge page is drawn
    trace = _open(getattr(mock_stories, story)(era), tmp_path)
    figure = analysis.plot_timeline(trace, 0)
    figure.savefig(tmp_path / "life.png")
    texts = " ".join(one.get_text() for one in figure.findobj(Text))
    # THEN it says where the numbers of pages come from, and that of PMD mappings
    assert ("by the operations alone" in texts) == (era == "summed")
    assert ("by _total_mapped_pages" in texts) == (era == "summed")
    # AND the observed ones agree
    assert "observed differs from replayed" not in texts
