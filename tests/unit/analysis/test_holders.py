# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds a folio: its references taken apart, against a naive kernel's, and who is named."""

from __future__ import annotations

import json
from errno import EAGAIN, EBUSY, ENOMEM
from pathlib import Path

import numpy as np
import pytest

import analysis
import mapcount
from analysis.errors import AnalysisError
from analysis.plot.holders import most_held, plot_holders
from analysis.stats import stats_of
from analysis.trace import Trace
from analysis.verify import verify
from tests.mock import COUNTERS, MockTrace
from tests.mock_kernel import MockKernel

ROOT = Path(__file__).parents[3]
GOLDEN = sorted((ROOT / "tests/golden").glob("*.mapcount"))
HEAD, OTHER = 0x400, 0x800
PARENT, CHILD, WORKER = 100, 101, 44
SWAPCACHE, PRIVATE = 1 << 13, 1 << 36
ERAS = list(COUNTERS)
PARTS = ["mappings", "page_cache", "swap_cache", "private", "pins", "unexplained"]


def opened(kernel: MockKernel, folder: Path) -> Trace:
    return analysis.open_trace(str(kernel.trace.write(folder / "t.mapcount")))


def parts(trace: Trace, snapshot: int = -1) -> list[int]:
    """The references of the one folio at a snapshot, the last one's by default."""
    return [int(trace.df_references().iloc[snapshot][name]) for name in PARTS]


def kernel_of(era: str = "large", order: int = 4, anon: bool = True) -> MockKernel:
    """A kernel with one folio that PARENT maps by a PMD or, where it is a page, by a PTE."""
    kernel = MockKernel(MockTrace(era, pins=True))
    folio = kernel.alloc(HEAD, order, anon)
    if order:
        kernel.map_pmd(folio, PARENT)
    else:
        kernel.map_pte(folio, PARENT, 0)
    return kernel


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_references_are_explained_when_a_golden_trace_has_no_holder(path: Path) -> None:
    # GIVEN what each kernel counted of folios that nobody but their mappings and files held
    found = analysis.open_trace(str(path)).df_references()
    # THEN in every era the parts are all of it
    assert len(found) > 10
    assert (found["unexplained"] == 0).all(), found[found["unexplained"] != 0]
    assert found["references"].max() > 512


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("anon", [True, False])
def test_references_when_the_folio_is_large(tmp_path: Path, era: str, anon: bool) -> None:
    # GIVEN a folio that two processes map, by a PMD and in parts, with pins and one more reference
    kernel = kernel_of(era, anon=anon)
    (folio,) = kernel.folios
    kernel.fork(folio, PARENT, CHILD)
    if anon:
        kernel.split_pmd(folio, CHILD)
        kernel.unmap_pte(folio, CHILD, 3, 2)
    else:
        kernel.map_pte(folio, WORKER, 2, 3)
    kernel.pin(folio, PARENT, 7)
    folio.extra = 1
    folio.kpf = PRIVATE if not anon else SWAPCACHE
    kernel.snapshot("held", (PARENT, CHILD))
    # THEN each part is what the kernel has
    cached = folio.pages
    want = [folio.large_mapcount(), cached * (not anon), cached * anon, int(not anon), 7, 1]
    trace = opened(kernel, tmp_path)
    assert parts(trace) == want
    assert int(trace.df_references().iloc[-1]["references"]) == folio.refcount()


def test_references_when_a_page_of_order_0_is_pinned(tmp_path: Path) -> None:
    # GIVEN a page off the LRU lists that is pinned twice, and held once more
    kernel = kernel_of(order=0)
    (folio,) = kernel.folios
    folio.extra, folio.lru = 1, False
    kernel.snapshot("new", (PARENT,))
    kernel.pin(folio, PARENT, 2)
    kernel.snapshot("pinned", (PARENT,))
    trace = opened(kernel, tmp_path)
    # THEN its pins are told from its references, of which they are 1024 each
    assert parts(trace, 0) == [1, 0, 0, 0, 0, 1]
    assert parts(trace, 1) == [1, 0, 0, 0, 2, 1]
    # AND that it is on no list
    assert trace.df_references()["lru"].tolist() == [False, False]


def test_pins_are_verified_when_they_were_recorded(tmp_path: Path) -> None:
    # GIVEN pins that come and go, all of them recorded
    kernel = kernel_of(order=9)
    (folio,) = kernel.folios
    kernel.pin(folio, PARENT, 5)
    kernel.unpin(folio, WORKER, 2)
    kernel.snapshot("right", (PARENT,))
    # AND one that was not
    folio.pins += 1
    kernel.snapshot("wrong", (PARENT,))
    trace = opened(kernel, tmp_path)
    result = verify(trace)
    # THEN they were compared, and the one is a difference
    assert result.table["pincount"].tolist() == [1, 1]
    (wrong,) = result.differences.to_dict("records")
    assert (wrong["counter"], wrong["replayed"], wrong["truth"]) == ("pincount", 3, 4)
    assert trace.df_references()["pins_seen"].tolist() == [3, 3]
    # AND no finding of the audit, which is about map counts
    assert trace.audit.findings.empty


def test_pins_are_not_compared_when_a_probe_is_missing(tmp_path: Path) -> None:
    # GIVEN a kernel that hides who drops pins
    kernel = kernel_of()
    kernel.trace.missing = [
        {"op": "unpin", "functions": ["gup_put_folio"], "reason": "no such symbol", "lost": ""}
    ]
    (folio,) = kernel.folios
    kernel.pin(folio, PARENT, 5)
    folio.pins = 0
    kernel.snapshot("after", (PARENT,))
    trace = opened(kernel, tmp_path)
    # THEN the records decide nothing
    assert verify(trace).table["pincount"].tolist() == [0]
    assert trace.df_references()["pins_seen"].isna().all()


@pytest.mark.parametrize("hidden", ["memfd_pin_folios"])
@pytest.mark.parametrize("anon", [True, False])
def test_pins_of_anonymous_folios_when_those_of_files_are_hidden(
    tmp_path: Path, hidden: str, anon: bool
) -> None:
    # GIVEN a kernel where one function pins memory files' folios unseen
    kernel = kernel_of(anon=anon)
    kernel.trace.missing = [
        {"op": "pin", "functions": [hidden], "reason": "inlined", "lost": "some"}
    ]
    kernel.pin(kernel.folios[0], PARENT, 5)
    kernel.snapshot("pinned", (PARENT,))
    # THEN what is known of others is known all the same
    assert verify(opened(kernel, tmp_path)).table["pincount"].tolist() == [int(anon)]


def test_pins_of_an_older_folio_when_the_first_record_tells(tmp_path: Path) -> None:
    # GIVEN a folio with pins from before the recording
    kernel = MockKernel(MockTrace("large", pins=True))
    folio = kernel.older(HEAD, 4)
    folio.pmds, folio.pins = [PARENT], 4
    kernel.unpin(folio, PARENT, 1)
    kernel.snapshot("one less", (PARENT,))
    trace = opened(kernel, tmp_path)
    # THEN they are known by what that record saw, and nobody is named for them
    assert trace.df_references()["pins_seen"].tolist() == [3]
    assert verify(trace).table["pincount"].tolist() == [1]
    assert trace.df_holders()["kind"].tolist() == ["maps"]


def holders(trace: Trace, snapshot: int) -> list[tuple[str, int, int]]:
    """(kind, tid, number) of those at a snapshot."""
    found = trace.df_holders()
    found = found[found["snapshot"] == snapshot]
    rows = zip(found["kind"], found["tid"], found["number"], strict=True)
    return sorted((str(kind), int(tid), int(number)) for kind, tid, number in rows)


def test_holders_when_tasks_pin_and_let_go(tmp_path: Path) -> None:
    # GIVEN two tasks that pin, of which one lets go of a part
    kernel = kernel_of()
    (folio,) = kernel.folios
    kernel.pin(folio, PARENT, 8, aux=3)
    since = kernel.trace.now
    kernel.pin(folio, CHILD, 2)
    kernel.unpin(folio, PARENT, 3)
    kernel.snapshot("part", (PARENT,))
    # AND somebody who never pinned drops as many as the other one has
    kernel.unpin(folio, WORKER, 2)
    kernel.snapshot("other", (PARENT,))
    kernel.unpin(folio, PARENT, 5)
    kernel.snapshot("none", (PARENT,))
    trace = opened(kernel, tmp_path)
    # THEN those who hold are named, with what they have left
    assert holders(trace, 0) == [("maps", PARENT, 16), ("pinned", PARENT, 5), ("pinned", CHILD, 2)]
    assert holders(trace, 1) == [("maps", PARENT, 16), ("pinned", PARENT, 5)]
    assert holders(trace, 2) == [("maps", PARENT, 16)]
    # AND since when, by which function and stack
    one = trace.df_holders().query("kind == 'pinned'").iloc[0]
    assert (one["since_ts"], one["function"], one["stack"]) == (since, "try_grab_folio", 3)


def test_holders_when_references_end_unseen(tmp_path: Path) -> None:
    # GIVEN references of get_user_pages(), whose end no probe sees
    kernel = kernel_of()
    (folio,) = kernel.folios
    kernel.pin(folio, CHILD, 3, pinned=False)
    kernel.snapshot("held", (PARENT,))
    folio.extra = 0
    kernel.snapshot("gone", (PARENT,))
    kernel.pin(folio, WORKER, 1, pinned=False)
    kernel.snapshot("again", (PARENT,))
    trace = opened(kernel, tmp_path)
    # THEN they are named while something is unexplained, and not once nothing was
    assert holders(trace, 0) == [("got", CHILD, 3), ("maps", PARENT, 16)]
    assert holders(trace, 1) == [("maps", PARENT, 16)]
    assert holders(trace, 2) == [("got", WORKER, 1), ("maps", PARENT, 16)]


def test_holders_when_the_kernel_has_no_pin_left(tmp_path: Path) -> None:
    # GIVEN pins that were dropped by a function that no probe saw
    kernel = kernel_of()
    (folio,) = kernel.folios
    kernel.pin(folio, PARENT, 8)
    folio.pins = 0
    kernel.snapshot("after", (PARENT,))
    # THEN nobody is said to hold them
    assert holders(opened(kernel, tmp_path), 0) == [("maps", PARENT, 16)]


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    status = mapcount.main(["holders", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert status == 0, err
    return out


def test_command_when_a_folio_is_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN two folios at two marks, of which one is held
    kernel = kernel_of()
    (folio,) = kernel.folios
    other = kernel.alloc(OTHER, 4)
    kernel.map_pmd(other, CHILD)
    kernel.snapshot("before", (PARENT, CHILD))
    kernel.pin(folio, PARENT, 8)
    folio.extra, folio.lru = 2, False
    kernel.snapshot("after", (PARENT, CHILD))
    path = kernel.trace.write(tmp_path / "t.mapcount")
    # WHEN it is asked for one mark THEN the held one comes first, with who holds it
    text = told(capsys, path, "--mark", "after")
    assert "mark before" not in text
    lines = text.splitlines()
    assert lines[0].startswith(
        "1 folio with references besides mappings and caches (1 pinned, 1 with"
    )
    assert lines[4].split() == ["0", "0x400", "4", "11", "1", "0", "0", "0", "8", "2"]
    assert any(line.split()[:4] == ["0", "pinned", "8", "workload/100"] for line in lines)
    assert "life 0: on no LRU list" in text
    # AND for one folio, by its page or its life, that one alone
    assert "0x800" not in told(capsys, path, "--pfn", hex(HEAD + 3))
    assert "0x400" not in told(capsys, path, "--life", "1")
    # AND the JSON has the rows of both frames
    both = json.loads(told(capsys, path, "--json"))
    trace = analysis.open_trace(str(path))
    assert [len(both[name]) for name in ("references", "holders")] == [
        len(trace.df_references()), len(trace.df_holders()),
    ]  # fmt: skip
    # AND a mark that there is not is an error that names those that there are
    assert mapcount.main(["holders", str(path), "--mark", "nowhere"]) == 1
    assert "give one of before, after" in capsys.readouterr().err


def test_command_when_records_and_kernel_disagree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a pin that no probe saw
    kernel = kernel_of()
    (folio,) = kernel.folios
    kernel.pin(folio, PARENT, 2)
    folio.pins += 1
    kernel.snapshot("after", (PARENT,))
    # THEN it is told
    text = told(capsys, kernel.trace.write(tmp_path / "t.mapcount"))
    assert "life 0: the records give 2 pins, the kernel counts 3" in text


def test_frames_when_nothing_was_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN a trace without snapshots THEN the frames have their columns and no row
    kernel = kernel_of()
    trace = opened(kernel, tmp_path)
    assert trace.df_references().empty and trace.df_holders().empty
    assert {"references", "doubt"} <= set(trace.df_references())
    assert told(capsys, tmp_path / "t.mapcount") == "no folio was seen at a mark\n"


def test_frames_when_the_trace_is_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a trace of several folios
    kernel = MockKernel(MockTrace("large", pins=True))
    for number in range(6):
        folio = kernel.alloc(HEAD + 512 * number, 4)
        kernel.map_pmd(folio, PARENT)
        kernel.pin(folio, PARENT, number + 1)
    kernel.snapshot("held", (PARENT,))
    path = str(kernel.trace.write(tmp_path / "t.mapcount"))
    whole = analysis.open_trace(path)
    # WHEN it is read part by part THEN the frames are the same
    monkeypatch.setattr("analysis.recording.PART", 4)
    parted = analysis.open_trace(path)
    for name in ("df_references", "df_holders"):
        one, other = getattr(whole, name)(), getattr(parted, name)()
        assert len(one) and one.equals(other)
    assert whole.df_references()["pins"].tolist() == list(np.arange(1, 7))


def test_refusals_when_a_folio_is_pinned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a pinned folio that a split and then three moves give up on
    kernel = kernel_of()
    (folio,) = kernel.folios
    kernel.pin(folio, CHILD, 8)
    kernel.pin(folio, PARENT, 1, pinned=False)
    kernel.refuse("split", folio, WORKER, -EBUSY)
    kernel.unmap_pmd(folio, PARENT)
    for _ in range(3):
        kernel.refuse("move", folio, WORKER, -EAGAIN)
    # AND one that fails for another reason, and one that does not fail
    kernel.refuse("split", folio, WORKER, -ENOMEM)
    trace = opened(kernel, tmp_path)
    # THEN there are two of them, with what was left beyond the mappings, and who had it
    rows = trace.df_refusals().to_dict("records")
    assert [(one["what"], one["tries"], one["result"]) for one in rows] == [
        ("split_folio", 1, -EBUSY),
        ("move", 3, -EAGAIN),
    ]
    assert [(one["mappings"], one["pins"], one["beyond"]) for one in rows] == [(1, 8, 9), (0, 8, 9)]
    assert {one["held_by"] for one in rows} == {"?/101 pinned 8, workload/100 got 1"}
    # AND no finding of the audit: it is no fault of the kernel
    assert trace.audit.findings.empty or set(trace.audit.findings["rule"]) == {"wrong-call"}
    # AND the command begins with them
    text = told(capsys, tmp_path / "t.mapcount").splitlines()
    assert text[0] == "no folio was seen at a mark; 4 tries to split or move 1 folio gave up"
    assert text[2] == "gave up on a folio that was held:"
    assert "EBUSY" in text[4] and "EAGAIN" in text[5]


def test_refusals_when_a_file_is_cached(tmp_path: Path) -> None:
    # GIVEN a file's folio in the page cache, which nobody else holds
    kernel = kernel_of(anon=False)
    (folio,) = kernel.folios
    kernel.refuse("split", folio, WORKER, -EAGAIN)
    # THEN the page cache's references are told apart
    (one,) = opened(kernel, tmp_path).df_refusals().to_dict("records")
    assert (one["references"], one["page_cache"], one["beyond"]) == (18, 16, 0)


def test_refusals_when_a_pinned_folio_stays_mapped(tmp_path: Path) -> None:
    # GIVEN a pinned folio that a migration leaves mapped, and one that it unmaps
    kernel = kernel_of()
    (folio,) = kernel.folios
    other = kernel.alloc(OTHER, 4)
    kernel.map_pmd(other, CHILD)
    kernel.pin(folio, PARENT, 2)
    for one, unmapped in ((folio, False), (other, True)):
        kernel.emit("unmap_to_move", one, nr=0, tid=WORKER, refcount=one.refcount() + 1)
        if unmapped:
            kernel.unmap_pmd(one, CHILD)
        kernel.emit("unmap_to_move_done", one, nr=0, tid=WORKER, aux=0, refcount=one.refcount() + 1)
    # AND a split, which unmaps the folio by the same function
    kernel.emit("split", folio, nr=0, tid=WORKER, refcount=folio.refcount() + 1)
    kernel.refuse("unmap_to_move", folio, WORKER, 0)
    kernel.emit("split_done", folio, nr=0, tid=WORKER, aux=-EAGAIN)
    # THEN the first one gave up without an answer, and the split with one
    rows = opened(kernel, tmp_path).df_refusals().astype(object).to_dict("records")
    assert [(one["life"], one["what"]) for one in rows] == [
        (0, "unmap_to_move"),
        (0, "split_folio"),
    ]
    assert [(one["mappings"], one["beyond"], one["held_by"]) for one in rows] == [
        (1, 2, "workload/100 pinned 2")
    ] * 2


def held_twice(folder: Path) -> Path:
    """A trace of two folios, of which the second one is pinned at the second mark."""
    kernel = kernel_of()
    other = kernel.alloc(OTHER, 4)
    kernel.map_pmd(other, CHILD)
    kernel.snapshot("before", (PARENT, CHILD))
    kernel.pin(other, CHILD, 8)
    kernel.snapshot("after", (PARENT, CHILD))
    return kernel.trace.write(folder / "t.mapcount")


def test_picture_when_one_folio_is_held_most(tmp_path: Path) -> None:
    # GIVEN two folios WHEN none is asked for
    trace = analysis.open_trace(str(held_twice(tmp_path)))
    figure = plot_holders(trace)
    # THEN it is that which is held, with a row for the sum and for each part that there is
    words = [text.get_text() for text in figure.texts]
    assert "0x800" in words[0] and "pinned by ?/101: 8" in words
    assert [panel.get_ylabel() for panel in figure.axes] == ["references", "mappings", "pins"]
    # AND the numbers of its marks
    numbers = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    assert numbers == [["1", "9"], ["1", "1"], ["8"]]
    names = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert names == ["before", "after"]


def test_picture_when_there_is_nothing_to_draw(tmp_path: Path) -> None:
    # GIVEN a life that no mark shows THEN it is an error
    trace = analysis.open_trace(str(held_twice(tmp_path)))
    with pytest.raises(AnalysisError, match="at no mark"):
        plot_holders(trace, 99)
    # AND a picture of a trace without marks says that there is none
    empty = opened(kernel_of(), tmp_path)
    assert most_held(empty.df_references()) is None
    (word,) = plot_holders(empty).texts
    assert word.get_text() == "no folio was seen at a mark"


def test_command_when_a_picture_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN the trace WHEN a picture of one folio is asked for THEN it is written, and not over
    path, picture = held_twice(tmp_path), tmp_path / "holders.svg"
    told(capsys, path, "--pfn", hex(HEAD), "-o", picture)
    assert "0x400" in picture.read_text()
    assert mapcount.main(["holders", str(path), "-o", str(picture)]) == 1


def test_stats_when_pins_are_recorded(tmp_path: Path) -> None:
    # GIVEN a pin, of which one record is made at the return of its function
    kernel = kernel_of()
    kernel.pin(kernel.folios[0], PARENT)
    silent = stats_of(opened(kernel, tmp_path)).silent
    # THEN the probe at its entry is not said to be silent, and one that was not met is
    assert not any(name.startswith("try_grab_folio") for name in silent)
    assert "gup_put_folio" in silent
