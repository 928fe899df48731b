# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of the page tables that a snapshot walked: nothing that was not seen whole."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.trace import Trace
from analysis.verify import verify
from analysis.verify_text import verify_text
from tests.mock import MockTrace
from tests.mock_kernel import Folio, MockKernel

HEAD = 0x800
PARENT, CHILD, KSMD = 100, 101, 40


class Story:
    """Two small folios, of which the walk of page tables may find other mappings than there are."""

    def __init__(self) -> None:
        self.trace = MockTrace()
        self.kernel = MockKernel(self.trace)
        self.folio = self.kernel.alloc(HEAD, 2)
        self.other = self.kernel.alloc(HEAD + 8, 2)

    def walk_finds(self, folio: Folio, page: int, off: int) -> None:
        """The walk misses mappings of a page, or counts some twice."""
        real = folio.mappings
        folio.kpagecount = real  # type: ignore[method-assign]
        folio.mappings = (  # type: ignore[method-assign]
            lambda one: real(one) + off * (one == page)
        )

    def opened(self, folder: Path) -> Trace:
        return analysis.open_trace(str(self.trace.write(folder / "t.mapcount")))


def both(trace: Trace) -> tuple[int, int, int, int]:
    """(differences, possible) of verify, and (certain, possible) of the audit's findings."""
    result, found = verify(trace), trace.df_findings()
    certain = int((found["certainty"] == "certain").sum())
    possible = len(result.differences) - result.certain
    return result.certain, possible, certain, len(found) - certain


@pytest.mark.parametrize("off", [-1, 1])
def test_nothing_is_said_of_a_torn_address_space(tmp_path: Path, off: int) -> None:
    # GIVEN a task that ran while it was walked: an mremap() hid a mapping, or showed it twice
    story = Story()
    story.kernel.map_pte(story.folio, CHILD, 1)
    story.kernel.map_pte(story.other, PARENT, 1)
    story.walk_finds(story.folio, 1, off)
    story.kernel.snapshot("mark", (PARENT, CHILD), torn={CHILD: "ran while it was read"})
    # WHEN it is verified and audited
    trace = story.opened(tmp_path)
    result = verify(trace)
    # THEN that is no difference; the pages of the other task were compared; and it says why
    assert both(trace) == (0, 0, 0, 0)
    assert result.table["page tables"].tolist() == [4]
    assert "page tables of 1 task (101): ran while it was read" in verify_text(trace, result)


@pytest.mark.parametrize("off", [-1, 1])
def test_a_wrong_count_is_certain_where_the_task_stood_still(tmp_path: Path, off: int) -> None:
    # GIVEN a held task, and another one that was not
    story = Story()
    story.kernel.map_pte(story.folio, PARENT, 1)
    story.kernel.map_pte(story.other, CHILD, 1)
    story.walk_finds(story.folio, 1, off)
    story.kernel.snapshot("mark", (PARENT, CHILD), torn={CHILD: "ran while it was read"})
    # THEN what page tables and counts disagree in is a difference and a finding
    assert both(story.opened(tmp_path)) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    ("named", "walked", "differences"),
    [(CHILD, (PARENT,), 0), (CHILD, (PARENT, CHILD), 1), (0, (PARENT, CHILD), 0)],
)
def test_a_copy_by_fork_is_the_childs(
    tmp_path: Path, named: int, walked: tuple[int, ...], differences: int
) -> None:
    # GIVEN a fork that copied a mapping, to a child that a record names or none does
    story = Story()
    story.kernel.map_pte(story.folio, PARENT, 1)
    story.kernel.fork(story.folio, PARENT, CHILD)
    if named:
        story.trace.task_new(named, "child", tid=PARENT)
    # WHEN the walk finds the parent's mapping alone
    story.walk_finds(story.folio, 1, -1)
    story.kernel.snapshot("mark", walked)
    # THEN that is wrong only where the child's page tables were walked too
    assert both(story.opened(tmp_path)) == (differences, 0, differences, 0)


def test_copies_are_told_apart_when_a_task_forks_twice(tmp_path: Path) -> None:
    # GIVEN two folios, each copied by a fork of the same task; the second child is not walked
    story = Story()
    for folio, child in ((story.folio, CHILD), (story.other, CHILD + 1)):
        story.kernel.map_pte(folio, PARENT, 1)
        story.kernel.fork(folio, PARENT, child)
        story.trace.task_new(child, "child", tid=PARENT)
        # Neither copy is found by the walk.
        story.walk_finds(folio, 1, -1)
    story.kernel.snapshot("mark", (PARENT, CHILD))
    # THEN the first is a difference alone
    trace = story.opened(tmp_path)
    assert both(trace) == (1, 0, 1, 0)
    assert verify(trace).differences["life"].tolist() == [0]


@pytest.mark.parametrize("gone", [True, False])
def test_a_task_is_gone_when_it_leaves_no_more_records(tmp_path: Path, gone: bool) -> None:
    # GIVEN a child whose end was recorded, but whose page tables may be torn down only later
    story = Story()
    story.kernel.map_pte(story.folio, PARENT, 1)
    story.kernel.map_pte(story.folio, CHILD, 2)
    story.trace.task_exit(CHILD, "child")
    story.walk_finds(story.folio, 2, -1)
    story.kernel.snapshot("mark", (PARENT,))
    if not gone:
        story.kernel.unmap_pte(story.folio, CHILD, 2)
    # THEN a mapping that the walk did not find is a difference only if it was gone by then
    assert both(story.opened(tmp_path))[0] == int(gone)


def test_a_loss_makes_it_possible_for_both(tmp_path: Path) -> None:
    # GIVEN a page whose unmap was lost, and counted as lost
    story = Story()
    story.kernel.map_pte(story.folio, PARENT, 1)
    begin = story.trace.now
    story.folio.ptes.clear()
    story.trace.tick()
    story.trace.loss(begin, story.trace.now, [(0, "unmap", 1)])
    story.kernel.snapshot("mark", (PARENT,))
    # WHEN it is verified and audited THEN both call it possible, for the same reason
    trace = story.opened(tmp_path)
    differences, possible, certain, findings = both(trace)
    assert (differences, certain) == (0, 0)
    assert possible > 0 and findings > 0
    reasons = {*verify(trace).differences["doubt"], *trace.df_findings()["reason"]}
    assert reasons == {"1 events were lost in that time; certain if it is seen without a loss"}


def test_a_merge_during_the_snapshot_is_told_plainly(tmp_path: Path) -> None:
    # GIVEN a page that ksmd merges away while the snapshot is taken
    story = Story()
    story.kernel.map_pte(story.folio, PARENT, 1)
    mappings = set(story.folio.ptes)
    story.folio.ptes.clear()
    story.kernel.snapshot("mark", (PARENT,))
    story.folio.ptes |= mappings
    story.trace.now -= 2000
    story.kernel.unmap_pte(story.folio, KSMD, 1)
    # WHEN it is verified
    trace = story.opened(tmp_path)
    text = verify_text(trace, verify(trace))
    # THEN it says that the folio changed meanwhile, and not that nobody saw it
    assert both(trace)[::2] == (0, 0) and verify(trace).differences.shape[0] == 2
    assert "possible because the folio changed while the snapshot was taken" in text
    assert "no probe saw the change" not in text


@pytest.mark.parametrize(("tid", "differences"), [(KSMD, 0), (PARENT, 3)])
def test_an_operation_may_be_under_way_where_its_task_is_not_held(
    tmp_path: Path, tid: int, differences: int
) -> None:
    # GIVEN a snapshot that shows a page still mapped, whose unmap is the last that a CPU recorded
    story = Story()
    story.kernel.map_pte(story.folio, PARENT, 1)
    story.kernel.emit("unmap", story.folio, 1, tid=tid, cpu=1)
    story.kernel.snapshot("mark", (PARENT,))
    # THEN it is a difference only if its task stood still: what that began it had finished
    trace = story.opened(tmp_path)
    assert both(trace)[0] == differences
    assert bool(verify(trace).differences["doubt"].all()) == (differences == 0)


@pytest.mark.parametrize("last", ["deferred", "map_pte"])
def test_the_actor_of_a_finding_changes_counts(tmp_path: Path, last: str) -> None:
    # GIVEN a page that page tables map once more than was counted; the last record of its folio
    # may be that of a queueing
    story = Story()
    story.kernel.map_pte(story.folio, PARENT, 1)
    if last == "deferred":
        story.kernel.emit("deferred", story.folio)
    story.walk_finds(story.folio, 2, 1)
    story.kernel.snapshot("mark", (PARENT,))
    # THEN the operation that maps is named
    found = story.opened(tmp_path).df_findings()
    assert found["rule"].tolist() == ["page-tables"]
    assert found["function"].tolist() == ["page_add_anon_rmap"]


def test_nobody_is_named_when_no_operation_was_seen(tmp_path: Path) -> None:
    # GIVEN a page that is mapped, of a folio that was only allocated and queued
    story = Story()
    story.kernel.emit("deferred", story.folio)
    story.walk_finds(story.folio, 2, 1)
    story.kernel.snapshot("mark", (PARENT,))
    # THEN the finding says that nothing was recorded
    found = story.opened(tmp_path).df_findings()
    assert found["function"].tolist() == [""]
    assert "no operation on it was recorded" in found["sentence"].iloc[0]
    assert "deferred" not in found["sentence"].iloc[0]
