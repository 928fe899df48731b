# SPDX-License-Identifier: GPL-2.0-or-later
"""Cutting the log into lives."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.trace import Trace
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

HEAD = 0x800


def _open(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


def test_lives_are_two_when_a_pfn_is_reused(tmp_path: Path) -> None:
    # GIVEN a huge page that is freed and allocated again at the same place
    trace = MockTrace()
    kernel = MockKernel(trace)
    for _ in range(2):
        folio = kernel.alloc(HEAD)
        kernel.map_pmd(folio, 100, new=True)
        kernel.unmap_pmd(folio, 100)
        kernel.free(folio)
    # WHEN the lives are cut
    lives = _open(trace, tmp_path).df_lives()
    # THEN there are two, each from its allocation to its free, with different ids
    assert lives["birth"].tolist() == ["alloc"] * 2
    assert lives["death"].tolist() == ["free"] * 2
    assert lives["events"].tolist() == [4, 4]
    assert lives["id"].nunique() == 2


def test_lives_are_two_when_the_second_allocation_was_not_seen(tmp_path: Path) -> None:
    # GIVEN a page that is mapped again after its free without an allocation record
    trace = MockTrace()
    kernel = MockKernel(trace)
    kernel.free(kernel.alloc(HEAD))
    kernel.map_pmd(kernel.older(HEAD), 100)
    # WHEN the lives are cut
    lives = _open(trace, tmp_path).df_lives()
    # THEN the second one is older than what was seen of it
    assert lives["birth"].tolist() == ["alloc", "first sight"]
    assert lives["death"].tolist() == ["free", "alive"]


def test_split_children_have_the_folio_as_parent_when_they_are_remapped(tmp_path: Path) -> None:
    # GIVEN a folio with two mapped pages that is split
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    for page in (5, 300):
        kernel.map_pte(folio, 100, page)
    kernel.split_folio(folio)
    # WHEN the lives are cut
    opened = _open(trace, tmp_path)
    lives = opened.df_lives()
    # THEN the folio ended by a split and the two pages were born by it with no mapping
    assert lives["order"].tolist() == [9, 0, 0]
    assert lives["death"].tolist() == ["split", "alive", "alive"]
    assert lives["birth"].tolist() == ["alloc", "split", "split"]
    assert lives["parent"].tolist()[1:] == [0, 0]
    assert [opened.counts(life).at(trace.now).pte.tolist() for life in (1, 2)] == [[1], [1]]


def test_the_folio_lives_on_when_its_split_fails(tmp_path: Path) -> None:
    # GIVEN a split that returns an error
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.emit("split", folio, nr=0, aux=0)
    kernel.emit("split_done", folio, nr=0, aux=-11)
    kernel.map_pmd(folio, 100)
    # WHEN the lives are cut
    lives = _open(trace, tmp_path).df_lives()
    # THEN it is one life, and alive
    assert lives["death"].tolist() == ["alive"]
    assert lives["events"].tolist() == [4]


def test_a_life_ends_unseen_when_pages_of_another_order_take_its_place(tmp_path: Path) -> None:
    # GIVEN small pages, then a folio over them, then a small page again, no split seen
    trace = MockTrace()
    kernel = MockKernel(trace)
    kernel.map_pte(kernel.older(HEAD + 7, 0), 100, 0)
    kernel.map_pmd(kernel.older(HEAD), 100)
    kernel.map_pte(kernel.older(HEAD + 7, 0), 100, 0)
    # WHEN the lives are cut
    lives = _open(trace, tmp_path).df_lives()
    # THEN the page before and the page after are different lives
    assert lives["order"].tolist() == [0, 9, 0]
    assert lives["death"].tolist() == ["unseen", "unseen", "alive"]


def test_neighbours_do_not_cut_each_other_when_orders_alternate(tmp_path: Path) -> None:
    # GIVEN an order-2 folio and a single page beside it, used in turns
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio, page = kernel.alloc(HEAD, 2), kernel.alloc(HEAD + 4, 0)
    for _ in range(3):
        kernel.map_pte(folio, 100, 1)
        kernel.map_pte(page, 100, 0)
        kernel.unmap_pte(folio, 100, 1)
        kernel.unmap_pte(page, 100, 0)
    # WHEN the lives are cut
    lives = _open(trace, tmp_path).df_lives()
    # THEN there are two of them
    assert lives["events"].tolist() == [7, 7]


def test_a_stale_reader_does_not_cut_when_it_sees_another_order(tmp_path: Path) -> None:
    # GIVEN a reader that sees a single page where a folio lives
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, 100, new=True)
    trace.record("read", HEAD + 3, order=0, tid=900)
    trace.record("read_done", HEAD + 3, order=0, tid=900, aux=0)
    kernel.unmap_pmd(folio, 100)
    # WHEN the lives are cut
    lives = _open(trace, tmp_path).df_lives()
    # THEN the life is whole and has the read
    assert lives["events"].tolist() == [5]
    assert lives["reads"].tolist() == [1]


@pytest.mark.parametrize(("free_inside", "raced"), [(True, 1), (False, 0)])
def test_a_read_is_raced_when_the_free_lies_in_its_window(
    tmp_path: Path, free_inside: bool, raced: int
) -> None:
    # GIVEN a reader's window around, or before, the free of the folio
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.emit("read", folio, 9, tid=900)
    if free_inside:
        kernel.free(folio)
    trace.record("read_done", HEAD + 9, tid=900, aux=0, freed=free_inside)
    if not free_inside:
        kernel.free(folio)
    # WHEN the windows are counted
    lives = _open(trace, tmp_path).df_lives()
    # THEN only a window that the free cuts is a race
    assert lives["reads"].tolist() == [1]
    assert lives["raced_reads"].tolist() == [raced]


def test_records_of_no_folio_belong_to_no_life(tmp_path: Path) -> None:
    # GIVEN forks, marks and new tasks beside a folio
    trace = MockTrace()
    kernel = MockKernel(trace)
    kernel.alloc(HEAD)
    trace.record("fork")
    trace.mark("here")
    trace.task_new(101, "child")
    # WHEN the lives are cut
    events = _open(trace, tmp_path).df_events()
    # THEN only the allocation has a life
    assert events["life"].tolist() == [0, -1, -1, -1]
    assert events["pfn"].tolist() == [HEAD, 0, 0, 0]


def test_there_is_no_life_when_only_readers_were_seen(tmp_path: Path) -> None:
    # GIVEN a reader's window on a folio that nobody else touched
    trace = MockTrace()
    trace.record("read", HEAD + 3, order=9, tid=900)
    trace.record("read_done", HEAD + 3, order=9, tid=900, aux=0)
    # WHEN lives are cut and windows are listed
    opened = _open(trace, tmp_path)
    # THEN there is a window and no life
    assert len(opened.df_lives()) == 0
    assert opened.windows["over_death"].tolist() == [False]
    assert opened.df_events()["life"].tolist() == [-1, -1]
