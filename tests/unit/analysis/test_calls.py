# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that do not fit their folio are named, and those that do are not."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from tests import mock_stories
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

HEAD = 0x800
PARENT, CHILD = 100, 101


def findings(trace: MockTrace, folder: Path) -> pd.DataFrame:
    found = analysis.open_trace(str(trace.write(folder / "t.mapcount"))).df_findings()
    return found[found["rule"] == "wrong-call"]


def only(trace: MockTrace, folder: Path) -> dict[str, Any]:
    """The one wrong call that there must be."""
    found = findings(trace, folder)
    assert len(found) == 1, found["sentence"].to_string()
    one = {str(name): value for name, value in found.iloc[0].to_dict().items()}
    assert one["certainty"] == "certain" and one["tid"] == PARENT
    return one


@pytest.mark.parametrize("nr", [5, 512])
def test_pages_beyond_the_folio_are_named(tmp_path: Path, nr: int) -> None:
    # GIVEN a fault that maps more pages than a folio of 16 has from its page 12 on
    kernel = MockKernel(MockTrace("large"))
    folio = kernel.alloc(HEAD, order=4, anon=False)
    kernel.emit("map_file", folio, 12, nr=nr, tid=PARENT)
    # WHEN it is audited THEN the call is named, and how far it went
    one = only(kernel.trace, tmp_path)
    assert one["function"] == "folio_add_file_rmap_ptes"
    assert f"for pages 12 to {11 + nr} of a folio that has 16" in one["sentence"]
    assert (one["expected"], one["observed"]) == (16, 12 + nr)


def test_last_page_of_a_folio_is_not_beyond_it(tmp_path: Path) -> None:
    # GIVEN calls up to the last page of a folio, for all of it, and for a page of no folio
    kernel = MockKernel(MockTrace("large"))
    kernel.map_pte(kernel.alloc(HEAD, order=4, anon=False), PARENT, 12, 4)
    kernel.map_pte(kernel.alloc(HEAD + 16, order=4, anon=False), PARENT, 0, 16)
    kernel.map_pte(kernel.alloc(HEAD + 32, order=0), PARENT, 0)
    # WHEN they are audited THEN none is wrong
    assert findings(kernel.trace, tmp_path).empty


@pytest.mark.parametrize("era", ["double_map", "large"])
def test_pmd_mapping_of_a_smaller_folio_is_named(tmp_path: Path, era: str) -> None:
    # GIVEN a folio of 64 KiB that is mapped as if by a PMD
    kernel = MockKernel(MockTrace(era))
    kernel.map_pmd(kernel.alloc(HEAD, order=4, anon=False), PARENT)
    # WHEN it is audited THEN the level is what is wrong
    assert "for a PMD mapping of a folio of 16 pages" in only(kernel.trace, tmp_path)["sentence"]


def test_hugetlb_folio_has_a_size_of_its_own(tmp_path: Path) -> None:
    # GIVEN a hugetlb page of 1 GiB
    kernel = MockKernel(MockTrace("large"))
    folio = kernel.alloc(1 << 18, order=18)
    kernel.emit("map_anon", folio, nr=0, level="pmd", hugetlb=True, tid=PARENT)
    # WHEN its mapping is audited THEN it is in order
    assert findings(kernel.trace, tmp_path).empty


@pytest.mark.parametrize("era", ["double_map", "large"])
def test_file_call_for_anonymous_memory_is_named(tmp_path: Path, era: str) -> None:
    # GIVEN an anonymous folio of which a page is mapped again as a file's
    kernel = MockKernel(MockTrace(era))
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, PARENT, new=True)
    kernel.emit("map_file", folio, 3, tid=PARENT)
    # WHEN it is audited THEN that call is named
    one = only(kernel.trace, tmp_path)
    assert "file_rmap" in one["function"]
    assert "for an anonymous folio" in one["sentence"]


@pytest.mark.parametrize("era", ["double_map", "large"])
def test_anonymous_call_for_a_file_is_named(tmp_path: Path, era: str) -> None:
    # GIVEN a folio that two processes map, the second one as anonymous memory
    kernel = MockKernel(MockTrace(era))
    folio = kernel.alloc(HEAD, anon=False)
    kernel.map_pmd(folio, CHILD)
    kernel.emit("map_new", folio, nr=0, level="pmd", tid=PARENT)
    # WHEN it is audited THEN the second call is named
    one = only(kernel.trace, tmp_path)
    assert one["function"].endswith("_new_anon_rmap")
    assert "for a folio that was mapped as a file's before" in one["sentence"]


def test_memory_that_is_used_again_may_be_of_another_kind(tmp_path: Path) -> None:
    # GIVEN memory that was a file's, was freed, and is anonymous now
    kernel = MockKernel(MockTrace("large"))
    folio = kernel.alloc(HEAD, anon=False)
    kernel.map_pmd(folio, PARENT)
    kernel.unmap_pmd(folio, PARENT)
    kernel.free(folio)
    kernel.map_pmd(kernel.alloc(HEAD), PARENT, new=True)
    # WHEN it is audited THEN each life is in order
    assert findings(kernel.trace, tmp_path).empty


@pytest.mark.parametrize("era", ["double_map", "large"])
@pytest.mark.parametrize("dropped", [False, True])
def test_hugetlb_folio_is_anonymous_after_a_time_in_the_pool(
    tmp_path: Path, era: str, dropped: bool
) -> None:
    # GIVEN a hugetlb page of a file that becomes anonymous memory, while it is mapped, or when
    # nothing maps it: it may have been in the pool, to which it goes without a record
    kernel = MockKernel(MockTrace(era))
    folio = kernel.alloc(HEAD, anon=False)
    seen = dict(nr=0, level="pmd", hugetlb=True)
    kernel.emit("map_file", folio, tid=CHILD, **seen)
    folio.pmds.append(CHILD)
    if dropped:
        kernel.emit("unmap", folio, tid=CHILD, **seen)
        folio.pmds.remove(CHILD)
    kernel.emit("map_new", folio, tid=PARENT, **seen)
    # WHEN it is audited THEN only the first is wrong
    found = findings(kernel.trace, tmp_path)
    assert found["rule"].isin(["wrong-call"]).sum() == (not dropped)


@pytest.mark.parametrize("era", ["double_map", "subpages", "large", "uncounted", "summed"])
@pytest.mark.parametrize("story", ["lifecycle", "file_thp", "seed_2015"])
def test_healthy_kernels_call_rightly(tmp_path: Path, story: str, era: str) -> None:
    # GIVEN the stories of healthy kernels WHEN they are audited THEN every call fits
    assert findings(getattr(mock_stories, story)(era), tmp_path).empty
