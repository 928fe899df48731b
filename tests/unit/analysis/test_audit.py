# SPDX-License-Identifier: GPL-2.0-or-later
"""The audit: silent on a kernel that keeps the rules, and loud at the first breach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.__main__ import main
from tests import mock, mock_stories
from tests.mock import MockTrace
from tests.mock_kernel import Folio, MockKernel

HEAD = 0x800
PARENT, CHILD, READER = 100, 101, 900
ERAS = ("double_map", "large")


class Story:
    """A folio that was allocated and mapped by PMD, in a kernel that can be told to err."""

    def __init__(self, era: str = "double_map", order: int = 9) -> None:
        self.trace = MockTrace(era)
        self.kernel = MockKernel(self.trace)
        self.folio: Folio = self.kernel.alloc(HEAD, order)

    def shared(self) -> Story:
        self.kernel.map_pmd(self.folio, PARENT, new=True)
        self.kernel.fork(self.folio, PARENT, CHILD)
        return self

    def findings(self, folder: Path) -> pd.DataFrame:
        path = self.trace.write(folder / "t.mapcount")
        return analysis.open_trace(str(path)).df_findings()

    def only(self, folder: Path) -> dict[str, Any]:
        """The one finding that there must be."""
        found = self.findings(folder)
        assert len(found) == 1, found[["rule", "sentence"]].to_string()
        return {str(name): value for name, value in found.iloc[0].to_dict().items()}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("story", ["lifecycle", "file_thp"])
def test_findings_are_none_when_the_kernel_keeps_the_rules(
    tmp_path: Path, story: str, era: str
) -> None:
    # GIVEN the story of a healthy kernel WHEN it is audited
    path = getattr(mock_stories, story)(era).write(tmp_path / "t.mapcount")
    # THEN there is nothing to say
    assert analysis.open_trace(str(path)).df_findings().empty


def test_race_is_named_when_the_folio_is_freed_under_a_reader(tmp_path: Path) -> None:
    # GIVEN five lives, two of which end while page-types looks at them
    path = mock_stories.seed_2015().write(tmp_path / "t.mapcount")
    # WHEN it is audited
    found = analysis.open_trace(str(path)).df_findings()
    # THEN these two are certain, and both parties are named
    assert found["rule"].tolist() == ["reader-race"] * 2
    assert found["certainty"].tolist() == ["certain"] * 2
    assert found["comm"].tolist() == ["page-types"] * 2
    assert found["other_tid"].tolist() == [PARENT] * 2
    assert "page-types/900 read for" in found["sentence"].iloc[0]
    assert "freed the folio" in found["sentence"].iloc[0]


def test_race_is_named_when_the_reader_never_came_back(tmp_path: Path) -> None:
    # GIVEN a reader that was inside when the folio was freed, and no record of it since
    story = Story().shared()
    story.kernel.exit(story.folio, CHILD)
    story.kernel.exit(story.folio, PARENT)
    story.kernel.emit("read", story.folio, 7, tid=READER, cpu=1)
    story.kernel.free(story.folio)
    # WHEN it is audited THEN that is the finding
    one = story.only(tmp_path)
    assert (one["rule"], one["tid"], one["pfn"]) == ("reader-race", READER, HEAD + 7)
    assert "did not return" in one["sentence"]


def test_race_is_named_when_the_folio_is_allocated_under_a_reader(tmp_path: Path) -> None:
    # GIVEN a page that becomes part of a folio while somebody looks at it
    trace = MockTrace()
    kernel = MockKernel(trace)
    old = kernel.alloc(HEAD, 0)
    kernel.free(old)
    kernel.emit("read", old, tid=READER, cpu=1, freed=True)
    kernel.alloc(HEAD, 9)
    trace.record("read_done", HEAD, tid=READER, cpu=1, aux=0)
    # WHEN it is audited
    found = analysis.open_trace(str(trace.write(tmp_path / "t.mapcount"))).df_findings()
    # THEN it is a race with the allocation
    assert found["rule"].tolist() == ["reader-race"]
    assert "allocated the folio" in found["sentence"].iloc[0]


def test_reader_is_named_when_it_asks_about_a_page_that_nothing_maps(tmp_path: Path) -> None:
    # GIVEN a kernel whose smaps asks for the map counts of pages that are being moved
    story = Story().shared()
    story.kernel.exit(story.folio, CHILD)
    story.kernel.exit(story.folio, PARENT)
    for page in (3, 4):
        story.kernel.emit("ask", story.folio, page, tid=READER, cpu=1)
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN the first of them is certain, and names the reader and who unmapped the page
    assert (one["rule"], one["certainty"]) == ("asked-unmapped", "certain")
    assert (one["function"], one["tid"], one["pfn"]) == ("smaps_pte_range", READER, HEAD + 3)
    assert one["other_tid"] == PARENT
    assert "asked for the map count of page 3 by smaps_pte_range()" in one["sentence"]


def test_function_is_named_when_an_unmap_lowers_nothing(tmp_path: Path) -> None:
    # GIVEN a kernel whose page_remove_rmap() forgets page 5, and later looks at it again
    story = Story().shared()
    story.kernel.split_pmd(story.folio, CHILD)
    story.kernel.unmap_pte(story.folio, CHILD, 5)
    story.folio.ptes.add((-1, 5))
    story.kernel.map_pte(story.folio, CHILD, 5)
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN the books stop balancing there, and the last operation before is named
    assert (one["rule"], one["certainty"]) == ("double-entry", "certain")
    assert one["function"] == "page_remove_rmap"
    assert (one["counter"], one["expected"], one["observed"]) == ("mapcount", 1, 2)
    assert one["tid"] == CHILD and one["pfn"] == HEAD + 5
    assert len(one["events"]) == 2


def test_zap_of_the_page_is_named_when_a_split_of_all_came_after_it(tmp_path: Path) -> None:
    # GIVEN a kernel whose page_remove_rmap() forgets page 300, before another PMD is split
    story = Story().shared()
    story.kernel.split_pmd(story.folio, CHILD)
    story.kernel.unmap_pte(story.folio, CHILD, 300)
    story.folio.ptes.add((-1, 300))
    story.kernel.split_pmd(story.folio, PARENT)
    story.kernel.snapshot("end")
    # WHEN it is audited
    found = story.findings(tmp_path)
    one = found[found["counter"] == "mapcount"].iloc[0]
    # THEN the operation on that page alone is named, and the other one is told
    assert one["function"] == "page_remove_rmap"
    assert one["pfn"] == HEAD + 300
    assert "which fits best of 2 operations" in one["sentence"]
    assert one["sentence"].endswith("(__split_huge_pmd())")


@pytest.mark.parametrize("era", ERAS)
def test_split_is_named_when_it_leaves_a_page_a_mapping_too_many(tmp_path: Path, era: str) -> None:
    # GIVEN a kernel that splits a folio, and maps page 9 again, which has a count by then
    story = Story(era)
    story.kernel.emit("split", story.folio, nr=0, aux=0)
    for page in (8, 9):
        small = Folio(HEAD + page, 0, True, era=era, ptes={(-1, 0)} if page == 9 else set())
        story.kernel.emit("map_anon", small)
    story.kernel.emit("split_done", Folio(HEAD, 0, True, era=era), aux=0)
    # WHEN it is audited THEN nobody else touched the page: it was the split
    found = story.findings(tmp_path)
    found = found[found["pfn"] == HEAD + 9]
    names = {"double_map": "split_huge_page_to_list", "large": "split_huge_page_to_list_to_order"}
    assert found["function"].tolist() == [names[era]]


def test_function_is_named_when_it_forgets_a_page_in_nr_pages_mapped(tmp_path: Path) -> None:
    # GIVEN a kernel that maps all pages of a folio in a PMD split, and counts but 511 as mapped
    class Forgetful(Folio):
        def nr_pages_mapped(self) -> int:
            return super().nr_pages_mapped() - bool(self.ptes)

    story = Story("large")
    story.kernel.folios = [Forgetful(HEAD, 9, True, era="large")]
    story.folio = story.kernel.folios[0]
    story.shared().kernel.split_pmd(story.folio, CHILD)
    story.kernel.emit("deferred", story.folio)
    story.kernel.snapshot("split")
    # WHEN it is audited
    found = story.findings(tmp_path)
    found = found[found["rule"] == "double-entry"]
    # THEN it is not the last function before the snapshot that is named, but the one that forgot
    assert found["counter"].tolist() == ["nr_pages_mapped"]
    assert found["function"].tolist() == ["folio_add_anon_rmap_ptes"]


@pytest.mark.parametrize("era", ERAS)
def test_page_is_named_when_only_a_snapshot_shows_it(tmp_path: Path, era: str) -> None:
    # GIVEN a page that an unmap left behind and that nobody touches again
    story = Story(era).shared()
    story.kernel.split_pmd(story.folio, CHILD)
    story.kernel.unmap_pte(story.folio, CHILD, 5)
    story.folio.ptes.add((-1, 5))
    story.kernel.snapshot("after", tasks=())
    # WHEN it is audited
    found = story.findings(tmp_path)
    # THEN the counters that the page moves are named, at the unmap
    wanted = {"mapcount"} if era == "double_map" else {
        "mapcount", "large_mapcount", "nr_pages_mapped"}  # fmt: skip
    assert set(found["counter"]) == wanted
    assert set(found["rule"]) == {"double-entry"}
    unmap = "page_remove_rmap" if era == "double_map" else "folio_remove_rmap_ptes"
    assert set(found["function"]) == {unmap}
    assert "snapshot '0 after'" in found["sentence"].iloc[0]


def test_double_map_is_named_when_a_split_does_not_set_it(tmp_path: Path) -> None:
    # GIVEN a kernel that splits one of two PMD mappings and leaves DoubleMap alone
    story = Story().shared()
    story.kernel.split_pmd(story.folio, CHILD)
    story.folio.doubled = False
    story.kernel.unmap_pte(story.folio, CHILD, 9)
    # WHEN it is audited
    found = story.findings(tmp_path)
    # THEN the bit and the offset that is missing are found, at the split
    assert set(found["rule"]) == {"double-map"}
    assert set(found["counter"]) == {"double_map", "mapcount"}
    assert set(found["function"]) == {"__split_huge_pmd"}


def test_offset_is_named_when_one_page_lacks_it(tmp_path: Path) -> None:
    # GIVEN a snapshot of a DoubleMap folio whose last page missed the offset
    story = Story().shared()
    story.kernel.split_pmd(story.folio, CHILD)
    story.folio.ptes.remove((CHILD, 511))
    story.kernel.snapshot("split")
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN it is the split's doing
    assert (one["rule"], one["function"]) == ("double-map", "__split_huge_pmd")
    assert one["pfn"] == HEAD + 511


def test_underflow_is_named_when_a_count_falls_below_zero(tmp_path: Path) -> None:
    # GIVEN a page that is unmapped once more than it was mapped
    story = Story(order=2)
    story.kernel.map_pte(story.folio, PARENT, 0)
    story.kernel.unmap_pte(story.folio, PARENT, 0)
    story.trace.record("unmap", HEAD, order=2, tid=CHILD, refcount=9, anon=True)
    story.trace.record("deferred", HEAD, order=2, mapcount=-1, tid=CHILD, refcount=9, anon=True)
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN the count below zero is found, and who made it so
    assert (one["rule"], one["observed"], one["tid"]) == ("underflow", -1, CHILD)


@pytest.mark.parametrize("era", ERAS)
def test_free_is_named_when_the_folio_is_still_mapped(tmp_path: Path, era: str) -> None:
    # GIVEN a folio that is freed with one PMD mapping left
    story = Story(era).shared()
    story.kernel.exit(story.folio, CHILD)
    story.kernel.free(story.folio, tid=CHILD)
    # WHEN it is audited
    found = story.findings(tmp_path)
    # THEN the counters that are left are named, with whoever freed it
    assert set(found["rule"]) == {"mapped-at-free"}
    assert "entire_mapcount" in set(found["counter"])
    assert set(found["other_tid"]) == {CHILD}


def test_split_is_named_when_mappings_are_left(tmp_path: Path) -> None:
    # GIVEN a folio that is split though a PMD mapping of it is left
    story = Story().shared()
    story.kernel.emit("split", story.folio, nr=0, aux=0)
    story.kernel.emit("split_done", Folio(HEAD, 0, True), aux=0)
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN that is the finding
    assert (one["rule"], one["observed"]) == ("mapped-at-split", 2)
    assert "2 PMD and 0 PTE mappings left" in one["sentence"]


def test_reference_is_missed_when_a_free_page_is_mapped(tmp_path: Path) -> None:
    # GIVEN a mapping of a page that nobody holds
    story = Story(order=0)
    story.kernel.free(story.folio)
    story.trace.record("map_anon", HEAD, tid=CHILD, refcount=0, anon=True, freed=True)
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN it is found
    assert (one["rule"], one["observed"]) == ("map-without-reference", 0)


def test_references_are_missed_when_there_are_fewer_than_mappings(tmp_path: Path) -> None:
    # GIVEN three mappings of a page that has two references
    story = Story(order=2)
    for pid in (PARENT, CHILD):
        story.kernel.map_pte(story.folio, pid, 0)
    story.kernel.emit("map_anon", story.folio, tid=CHILD, refcount=2)
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN both numbers are told
    assert (one["rule"], one["expected"], one["observed"]) == ("refcount-below-mapcount", 3, 2)


def test_counters_are_named_when_they_contradict_each_other(tmp_path: Path) -> None:
    # GIVEN a kernel whose sum of mappings is one too many, in a snapshot
    story = Story("large", order=2)
    story.kernel.map_pte(story.folio, PARENT, 0, 2)
    monkey = story.folio.large_mapcount
    story.folio.large_mapcount = lambda: monkey() + 1  # type: ignore[method-assign]
    story.kernel.snapshot("wrong")
    # WHEN it is audited
    found = story.findings(tmp_path)
    # THEN the folio's own counters are told apart, and from the books
    assert set(found["rule"]) == {"double-entry", "counters-disagree"}
    assert set(found["counter"]) == {"large_mapcount"}


def test_page_tables_are_held_against_the_count(tmp_path: Path) -> None:
    # GIVEN a mapping that page tables hold and no counter knows
    story = Story(order=2)
    story.kernel.map_pte(story.folio, PARENT, 1)
    real = story.folio.mappings
    story.folio.kpagecount = real  # type: ignore[method-assign]
    story.folio.mappings = lambda page: real(page) + (page == 2)  # type: ignore[method-assign]
    story.kernel.snapshot("wrong", tasks=(PARENT,))
    # WHEN it is audited
    found = story.findings(tmp_path)
    # THEN it is found
    assert set(found["rule"]) == {"page-tables"}


def test_leak_is_possible_when_the_tasks_are_gone(tmp_path: Path) -> None:
    # GIVEN a mapping that is left when its only task ends
    story = Story(order=2)
    story.kernel.map_pte(story.folio, PARENT, 0)
    story.trace.task_exit(PARENT, "workload")
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN it is called possible, with what would make it certain
    assert (one["rule"], one["certainty"]) == ("leak", "possible")
    assert "certain if" in one["reason"]


def test_leak_is_none_when_a_split_mapped_the_page_for_others(tmp_path: Path) -> None:
    # GIVEN somebody else's older folio, that a task splits before it ends
    trace = MockTrace()
    kernel = MockKernel(trace)
    folio = kernel.older(HEAD)
    folio.ptes |= {(CHILD, page) for page in range(512)}
    kernel.split_folio(folio, actor=PARENT)
    trace.task_exit(PARENT, "workload")
    # WHEN it is audited THEN its pages are not taken for leaked
    path = trace.write(tmp_path / "t.mapcount")
    assert analysis.open_trace(str(path)).df_findings().empty


def test_finding_is_possible_when_events_were_lost(tmp_path: Path) -> None:
    # GIVEN an unmap that was lost, and counted as lost
    path = mock_stories.lossy().write(tmp_path / "t.mapcount")
    # WHEN it is audited
    found = analysis.open_trace(str(path)).df_findings()
    # THEN the difference that it makes is only possible
    assert set(found["certainty"]) == {"possible"}
    assert found["reason"].str.contains("37 events were lost in that time; certain if").all()


def test_finding_is_possible_when_a_probe_is_missing(tmp_path: Path) -> None:
    # GIVEN a page that somebody unmapped unseen, in a recording without a probe for it
    story = Story(order=2)
    story.kernel.map_pte(story.folio, PARENT, 0)
    story.folio.ptes.clear()
    story.kernel.map_pte(story.folio, PARENT, 0)
    lost = {"op": "unmap", "functions": ["page_remove_rmap"], "reason": "none", "lost": "all"}
    story.trace.missing.append(lost)
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN the doubt names the probe
    assert one["certainty"] == "possible"
    assert "no probe on page_remove_rmap" in one["reason"]


def test_observation_is_set_aside_when_another_cpu_was_at_work(tmp_path: Path) -> None:
    # GIVEN two CPUs at once: the second looks before the first has raised the count
    story = Story(order=2)
    story.kernel.emit("map_anon", story.folio, tid=PARENT, cpu=0)
    story.kernel.emit("map_anon", story.folio, tid=CHILD, cpu=1)
    story.folio.ptes |= {(PARENT, 0), (CHILD, 0)}
    story.kernel.unmap_pte(story.folio, CHILD, 0)
    # WHEN it is audited
    path = story.trace.write(tmp_path / "t.mapcount")
    trace = analysis.open_trace(str(path))
    # THEN that observation is no evidence, and is counted
    assert trace.df_findings().empty
    assert trace.audit.set_aside == 1


@pytest.mark.parametrize("cpu", [0, 1])
def test_observation_is_set_aside_when_a_split_was_entered_and_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: int
) -> None:
    # GIVEN a split of a PMD whose task is preempted before it begins, by one that looks
    monkeypatch.setitem(
        mock.PROBES["double_map"], "split_pmd", ("__split_huge_pmd", "split_pmd", "enter", -1, {})
    )
    monkeypatch.setitem(
        mock.PROBES["double_map"], "split_done", ("__split_huge_pmd", "split_pmd", "return", 0, {})
    )
    story = Story(order=9)
    for pid in (PARENT, CHILD, READER):
        story.kernel.map_pmd(story.folio, pid, new=pid == PARENT)
    story.kernel.emit("split_pmd", story.folio, nr=0, level="pmd", tid=PARENT, cpu=0)
    story.kernel.emit("unmap", story.folio, nr=0, level="pmd", tid=CHILD, cpu=cpu)
    story.folio.pmds.remove(CHILD)
    # AND it goes on, and the split is done
    story.folio.pmds.remove(PARENT)
    story.folio.ptes |= {(PARENT, page) for page in range(512)}
    story.folio.doubled = True
    story.kernel.emit("split_done", story.folio, nr=0, level="pmd", tid=PARENT, cpu=0)
    story.kernel.unmap_pte(story.folio, PARENT, 0)
    # WHEN it is audited
    trace = analysis.open_trace(str(story.trace.write(tmp_path / "t.mapcount")))
    # THEN what was seen in between is no evidence, and is counted; a wrong count after it is
    assert trace.df_findings().empty
    assert trace.audit.set_aside >= 1
    story.kernel.emit("deferred", story.folio, tid=CHILD, cpu=cpu)
    story.kernel.emit("deferred", story.folio, tid=CHILD, cpu=0, entire=5)
    assert story.only(tmp_path)["counter"] == "entire_mapcount"


def test_observation_is_set_aside_when_it_is_later_than_its_time(tmp_path: Path) -> None:
    # GIVEN a CPU that took the time, was held up, and saw what another CPU did after that
    story = Story(order=2)
    for pid in (PARENT, CHILD):
        story.kernel.map_pte(story.folio, pid, 0)
    story.kernel.emit("unmap", story.folio, tid=CHILD, cpu=1, mapcount=1)
    story.kernel.emit("unmap", story.folio, tid=PARENT, cpu=0, mapcount=2)
    story.folio.ptes.clear()
    story.kernel.emit("deferred", story.folio, tid=CHILD, cpu=1)
    # WHEN it is audited
    trace = analysis.open_trace(str(story.trace.write(tmp_path / "t.mapcount")))
    # THEN what either of the two saw is no evidence, and is counted
    assert trace.df_findings().empty
    assert trace.audit.set_aside == 2


def test_audit_tells_and_exits_1_when_asked_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace with two races
    path = str(mock_stories.seed_2015().write(tmp_path / "t.mapcount"))
    # WHEN it is audited, with and without --check, and as JSON
    plain = main(["audit", path])
    text = capsys.readouterr().out
    checked = main(["audit", path, "--check", "--json"])
    listed = json.loads(capsys.readouterr().out)
    # THEN only --check makes it an error, and both say the same
    assert (plain, checked) == (0, 1)
    assert "2 findings: 2 certain, 0 possible" in text
    assert [one["rule"] for one in listed] == ["reader-race"] * 2
    assert listed[0]["sentence"] in text


def test_audit_passes_when_there_is_nothing_to_find(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a healthy trace WHEN it is checked THEN it passes and says what it looked at
    path = str(mock_stories.lifecycle().write(tmp_path / "t.mapcount"))
    assert main(["audit", path, "--check"]) == 0
    assert "0 findings" in capsys.readouterr().out


def test_race_is_named_when_the_kernel_died_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a kernel that died inside a reader, and a race that it survived before
    path = mock_stories.crash().write(tmp_path / "t.mapcount", trailer=False)
    # WHEN it is audited
    found = analysis.open_trace(str(path)).df_findings()
    # THEN both are told, and the deadly one with the kernel's words
    assert found["rule"].tolist() == ["reader-race"] * 2
    deadly = found["sentence"].iloc[1]
    assert "until the kernel died in it" in deadly and "VM_BUG_ON_PAGE" in deadly
    assert "died" not in found["sentence"].iloc[0]
    assert found["died"].tolist() == [False, True]
    # AND the text begins with the deadly one
    assert main(["audit", str(path)]) == 0
    assert "the kernel died in it" in capsys.readouterr().out.split("\n\n")[1]


def test_race_is_named_when_the_deadly_reader_came_during_the_free(tmp_path: Path) -> None:
    # GIVEN a reader that came just after the record of the free, and the dump of its page
    path = mock_stories.late_crash().write(tmp_path / "t.mapcount", trailer=False)
    # WHEN it is audited
    found = analysis.open_trace(str(path)).df_findings()
    # THEN the first look is the deadly one, of the life that was being freed
    assert found["life"].tolist() == [0]
    one = found.iloc[0]
    assert (one["tid"], one["other_tid"], one["pfn"]) == (READER, PARENT, mock_stories.HEAD + 132)
    assert "had begun to free the folio 1.000 µs before its entry" in one["sentence"]
    assert "until the kernel died in it" in one["sentence"]


def test_a_snapshot_is_silent_about_a_counter_whose_place_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a header that does not tell where the count of the whole folio lies
    monkeypatch.setitem(mock.LAYOUT["double_map"]["fields"], "entire", None)
    story = Story().shared()
    story.kernel.snapshot("after", tasks=(PARENT,))
    # WHEN it is audited THEN nothing is made up about it
    assert story.findings(tmp_path).empty
