# SPDX-License-Identifier: GPL-2.0-or-later
"""What partially mapped folios keep: the replay against page tables, and how it is told."""

from __future__ import annotations

import json
import tempfile
from errno import EAGAIN
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
import mapcount
from analysis.plot.waste import plot_waste
from analysis.trace import Trace
from analysis.waste_frame import by_process
from tests.mock import COUNTERS, MockTrace
from tests.mock_kernel import Folio, MockKernel

ROOT = Path(__file__).parents[3]
HEAD, OTHER = 0x400, 0x800
PARENT, CHILD, KSWAPD = 100, 101, 44
PAGE = 4096
KPF_ANON = 12
ERAS = list(COUNTERS)


def opened(trace: MockTrace, folder: Path) -> Trace:
    return analysis.open_trace(str(trace.write(folder / "t.mapcount")))


def kept(folio: Folio) -> int:
    """Bytes that nothing maps of a folio of which something is mapped, by its page tables."""
    mapped = len({page for _, page in folio.ptes})
    return 0 if folio.pmds or not mapped else (folio.pages - mapped) * PAGE


def at(trace: Trace, ts: int) -> int:
    """The same by the trace, of all folios, after everything until a time."""
    found = trace.wasted
    return int(found.change[found.ts <= ts].sum())


def half_mapped(era: str = "large", order: int = 4) -> tuple[MockKernel, Folio]:
    """A folio of which PARENT has unmapped every other page."""
    kernel = MockKernel(MockTrace(era))
    folio = kernel.alloc(HEAD, order)
    kernel.map_pmd(folio, PARENT)
    kernel.split_pmd(folio, PARENT)
    for page in range(0, folio.pages, 2):
        kernel.unmap_pte(folio, PARENT, page)
    return kernel, folio


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("map", "unmap", "map_pmd", "unmap_pmd", "split_pmd", "fork")),
        st.sampled_from((0, 1)),
        st.sampled_from((PARENT, CHILD)),
        st.integers(0, 3),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=40,
)


def act(kernel: MockKernel, step: tuple[str, int, int, int, int]) -> None:
    """Do a step if the page tables allow it."""
    what, which, pid, page, nr = step
    folio = kernel.folios[which]
    pages = set(range(page, min(page + nr, folio.pages)))
    mapped = {one for owner, one in folio.ptes if owner == pid}
    other = PARENT + CHILD - pid
    if what == "map" and pid not in folio.pmds and not pages & mapped:
        kernel.map_pte(folio, pid, page, len(pages))
    elif what == "unmap" and pages <= mapped:
        kernel.unmap_pte(folio, pid, page, len(pages))
    elif what == "map_pmd" and pid not in folio.pmds and not mapped:
        kernel.map_pmd(folio, pid)
    elif what == "unmap_pmd" and pid in folio.pmds:
        kernel.unmap_pmd(folio, pid)
    elif what == "split_pmd" and pid in folio.pmds:
        kernel.split_pmd(folio, pid)
    elif what == "fork" and other not in folio.pmds and not folio.in_tables_of(other):
        kernel.fork(folio, pid, other)


@pytest.mark.parametrize("era", ERAS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_waste_equals_page_tables_when_programs_are_random(
    era: str, steps: list[tuple[str, int, int, int, int]]
) -> None:
    # GIVEN two folios of four pages and what two processes do with them
    kernel = MockKernel(MockTrace(era))
    kernel.alloc(HEAD, 2)
    kernel.alloc(OTHER, 2)
    history = []
    for step in steps:
        act(kernel, step)
        history.append((kernel.trace.now, sum(map(kept, kernel.folios))))
    # WHEN the trace is read
    with tempfile.TemporaryDirectory() as folder:
        trace = opened(kernel.trace, Path(folder))
        # THEN after each step it has what the page tables say, and at the end what is left
        assert [at(trace, ts) for ts, _ in history] == [size for _, size in history]
        left = trace.df_waste().query("end == 'alive'")["last_bytes"].sum()
    assert left == history[-1][1]


@pytest.mark.parametrize("era", ERAS)
def test_span_when_a_folio_is_partially_unmapped_and_freed(era: str, tmp_path: Path) -> None:
    # GIVEN a folio of which half is unmapped, then queued, then all of the rest is unmapped
    kernel, folio = half_mapped(era)
    kernel.emit("deferred", folio, tid=PARENT)
    kernel.trace.tick(1_000_000)
    for page in range(1, folio.pages, 2):
        kernel.unmap_pte(folio, PARENT, page)
    kernel.free(folio)
    # WHEN it is looked at
    trace = opened(kernel.trace, tmp_path)
    (one,) = trace.df_waste().to_dict("records")
    # THEN the span says how much, by whom, and that no split was tried
    assert (one["most_bytes"], one["last_bytes"]) == (15 * PAGE, 15 * PAGE)
    assert (one["tid"], one["pid"], one["end"], one["tries"]) == (PARENT, PARENT, "unmapped", 0)
    assert "remove_rmap" in one["function"]
    assert one["from_ts"] < one["queued_ts"] < one["to_ts"]
    assert pd.isna(one["result"]) and pd.isna(one["references"])
    # AND the bytes times seconds are those of the steps: 8 pages for most of the time
    assert one["byte_seconds"] == pytest.approx(8 * PAGE * 1e-3, rel=0.05)


def test_references_are_told_when_a_split_fails(tmp_path: Path) -> None:
    # GIVEN a half mapped folio that somebody else holds three references to
    kernel, folio = half_mapped()
    mapped = sorted(folio.ptes)
    refcount = len(mapped) + 1 + 3
    kernel.emit("split", folio, tid=KSWAPD, nr=0, aux=0, refcount=refcount)
    # WHEN kswapd tries to split it: it takes the mappings away, and gives them back
    for pid, page in mapped:
        kernel.unmap_pte(folio, pid, page)
    for pid, page in mapped:
        kernel.map_pte(folio, pid, page)
    kernel.emit("split_done", folio, tid=KSWAPD, nr=0, aux=-EAGAIN)
    kernel.trace.tick(1000)
    kernel.emit("split", folio, tid=KSWAPD, nr=0, aux=0, refcount=refcount - 1)
    kernel.emit("split_done", folio, tid=KSWAPD, nr=0, aux=-EAGAIN)
    # THEN it is one span of the process that unmapped, with the last try and what it failed for
    (one,) = opened(kernel.trace, tmp_path).df_waste().to_dict("records")
    assert (one["pid"], one["most_bytes"], one["end"]) == (PARENT, 8 * PAGE, "alive")
    assert (one["tries"], one["result"], one["references"]) == (2, -EAGAIN, 2)


def test_span_ends_when_the_folio_is_split(tmp_path: Path) -> None:
    # GIVEN a half mapped folio that is split WHEN it is looked at THEN that is its end
    kernel, folio = half_mapped()
    kernel.split_folio(folio, KSWAPD)
    trace = opened(kernel.trace, tmp_path)
    (one,) = trace.df_waste().to_dict("records")
    assert (one["end"], one["tries"], one["result"]) == ("split", 1, 0)
    assert one["to_ts"] == trace.df_lives()["death_ts"][one["life"]]


@pytest.mark.parametrize("anon", [True, False])
def test_pages_of_a_file_are_no_waste(anon: bool, tmp_path: Path) -> None:
    # GIVEN a folio of which one page is mapped WHEN it is a file's THEN nothing is wasted
    kernel = MockKernel(MockTrace("large"))
    kernel.map_pte(kernel.alloc(HEAD, 4, anon), PARENT, 3)
    assert len(opened(kernel.trace, tmp_path).df_waste()) == anon


def test_older_folios_are_counted_when_nobody_knows_their_pages(tmp_path: Path) -> None:
    # GIVEN a folio older than the recording, without a snapshot, of which one page is unmapped
    kernel = MockKernel(MockTrace("double_map"))
    folio = kernel.older(HEAD, 4)
    folio.ptes |= {(PARENT, page) for page in range(folio.pages)}
    kernel.unmap_pte(folio, PARENT, 3)
    trace = opened(kernel.trace, tmp_path)
    # THEN nothing is claimed of it, and it is counted
    assert not len(trace.df_waste()) and trace.wasted.unknown == 1


def test_older_folios_have_no_actor_when_they_began_partially_mapped(tmp_path: Path) -> None:
    # GIVEN a folio that a snapshot at the start shows with every other page mapped
    kernel = MockKernel(MockTrace("double_map"))
    folio = kernel.older(HEAD, 4)
    folio.ptes |= {(PARENT, page) for page in range(0, folio.pages, 2)}
    kernel.snapshot("start")
    kernel.unmap_pte(folio, PARENT, 0)
    kernel.trace.tick(1000)
    kernel.unmap_pte(folio, PARENT, 2)
    # WHEN it is looked at THEN it was so before, and nobody is blamed
    (one,) = opened(kernel.trace, tmp_path).df_waste().to_dict("records")
    assert (one["pid"], one["tid"], one["function"], one["comm"]) == (-1, -1, "", "")
    assert one["last_bytes"] == 10 * PAGE


def test_rows_are_doubtful_when_events_were_lost(tmp_path: Path) -> None:
    # GIVEN a partially mapped folio and a loss in its life WHEN it is looked at
    kernel, _ = half_mapped()
    kernel.trace.loss(kernel.trace.now - 5000, kernel.trace.now, [(0, "unmap", 5)])
    (one,) = opened(kernel.trace, tmp_path).df_waste().to_dict("records")
    # THEN its row says so
    assert "5 events were lost" in one["doubt"]


def two_processes() -> MockKernel:
    kernel, _ = half_mapped()
    other = kernel.alloc(OTHER, 4)
    kernel.map_pte(other, CHILD, 0, other.pages)
    kernel.unmap_pte(other, CHILD, 0)
    kernel.trace.tick(1_000_000)
    kernel.unmap_pte(other, CHILD, 1)
    return kernel


def test_processes_when_they_are_summed_up(tmp_path: Path) -> None:
    # GIVEN two processes that leave folios partially mapped WHEN what they keep is summed up
    trace = opened(two_processes().trace, tmp_path)
    frame = by_process(trace.wasted)
    # THEN the one that keeps most comes first, with its most at once and what is left
    assert frame.index.tolist() == [PARENT, CHILD]
    assert frame["most_bytes"].tolist() == [8 * PAGE, 2 * PAGE]
    assert frame["end_bytes"].tolist() == [8 * PAGE, 2 * PAGE]
    assert frame["byte_seconds"].sum() == pytest.approx(trace.df_waste()["byte_seconds"].sum())


def test_command_when_it_prints_tables_json_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace with two partially mapped folios
    path, picture = tmp_path / "t.mapcount", tmp_path / "w.png"
    two_processes().trace.write(path)
    # WHEN the command runs THEN it sums up, and names both processes
    assert mapcount.main(["waste", str(path), "-o", str(picture)]) == 0
    done = capsys.readouterr()
    assert "2 folios partially mapped: at most 40 KiB" in done.out
    assert "never" in done.out and "not tried" in done.out
    # AND each folio's row has what it kept over the time, whatever it was at most
    (rows,) = (text.splitlines()[1:] for text in done.out.split("\n\n") if "mean KiB" in text)
    frame = analysis.open_trace(str(path)).df_waste()
    seconds = (frame["to_ts"] - frame["from_ts"]) / 1e9
    means = sorted((frame["byte_seconds"] / seconds / 1024).round().astype(int))
    assert sorted(int(row.split()[6]) for row in rows) == means
    assert picture.read_bytes().startswith(b"\x89PNG") and "wrote" in done.err
    # AND it overwrites nothing, before it has read anything
    assert mapcount.main(["waste", str(path), "-o", str(picture)]) == 1
    assert not capsys.readouterr().out
    # AND JSON has the rows of the frame
    assert mapcount.main(["waste", str(path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["life"] for row in rows] == analysis.open_trace(str(path)).df_waste()[
        "life"
    ].tolist()
    assert [row["queued_ts"] for row in rows] == [None, None]


def test_command_when_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN a trace without partially mapped folios WHEN the command runs THEN it says so
    kernel = MockKernel(MockTrace("large"))
    kernel.map_pmd(kernel.alloc(HEAD), PARENT)
    path, picture = tmp_path / "t.mapcount", tmp_path / "w.svg"
    kernel.trace.write(path)
    assert mapcount.main(["waste", str(path), "-o", str(picture)]) == 0
    assert "no anonymous folio was partially mapped" in capsys.readouterr().out
    assert picture.exists()


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "6.12", "7.x"])
def test_lifecycle_when_recorded_on_a_kernel(kernel: str) -> None:
    # GIVEN the recorded lifecycle, whose parent unmaps 32 pages of 512 before the folio is split
    trace = analysis.open_trace(str(ROOT / f"tests/golden/{kernel}-lifecycle.mapcount"))
    (one,) = trace.df_waste().to_dict("records")
    # THEN they are kept from then on until the split
    assert (one["most_bytes"], one["last_bytes"], one["comm"]) == (
        32 * PAGE,
        32 * PAGE,
        "lifecycle",
    )
    assert (one["end"], one["tries"], one["result"]) == ("split", 1, 0)
    assert 0 < one["queued_ts"] - one["from_ts"] < 1_000_000
    marks = trace.df_marks().set_index("name")["ts"]
    assert marks["second_exit"] < one["from_ts"] < marks["partial"] < one["to_ts"]


def test_picture_shows_what_is_kept_when_there_are_many_steps(tmp_path: Path) -> None:
    # GIVEN a folio that is unmapped and mapped again more often than a picture has columns
    kernel = MockKernel(MockTrace("large"))
    folio = kernel.alloc(HEAD, 4)
    kernel.map_pte(folio, PARENT, 0, folio.pages)
    for _ in range(2500):
        kernel.unmap_pte(folio, PARENT, 0)
        kernel.map_pte(folio, PARENT, 0)
    trace = opened(kernel.trace, tmp_path)
    # WHEN it is drawn
    figure = plot_waste(trace)
    # THEN the most that was kept at once is in both panels
    for panel in figure.axes:
        tops = [
            path.vertices[:, 1].max() for each in panel.collections for path in each.get_paths()
        ]
        assert np.isclose(max(tops), 4.0)


def published(shot: pd.DataFrame) -> int:
    """Bytes that nothing maps of anonymous folios of which something is, by /proc."""
    anon = (shot["kpageflags"].to_numpy(np.int64) >> KPF_ANON & 1) == 1
    partly = shot[(shot["order"] > 0) & anon]["head_pfn"]
    pages = shot[shot["head_pfn"].isin(partly)]
    return int((pages["kpagecount"] == 0).sum()) * PAGE


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "6.12", "7.x"])
def test_kernel_says_the_same_at_each_mark(kernel: str) -> None:
    # GIVEN a recorded trace and what /proc said at its marks
    trace = analysis.open_trace(str(ROOT / f"tests/golden/{kernel}-lifecycle.mapcount"))
    shots = [shot for _, shot in trace.df_truth().groupby("snapshot")]
    # WHEN it is asked what was kept then THEN it is what nothing mapped
    told = [at(trace, int(shot["ts_begin"].iloc[0])) for shot in shots]
    assert told == [published(shot) for shot in shots]
    # AND there was something to say
    assert max(told) == 32 * PAGE and len(told) > 5
