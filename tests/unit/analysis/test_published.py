# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc told: silent where it is right, loud where the counters are right and it is not."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.audit.finding import pages_text
from analysis.slicing import Wanted, write_slice
from analysis.trace import Trace
from analysis.verify import verify
from probes.tracefile import BlockType
from tests.mock import MockTrace
from tests.mock_kernel import Folio, MockKernel

HEAD = 0x800
PARENT, CHILD = 100, 101
TASKS = (PARENT, CHILD)
ERAS = ("double_map", "large")
#: What the child drops, and then: the pages with a wrong bit 56 if all have page 0's answer, what
#: is told of them, and what is right.
DROPS = [([0], (1, 511), 1, 0), ([5], (5, 5), 0, 1), ([*range(1, 512)], (1, 511), 0, 1)]


class Story:
    """The parent maps a huge page by a PMD; its child split its own mapping and drops pages."""

    def __init__(self, era: str = "double_map") -> None:
        self.trace = MockTrace(era)
        self.kernel = MockKernel(self.trace)
        self.folio: Folio = self.kernel.alloc(HEAD)
        self.kernel.map_pmd(self.folio, PARENT, new=True)
        self.kernel.fork(self.folio, PARENT, CHILD)
        self.kernel.split_pmd(self.folio, CHILD)

    def drop(self, *pages: int) -> Story:
        for page in pages:
            self.kernel.unmap_pte(self.folio, CHILD, page)
        return self

    def tells(self, *tasks: int, **answers: Callable[..., Any]) -> Story:
        """The kernel's readers answer so at the mark about the tasks, or both."""
        for name, answer in answers.items():
            setattr(self.folio, name, answer)
        self.trace.mark("dropped")
        self.kernel.snapshot("dropped", tasks or TASKS)
        return self

    def forge(self, change: Callable[[dict[str, Any], bytearray], None]) -> Story:
        """Change the last snapshot's bytes after its JSON, whose content is given, too."""
        kind, content = self.trace.items[-1]
        assert kind is BlockType.TRUTH
        (length,) = struct.unpack_from("<I", content)
        head, rest = json.loads(content[4 : 4 + length]), bytearray(content[4 + length :])
        change(head, rest)
        text = json.dumps(head).encode()
        self.trace.items[-1] = (kind, struct.pack("<I", len(text)) + text + bytes(rest))
        return self

    def opened(self, folder: Path) -> Trace:
        return analysis.open_trace(str(self.trace.write(folder / "t.mapcount")))

    def findings(self, folder: Path) -> pd.DataFrame:
        return self.opened(folder).df_findings()

    def only(self, folder: Path) -> dict[str, Any]:
        """The one finding that there must be."""
        found = self.findings(folder)
        assert len(found) == 1, found[["rule", "sentence"]].to_string()
        one = {str(name): value for name, value in found.iloc[0].to_dict().items()}
        assert (one["rule"], one["severity"]) == ("published", "error")
        return one


def of_first(folio: Folio) -> Callable[[int], bool]:
    """Bit 56 as eb16876971ea and kernels before 2c1f057e5be6 have it, for a PMD mapping."""
    return lambda _page: folio.kpagecount(0) == 1


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("drop", "span", "told", "right"), DROPS)
def test_bit_56_is_named_when_all_pages_have_the_answer_of_the_first(
    tmp_path: Path, era: str, drop: list[int], span: tuple[int, int], told: int, right: int
) -> None:
    # GIVEN a kernel that asks about the first page of a PMD mapping alone, but counts right
    story = Story(era).drop(*drop)
    story.tells(PARENT, exclusive=of_first(story.folio))
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN file, bit, process, pages, both values and the promise are told
    assert one["counter"] == "pagemap bit 56, first page's"
    assert (one["expected"], one["observed"]) == (right, told)
    assert (one["pid"], one["comm"], one["pfn"]) == (PARENT, "workload", HEAD + span[0])
    assert (one["certainty"], one["function"]) == ("certain", "")
    pages = f"page {span[0]}" if span[0] == span[1] else f"pages {span[0]} to {span[1]}"
    assert (
        f"/proc/{PARENT}/pagemap: bit 56 (exclusively mapped) is {told} for {pages}"
        in (one["sentence"])
    )
    assert (
        f"mapped by a PMD, whose map count is {2 - right}, and must be {right}" in (one["sentence"])
    )
    assert "all 512 pages have the answer of page 0" in one["sentence"]
    assert "pagemap.rst: bit 56" in one["sentence"]


def test_bit_56_is_named_when_the_process_maps_the_folio_twice(tmp_path: Path) -> None:
    # GIVEN a file's folio that a process maps by a PMD, and page 0 of it once more elsewhere
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, anon=False)
    kernel.map_pmd(folio, PARENT)
    kernel.map_pte(folio, PARENT, 0)
    # WHEN all pages have the answer of page 0, which is mapped twice
    folio.exclusive = of_first(folio)  # type: ignore[method-assign]
    kernel.snapshot("twice", (PARENT,))
    found = analysis.open_trace(str(trace.write(tmp_path / "t.mapcount"))).df_findings()
    # THEN that is what is told of the PMD mapping, and the other mapping is right
    one = found[found["counter"].str.startswith("pagemap")].iloc[0]
    assert one["counter"] == "pagemap bit 56, first page's"
    assert "is 0 for pages 1 to 511" in one["sentence"]
    assert "all 512 pages have the answer of page 0" in one["sentence"]
    assert set(found["counter"]) == {"pagemap bit 56, first page's"}


def test_bit_56_is_named_when_one_page_is_wrong_by_itself(tmp_path: Path) -> None:
    # GIVEN a kernel whose pagemap errs about page 7 of the child, which has PTEs
    story = Story("large").drop(0)
    story.tells(exclusive=lambda page: page in (0, 7))
    # WHEN it is audited
    found = story.findings(tmp_path)
    # THEN each reader has a finding, and none speaks of the first page
    assert found["counter"].tolist() == ["pagemap bit 56"] * 2
    assert found["pid"].tolist() == [PARENT, CHILD]
    assert all("for page 7, " in sentence for sentence in found["sentence"])


@pytest.mark.parametrize("era", ERAS)
def test_mapmax_is_named_when_the_first_page_alone_is_counted(tmp_path: Path, era: str) -> None:
    # GIVEN a kernel that counts the first page of a PMD mapping alone
    story = Story(era).drop(0)
    story.tells(mapmax=lambda pages: story.folio.kpagecount(pages[0]))
    # WHEN it is audited
    one = story.only(tmp_path)
    # THEN numa_maps, the process, what it leaves out and what is right are told
    assert one["counter"] == "numa_maps mapmax, first page's"
    assert (one["pid"], one["expected"], one["observed"]) == (PARENT, 2, 1)
    assert "mapmax of the mapping at 0x" in one["sentence"] and "is left out" in one["sentence"]
    assert (
        "must be 2, the map count of pages 1 to 511; of the huge page only page 0"
        in (one["sentence"])
    )


def test_mapmax_is_named_when_it_is_larger_than_any_count(tmp_path: Path) -> None:
    # GIVEN a mapmax that no page of the mappings has
    story = Story().drop(0).tells(mapmax=lambda _pages: 9)
    # WHEN it is audited THEN both mappings are named, as all their pages are known
    found = story.findings(tmp_path)
    assert found["counter"].tolist() == ["numa_maps mapmax"] * 2
    assert found["expected"].tolist() == [2, 2] and found["observed"].tolist() == [9, 9]


def test_nothing_is_named_when_other_pages_may_have_the_larger_count(tmp_path: Path) -> None:
    # GIVEN the same, but there are pages in the mappings that no record told of
    story = Story().drop(0)
    smaps = story.kernel._smaps
    story.kernel._smaps = lambda counts: (8192, *smaps(counts)[1:])  # type: ignore[method-assign]
    story.tells(mapmax=lambda _pages: 9)
    # WHEN it is audited THEN there is nothing to say, neither of mapmax nor of sums
    assert story.findings(tmp_path).empty


#: The parent's sums, of which one page is its own and 511 are shared by two.
SUMS = {"Pss": (1, (512 * 4 + 4) // 2), "Shared": (2, 511 * 4), "Private": (3, 4)}


@pytest.mark.parametrize("name", SUMS)
def test_smaps_is_named_when_a_sum_is_wrong(tmp_path: Path, name: str) -> None:
    # GIVEN a sum in smaps that is 4 kB too large for the parent
    story, (place, right) = Story().drop(0), SUMS[name]
    smaps = story.kernel._smaps

    def wrong(counts: list[int]) -> tuple[int, ...]:
        sums = list(smaps(counts))
        sums[place] += 4 * (len(counts) == 512)
        return tuple(sums)

    story.kernel._smaps = wrong  # type: ignore[method-assign]
    # WHEN it is audited THEN it is named with what is right
    one = story.tells().only(tmp_path)
    assert (one["counter"], one["pid"]) == (f"smaps {name}", PARENT)
    assert (one["expected"], one["observed"]) == (right, right + 4)


@pytest.mark.parametrize(("name", "bit"), [("MMAP", 11), ("ANON", 12), ("THP", 22)])
def test_kpageflags_are_named_when_a_flag_is_missing(tmp_path: Path, name: str, bit: int) -> None:
    # GIVEN a kernel that leaves a flag out for the second half of the folio
    story = Story().drop(0)
    flags = story.folio.kpageflags
    story.tells(kpageflags=lambda page: flags(page) & ~((page >= 256) << bit))
    # WHEN it is audited THEN the flag and the pages are named
    one = story.only(tmp_path)
    assert (one["counter"], one["pid"], one["comm"]) == (f"kpageflags {name}", -1, "")
    assert "is 0 for pages 256 to 511" in one["sentence"]


def test_kpagecount_is_named_when_the_counters_are_right(tmp_path: Path) -> None:
    # GIVEN a kernel whose kpagecount errs about page 3
    story = Story().drop(0)
    real = story.folio.kpagecount
    story.folio.kpagecount = lambda page: real(page) + (page == 3)  # type: ignore[method-assign]
    story.kernel.snapshot("dropped")
    # WHEN it is audited THEN that is no matter of the books
    one = story.only(tmp_path)
    assert (one["counter"], one["expected"], one["observed"]) == ("kpagecount", 2, 3)
    assert "/proc/kpagecount: the count is 3 for page 3" in one["sentence"]


def test_readers_are_left_alone_when_the_counter_itself_is_wrong(tmp_path: Path) -> None:
    # GIVEN a kernel that forgot an unmap: all that /proc tells follows from a wrong counter
    story = Story().drop(0, 5)
    story.folio.ptes.add((-1, 5))
    story.tells()
    # WHEN it is audited THEN the counter is the finding
    assert story.findings(tmp_path)["rule"].tolist() == ["double-entry"]


def test_large_folios_are_left_alone_when_their_pages_have_no_counts(tmp_path: Path) -> None:
    # GIVEN CONFIG_NO_PAGE_MAPCOUNT, and readers that speak of the folio as it promises
    story = Story("uncounted").drop(0)
    story.tells(exclusive=lambda _page: False, mapmax=lambda _pages: 2)
    # WHEN it is audited THEN there is nothing to say
    assert story.findings(tmp_path).empty


def test_small_pages_are_held_to_it_when_large_folios_have_no_counts(tmp_path: Path) -> None:
    # GIVEN the same kernel and a page of order 0 that one process maps
    story = Story("uncounted")
    small = story.kernel.alloc(HEAD + 512, 0)
    story.kernel.map_pte(small, PARENT, 0)
    small.exclusive = lambda _page: False  # type: ignore[method-assign]
    # WHEN it is audited THEN its count is its own
    one = story.tells().only(tmp_path)
    assert (one["counter"], one["pfn"]) == ("pagemap bit 56", HEAD + 512)


def test_bit_56_is_left_alone_when_ksm_merged_the_page(tmp_path: Path) -> None:
    # GIVEN a page of KSM, of which bit 56 promises nothing
    story = Story()
    small = story.kernel.alloc(HEAD + 512, 0)
    story.kernel.map_pte(small, PARENT, 0)
    small.exclusive = lambda _page: False  # type: ignore[method-assign]
    frame = 512 * 64

    def merged(_head: dict[str, Any], rest: bytearray) -> None:
        struct.pack_into("<Q", rest, frame + 24, 0xFFFF8003)

    # WHEN it is audited THEN there is nothing to say
    assert story.tells().forge(merged).findings(tmp_path).empty


def test_finding_is_possible_when_events_were_lost_in_the_life(tmp_path: Path) -> None:
    # GIVEN the wrong bit, and a loss before it that may be of this folio
    story = Story().drop(0)
    story.trace.loss(story.trace.now - 50, story.trace.now, [(0, "unmap", 3)])
    story.drop(1).tells(exclusive=lambda _page: True)
    # WHEN it is audited
    found = story.findings(tmp_path)
    # THEN it is possible, and why is told
    assert set(found["certainty"]) == {"possible"}
    assert all("3 events were lost in that time" in reason for reason in found["reason"])


def test_folio_is_left_alone_when_it_changed_during_the_snapshot(tmp_path: Path) -> None:
    # GIVEN the wrong bit in a snapshot during which the folio changed
    story = Story().drop(0).tells(exclusive=lambda _page: True)
    story.trace.now -= 1800
    story.drop(1)
    # WHEN it is audited THEN nothing is certain of what was read when
    assert story.findings(tmp_path).empty


def test_process_is_left_alone_when_it_was_not_held_still(tmp_path: Path) -> None:
    # GIVEN a bit and a mapmax that are wrong, of a process that ran while they were read
    story = Story().drop(0)
    story.folio.exclusive = lambda page: page != 0  # type: ignore[method-assign]
    story.folio.mapmax = lambda _pages: 1  # type: ignore[method-assign]
    story.kernel.snapshot("dropped", TASKS, torn={PARENT: "it ran meanwhile"})
    # WHEN it is audited THEN the other process alone is named
    assert set(story.findings(tmp_path)["pid"]) == {CHILD}


def test_verify_has_no_difference_when_only_readers_err(tmp_path: Path) -> None:
    # GIVEN a wrong bit and a wrong mapmax WHEN the trace is verified THEN the replay is right
    story = Story().drop(0).tells(exclusive=lambda _page: True, mapmax=lambda _pages: 1)
    assert verify(story.opened(tmp_path)).differences.empty


def test_a_snapshot_of_some_frames_has_their_runs_alone(tmp_path: Path) -> None:
    # GIVEN a snapshot of two frames
    story = Story()
    other = story.kernel.alloc(HEAD + 1024)
    story.kernel.map_pmd(other, PARENT, new=True)
    (shot,) = story.tells().opened(tmp_path).snapshots
    # WHEN one of them is taken
    some = shot.only(shot.frames == HEAD + 1024)
    # THEN its entries are those that map it
    assert len(shot.runs) == 3 * 512
    assert len(some.runs) == 512 and set(some.runs["pid"]) == {PARENT}


def test_a_slice_has_the_runs_of_its_frames_alone(tmp_path: Path) -> None:
    # GIVEN a trace with the wrong bit, and a second folio
    story = Story().drop(0)
    other = story.kernel.alloc(HEAD + 1024)
    story.kernel.map_pmd(other, PARENT, new=True)
    trace = story.tells(exclusive=lambda _page: True).opened(tmp_path)
    # WHEN a slice is cut around each of them
    slices = []
    for pfn in (HEAD, HEAD + 1024):
        path = str(tmp_path / f"part-{pfn:x}")
        write_slice(trace, path, Wanted(pages=[(pfn, pfn)]))
        slices.append(analysis.open_trace(path))
    # THEN each has the entries that map its frame, and one the findings
    assert [set(part.snapshots[0].runs["entry"] >> 10 & 1) for part in slices] == [{0}, {1}]
    assert [len(part.df_findings()) for part in slices] == [2, 0]


@pytest.mark.parametrize("pages", [513, 1 << 31])
def test_snapshot_is_left_out_when_a_run_leaves_its_frame(tmp_path: Path, pages: int) -> None:
    # GIVEN a snapshot whose first run is forged
    def long(head: dict[str, Any], rest: bytearray) -> None:
        told = head["published"]
        size = (told["runs"] + head["rights"]) * 24 + told["areas"] * 72
        struct.pack_into("<I", rest, len(rest) - size + 4, pages)

    # WHEN it is read THEN a warning says why it is left out
    trace = Story().tells().forge(long).opened(tmp_path)
    assert not trace.snapshots
    assert any("runs beyond its frames" in warning for warning in trace.warnings)


def test_snapshot_is_left_out_when_an_area_has_a_number_of_no_kernel(tmp_path: Path) -> None:
    # GIVEN a snapshot whose last area is forged
    def vast(head: dict[str, Any], rest: bytearray) -> None:
        rest[-1 - head["rights"] * 24] = 0xFF

    # WHEN it is read THEN a warning says why it is left out
    trace = Story().tells().forge(vast).opened(tmp_path)
    assert not trace.snapshots
    assert any("numbers that no kernel can give" in warning for warning in trace.warnings)


@pytest.mark.parametrize(
    ("pages", "text"),
    [
        ((5,), "page 5"),
        ((9, 1, 2, 3), "pages 1 to 3 and 9"),
        ((0, 2, 4, 6, 8), "5 pages between 0 and 8"),
    ],
)
def test_pages_are_ranges_when_told(pages: tuple[int, ...], text: str) -> None:
    # GIVEN pages in any order WHEN they are told THEN as ranges, while these are few
    assert pages_text(pages) == text


def test_nothing_is_said_when_the_pages_are_the_kernels_own(tmp_path: Path) -> None:
    # GIVEN pages that are reserved, as the vDSO's are, of which numa_maps counts none
    story = Story().drop(0)
    flags = story.folio.kpageflags
    story.tells(kpageflags=lambda page: flags(page) | 1 << 32, mapmax=lambda _pages: 1)
    # WHEN audited THEN nothing is held against it
    assert len(story.findings(tmp_path)) == 0
