# SPDX-License-Identifier: GPL-2.0-or-later
"""PG_anon_exclusive and folio->mapping against the map counts: silent where they agree."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import analysis
from tests.mock import MockTrace
from tests.mock_kernel import Folio, MockKernel

HEAD = 0x800
PARENT, CHILD = 100, 101


def audited(
    folder: Path, change: Callable[[Folio], object], era: str = "large", order: int = 9,
    anon: bool = True, busy: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """The findings about a folio of a parent and its child, both of which map all its pages,
    but page 3 of which the child has dropped; CHANGE is made before a snapshot is taken."""
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, order, anon=anon)
    for pid in (PARENT, CHILD):
        for page in range(folio.pages):
            kernel.map_pte(folio, pid, page)
    if order:
        kernel.unmap_pte(folio, CHILD, 3)
    change(folio)
    trace.mark("shared")
    kernel.snapshot("shared", (PARENT, CHILD))
    if busy:
        trace.now -= 1800
        kernel.unmap_pte(folio, CHILD, 4)
    return analysis.open_trace(str(trace.write(folder / "t.mapcount"))).df_findings()


@pytest.mark.parametrize("era", ["double_map", "large"])
def test_page_that_is_exclusive_and_shared_is_named(tmp_path: Path, era: str) -> None:
    # GIVEN a folio of which fork left pages 7 to 9 exclusive, and page 3 has one mapping
    found = audited(tmp_path, lambda folio: folio.marked.update((3, 7, 8, 9)), era)
    # THEN the shared pages are named, and who mapped them
    assert list(found["rule"]) == ["exclusive-while-shared"]
    one = found.iloc[0]
    assert (one["certainty"], one["pfn"]) == ("certain", HEAD + 7)
    assert "PG_anon_exclusive is set for pages 7 to 9, mapped 2 times" in one["sentence"]
    assert "in the snapshot '0 shared', after" in one["sentence"]
    assert (one["expected"], one["observed"]) == (0, 1)
    assert one["function"].endswith(("page_add_anon_rmap", "folio_add_anon_rmap_ptes"))


def test_small_page_is_looked_at_like_a_large_folio(tmp_path: Path) -> None:
    found = audited(tmp_path, lambda folio: folio.marked.add(0), order=0)
    assert list(found["rule"]) == ["exclusive-while-shared"]
    assert "for page 0, mapped 2 times" in found.iloc[0]["sentence"]


@pytest.mark.parametrize("order", [0, 9])
def test_mapped_folio_without_a_mapping_is_named(tmp_path: Path, order: int) -> None:
    # GIVEN a folio whose mapping is NULL while it is mapped
    found = audited(tmp_path, lambda folio: setattr(folio, "mapping", 0), order=order)
    # THEN it is named
    assert list(found["rule"]) == ["mapping-gone"]
    words = f"folio->mapping is NULL, and {1 << order} of its pages are mapped in the snapshot"
    assert words in found.iloc[0]["sentence"]


def test_files_folio_is_one_that_reclaim_knows(tmp_path: Path) -> None:
    # GIVEN a mapped folio of no process's, whose mapping is NULL
    def drivers(folio: Folio) -> None:
        folio.mapping, folio.lru = 0, False

    # WHEN it is a driver's THEN that is so; of a file it is not
    assert audited(tmp_path, drivers, anon=False).empty
    found = audited(tmp_path, lambda folio: setattr(folio, "mapping", 0), anon=False)
    assert list(found["rule"]) == ["mapping-gone"]


@pytest.mark.parametrize(
    "change",
    [
        lambda folio: None,
        # Only the parent maps it; and what it marks of a file's page is another thing.
        lambda folio: folio.marked.add(3),
    ],
)
def test_healthy_folio_is_passed_in_silence(
    tmp_path: Path, change: Callable[[Folio], object]
) -> None:
    assert audited(tmp_path, change).empty


def test_bit_of_a_files_page_is_another_flag(tmp_path: Path) -> None:
    assert audited(tmp_path, lambda folio: folio.marked.add(7), anon=False).empty


def test_folio_that_changes_meanwhile_proves_nothing(tmp_path: Path) -> None:
    assert audited(tmp_path, lambda folio: folio.marked.add(7), busy=True).empty


def test_kernel_without_the_flag_is_not_asked_for_it(tmp_path: Path) -> None:
    assert audited(tmp_path, lambda folio: folio.marked.add(7), "subpages").empty


def test_kernel_without_counts_of_pages_says_nothing(tmp_path: Path) -> None:
    assert audited(tmp_path, lambda folio: folio.marked.add(7), "uncounted").empty
