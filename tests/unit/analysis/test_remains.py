# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left of each page's mappings at the end of a folio, and in what it was left."""

from pathlib import Path

import pandas as pd
import pytest

import analysis
from tests import mock, mock_stories
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

HEAD, SMALL = 0x800, 0x1200
PARENT, KHUGEPAGED = 100, 31
COLLAPSE: dict[str, mock.Probe] = {
    "collapse": ("collapse_huge_page", "collapse", "enter", 0, {}),
    "collapse_done": ("collapse_huge_page", "collapse", "return", 0, {}),
}


@pytest.fixture(autouse=True)
def with_collapses(monkeypatch: pytest.MonkeyPatch) -> None:
    for era in ("double_map", "large"):
        monkeypatch.setitem(mock.PROBES, era, mock.PROBES[era] | COLLAPSE)


def findings(trace: MockTrace, folder: Path) -> pd.DataFrame:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount"))).df_findings()


def mapped_by_pages(era: str) -> tuple[MockKernel, list[int]]:
    """A kernel with a folio whose pages one process maps, and all pages but some."""
    kernel = MockKernel(MockTrace(era))
    folio = kernel.alloc(HEAD, order=4)
    kernel.map_pte(folio, PARENT, 0, folio.pages)
    return kernel, [page for page in range(folio.pages) if page not in (5, 6, 9)]


def test_pages_are_named_when_the_heads_counters_say_nothing(tmp_path: Path) -> None:
    # GIVEN a kernel that frees a folio of which it has unmapped all pages but three
    kernel, unmapped = mapped_by_pages("double_map")
    (folio,) = kernel.folios
    for page in unmapped:
        kernel.unmap_pte(folio, PARENT, page)
    kernel.free(folio)
    # WHEN it is audited
    found = findings(kernel.trace, tmp_path)
    # THEN they are named by the operations, though the counters in the free's record are all zero
    assert found["rule"].tolist() == ["mapped-at-free"]
    assert found["observed"].tolist() == [3]
    assert "0 PMD and 3 PTE mappings left (1 of pages 5 to 6 and 9)" in found["sentence"].iloc[0]


@pytest.mark.parametrize("era", ["subpages", "large", "uncounted", "summed"])
def test_pages_are_named_when_the_folios_counters_are_left(tmp_path: Path, era: str) -> None:
    # GIVEN the same on a kernel that also counts by folio
    kernel, unmapped = mapped_by_pages(era)
    (folio,) = kernel.folios
    for page in unmapped:
        kernel.unmap_pte(folio, PARENT, page)
    kernel.free(folio)
    # WHEN it is audited
    found = findings(kernel.trace, tmp_path)
    # THEN its counters are what is found, and the operations say which pages
    assert set(found["rule"]) == {"mapped-at-free"}
    assert not {"large_mapcount", "nr_pages_mapped"}.isdisjoint(found["counter"])
    for sentence in found["sentence"]:
        assert "(1 of pages 5 to 6 and 9 by the operations)" in sentence


def test_too_many_of_one_page_do_not_make_up_for_another(tmp_path: Path) -> None:
    # GIVEN a kernel that unmaps page 3 twice, and page 4 never
    kernel = MockKernel(MockTrace("double_map"))
    folio = kernel.alloc(HEAD, order=4)
    kernel.map_pte(folio, PARENT, 3, 2)
    for _ in range(2):
        kernel.emit("unmap", folio, 3, mapcount=1, tid=PARENT)
    folio.ptes.clear()
    kernel.free(folio)
    # WHEN it is audited THEN both are told, though the sum is right
    found = findings(kernel.trace, tmp_path)
    sentence = found[found["rule"] == "mapped-at-free"]["sentence"].iloc[0]
    assert "0 PMD and 0 PTE mappings left (-1 of page 3, 1 of page 4)" in sentence


@pytest.mark.parametrize("order", [0, 4])
def test_collapse_is_named_when_the_free_lies_in_it(tmp_path: Path, order: int) -> None:
    # GIVEN a collapse that frees small pages of which it has not unmapped the last
    kernel = MockKernel(MockTrace("double_map"))
    small = kernel.alloc(SMALL, order)
    kernel.map_pte(small, PARENT, small.pages - 1)
    kernel.trace.record("collapse", tid=KHUGEPAGED)
    kernel.free(small, tid=KHUGEPAGED)
    kernel.trace.record("collapse_done", tid=KHUGEPAGED, aux=0)
    # WHEN it is audited, be it by the page's own count (order 0) or by the operations
    found = findings(kernel.trace, tmp_path)
    # THEN the collapse is what is named, not the last function that touched the page
    assert found["rule"].tolist() == ["mapped-at-free"]
    assert found["function"].tolist() == ["collapse_huge_page"]
    assert found["tid"].tolist() == [KHUGEPAGED]
    assert "inside collapse_huge_page()" in found["sentence"].iloc[0]


def test_collapse_is_not_named_when_the_free_comes_after_it(tmp_path: Path) -> None:
    # GIVEN a task that frees a mapped page between two collapses, while another task collapses
    kernel = MockKernel(MockTrace("large"))
    small = kernel.alloc(SMALL, order=0)
    kernel.map_pte(small, PARENT, 0)
    for tid in (KHUGEPAGED, PARENT):
        kernel.trace.record("collapse", tid=tid)
    kernel.trace.record("collapse_done", tid=KHUGEPAGED, aux=0)
    kernel.emit("free", small, tid=KHUGEPAGED)
    kernel.trace.record("collapse", tid=KHUGEPAGED)
    # WHEN it is audited THEN neither is blamed
    found = findings(kernel.trace, tmp_path)
    assert found["function"].tolist() == ["folio_add_anon_rmap_ptes"]


def test_migration_is_told_of_when_the_old_folio_is_freed(tmp_path: Path) -> None:
    # GIVEN a folio that is migrated, and freed with a page mapped
    kernel, unmapped = mapped_by_pages("double_map")
    (folio,) = kernel.folios
    for page in unmapped:
        kernel.unmap_pte(folio, PARENT, page)
    kernel.emit("migrate", folio, tid=PARENT)
    kernel.free(folio)
    # WHEN it is audited THEN the sentence says so
    sentence = findings(kernel.trace, tmp_path)["sentence"].iloc[0]
    assert "after its contents had moved to another folio" in sentence


def test_pages_are_named_when_a_split_forgets_some(tmp_path: Path) -> None:
    # GIVEN a folio that is split while page 5 is mapped still
    kernel = MockKernel(MockTrace("large"))
    folio = kernel.alloc(HEAD, order=4)
    kernel.map_pte(folio, PARENT, 0, 16)
    kernel.emit("split", folio, nr=0, aux=0)
    for page in (*range(5), *range(6, 16)):
        kernel.unmap_pte(folio, PARENT, page)
    kernel.emit("split_done", folio, aux=0)
    # WHEN it is audited THEN that page is named
    found = findings(kernel.trace, tmp_path)
    assert found["rule"].tolist() == ["mapped-at-split"]
    assert "with 0 PMD and 1 PTE mappings left (1 of page 5)" in found["sentence"].iloc[0]


@pytest.mark.parametrize("era", ["double_map", "subpages", "large", "uncounted", "summed"])
@pytest.mark.parametrize("story", ["lifecycle", "file_thp", "seed_2015"])
def test_nothing_is_left_by_healthy_kernels(tmp_path: Path, story: str, era: str) -> None:
    # GIVEN the stories of healthy kernels WHEN they are audited THEN nothing is left at an end
    found = findings(getattr(mock_stories, story)(era), tmp_path)
    assert not found["rule"].isin(["mapped-at-free", "mapped-at-split"]).any()
