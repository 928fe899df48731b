# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are writable in one page table and mapped by another: silent where they are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.rights import Rights, shared_writable
from analysis.slicing import Wanted, write_slice
from analysis.stats_text import stats_text
from probes.rights import KNOWN, WRITABLE
from tests.mock import MockTrace
from tests.mock_kernel import Folio, MockKernel
from tests.mock_stories import half_shared

HEAD = 0x800
PARENT, CHILD, OTHER = 100, 101, 102


def audited(
    folder: Path, change: Callable[[Folio], object], era: str = "large", order: int = 4,
    torn: dict[int, str] | None = None, busy: bool = False, anon: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """The findings about a folio that a parent and its child map, after CHANGE."""
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD, order, anon=anon)
    for pid in (PARENT, CHILD):
        kernel.map_pte(folio, pid, 0, folio.pages)
    change(folio)
    kernel.snapshot("shared", (PARENT, CHILD), torn)
    if busy:
        trace.now -= 1800
        kernel.unmap_pte(folio, CHILD, folio.pages - 1)
    return analysis.open_trace(str(trace.write(folder / "t.mapcount"))).df_findings()


def test_page_that_reclaim_restored_writable_is_named(tmp_path: Path) -> None:
    # GIVEN a folio of which a child maps half, and reclaim restored all of it writable
    trace = analysis.open_trace(str(half_shared().write(tmp_path / "t.mapcount")))
    found = trace.df_findings()
    # THEN the shared half is named, in whose page tables, who else maps it, and who restored it
    assert list(found["rule"]) == ["writable-while-shared"]
    one = found.iloc[0]
    assert (one["certainty"], one["pfn"] & 15) == ("certain", 8)
    words = "pages 8 to 15 are writable in the page tables of process 100, while process 101 maps"
    assert words in one["sentence"] and "in the snapshot '1 half kept', after" in one["sentence"]
    assert (one["function"], one["tid"]) == ("try_to_unmap", PARENT)
    # AND what was looked at is counted
    assert [Rights(shot).totals() for shot in trace.snapshots] == [(8, 0), (8, 0)]
    assert "shared      16 anonymous pages that several" in stats_text(trace)


def test_nothing_is_found_when_reclaim_restored_what_was_there(tmp_path: Path) -> None:
    path = half_shared(healthy=True).write(tmp_path / "t.mapcount")
    assert analysis.open_trace(str(path)).df_findings().empty


@pytest.mark.parametrize("era", ["double_map", "large", "owners", "uncounted"])
def test_small_and_large_folios_of_all_eras_are_looked_at(tmp_path: Path, era: str) -> None:
    for order in (0, 9):
        found = audited(tmp_path, lambda folio: folio.writable.add((CHILD, 0)), era, order)
        assert list(found["rule"]) == ["writable-while-shared"]
        assert "page 0 is writable in the page tables of process 101" in found.iloc[0]["sentence"]
        assert "while process 100 maps it too" in found.iloc[0]["sentence"]


def everywhere(folio: Folio) -> None:
    """All pages become writable for both."""
    folio.writable = {(pid, page) for pid in (PARENT, CHILD) for page in range(folio.pages)}


def merged(folio: Folio) -> None:
    """KSM has merged it."""
    everywhere(folio)
    folio.mapping |= 2


def own(folio: Folio) -> None:
    """Each process maps its own half, writable."""
    everywhere(folio)
    folio.ptes = {(pid, page) for pid, page in folio.ptes if (page < 8) == (pid == PARENT)}


@pytest.mark.parametrize(
    ("change", "more"),
    [
        (lambda _: None, {}),
        (own, {}),
        (merged, {}),
        (everywhere, {"anon": False}),
        (everywhere, {"busy": True}),
        (everywhere, {"torn": {CHILD: "ran while it was read"}}),
    ],
    ids=["read-only", "each its own", "merged by KSM", "a file's", "changed", "ran"],
)
def test_nothing_is_said_of_what_may_be_so(tmp_path: Path, change, more) -> None:
    found = audited(tmp_path, change, **more)
    assert "writable-while-shared" not in set(found["rule"])


def snapshot(folder: Path, rights: list[tuple[int, ...]], mapped: int = 512):
    """The one snapshot, with these runs, of a trace, and the trace."""
    trace = MockTrace("large")
    pages = bytes(512 * 64)
    trace.truth("x", [512], pages, [1] * 512, [mapped] * 512, (PARENT, CHILD), rights=rights)
    opened = analysis.open_trace(str(trace.write(folder / "t.mapcount")))
    return opened, opened.snapshots


def test_entries_that_are_not_known_are_counted_and_prove_nothing(tmp_path: Path) -> None:
    # GIVEN pages of which one process's entries were not found, and one that it maps twice
    runs = [
        (PARENT, 8, 4096, KNOWN | WRITABLE | 512),
        (CHILD, 8, 4096, 512),
        (PARENT, 1, 8192, KNOWN | WRITABLE | 600),
        (PARENT, 1, 12288, KNOWN | WRITABLE | 600),
    ]
    _, (shot,) = snapshot(tmp_path, runs)
    # THEN they are counted, and no two address spaces are seen in them
    assert Rights(shot).totals() == (9, 8)
    assert len(shared_writable(Rights(shot).suspect(1000))[0].pfn) == 0


def test_entries_are_looked_at_up_to_a_limit(tmp_path: Path) -> None:
    # GIVEN more suspect entries than may be looked at
    runs = [(pid, 512, 4096, KNOWN | WRITABLE | 512) for pid in (*range(100), PARENT)]
    _, (shot,) = snapshot(tmp_path, runs)
    # THEN so many are
    assert len(Rights(shot).suspect(2048).pfn) == 2048
    found, others = shared_writable(Rights(shot).suspect(1 << 20))
    assert (len(found.pfn), set(found.pid.tolist()), set(others.tolist())) == (512, {0}, {100})


@pytest.mark.parametrize("run", [(PARENT, 8, 4096, KNOWN | 1020), (PARENT, 8, 1 << 63, KNOWN | 512),
                                 (PARENT, 1, 4096, KNOWN | 5)])  # fmt: skip
def test_snapshot_with_runs_beyond_its_frames_is_left_out(tmp_path: Path, run) -> None:
    trace, shots = snapshot(tmp_path, [run])
    assert len(shots) == 0 and trace.warnings


def test_slices_keep_the_runs_of_their_pages(tmp_path: Path) -> None:
    # GIVEN two folios in frames of their own, one of which is writable for two
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    for head in (HEAD, HEAD + 512):
        folio = kernel.alloc(head, 4)
        for pid in (PARENT, CHILD):
            kernel.map_pte(folio, pid, 0, 16)
    folio.writable.add((CHILD, 3))
    kernel.snapshot("shared", (PARENT, CHILD))
    whole = analysis.open_trace(str(trace.write(tmp_path / "t.mapcount")))
    for head, rules in ((HEAD, []), (HEAD + 512, ["writable-while-shared"])):
        path = str(tmp_path / f"{head}.mapcount")
        # WHEN a slice of one folio is made
        write_slice(whole, path, Wanted(pages=[(head, head)]))
        part = analysis.open_trace(path)
        # THEN it has the runs of its pages, and the finding
        (shot,) = part.snapshots
        assert len(shot.rights) == 32 and not part.warnings
        assert list(part.df_findings()["rule"]) == rules


def test_snapshot_that_an_older_version_sliced_has_no_runs(tmp_path: Path) -> None:
    # GIVEN a snapshot whose runs were left out, but for their number
    trace = MockTrace("large")
    trace.truth("x", [512], bytes(512 * 64), [1] * 512, [1] * 512, (PARENT, CHILD),
                rights=[(PARENT, 8, 4096, KNOWN | 512)])  # fmt: skip
    kind, payload = trace.items[-1]
    trace.items[-1] = kind, payload[:-24]
    opened = analysis.open_trace(str(trace.write(tmp_path / "t.mapcount")))
    # THEN it is read as one that has none
    (shot,) = opened.snapshots
    assert len(shot.rights) == 0 and not opened.warnings
    assert np.all(shot.kpagecount == 1)
