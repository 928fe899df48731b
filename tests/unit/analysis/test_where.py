# SPDX-License-Identifier: GPL-2.0-or-later
"""Where pages are mapped, by records alone: against page tables, and as it is shown."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis import recording as recording_module
from analysis import where_frame
from analysis.__main__ import main
from analysis.errors import AnalysisError
from analysis.slicing import Wanted, write_slice
from analysis.trace import Trace
from analysis.where import mapped_at, spans_of
from probes.events import NO_ADDRESS
from tests.mock import MockTrace
from tests.mock_kernel import apply, maps
from tests.mock_places import A, B, PlacedKernel, mm_of, story

HEAD = 0x400
PIDS = (100, 101, 102)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("map_pmd", "map_pte", "unmap_pte", "unmap_pmd", "fork", "split_pmd", "move", "split")
        ),
        st.sampled_from(PIDS),
        st.sampled_from(PIDS),
        st.integers(0, 3),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=40,
)
Step = tuple[str, int, int, int, int]


def _apply(kernel: PlacedKernel, step: Step, number: int) -> None:
    """Do a step on the first folio if the page tables allow it, as a process could."""
    what, pid, other, page, nr = step
    folio = kernel.folios[0]
    page = min(page, folio.pages - 1)
    if what == "move" and maps(folio, pid):
        kernel.move(folio, pid, page, min(nr, folio.pages - page), B + (number << 20))
    elif what == "split" and folio.anon and folio.order and (folio.pmds or folio.ptes):
        kernel.split_folio(folio)
    else:
        apply(kernel, folio, (what, pid, other, page, nr))


def told_at(trace: Trace, times: list[int]) -> list[set[tuple[int, int, int]]]:
    """(address space, address, pfn) of each page that is mapped at some times."""
    found = []
    for spaces in mapped_at(trace.whole, times):
        found.append(
            {
                (mm, base + page * spaces.page_size, int(trace.lives.head[life]) + page)
                for mm, here in spaces.of.items()
                for (life, base), mapping in here.items()
                for first, length in mapping.mapped()
                for page in range(first, first + length)
            }
        )
    return found


@pytest.mark.parametrize("era", ["double_map", "subpages", "large", "owners", "summed"])
@pytest.mark.parametrize("anon", [True, False])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_places_equal_page_tables_when_programs_are_random(
    era: str, anon: bool, steps: list[Step]
) -> None:
    # GIVEN operations on a folio of four pages by three processes, which may move what they map
    trace = MockTrace(era)
    kernel = PlacedKernel(trace, PIDS)
    kernel.alloc(HEAD, 2, anon)
    history = []
    for number, step in enumerate(steps):
        _apply(kernel, step, number)
        tables = {(mm_of(pid), address, pfn) for pid, address, pfn in kernel.mapped()}
        history.append((trace.now, tables))
    # WHEN the records are read
    with tempfile.TemporaryDirectory() as folder:
        read = analysis.open_trace(str(trace.write(Path(folder) / "t.mapcount")))
        found = told_at(read, [ts for ts, _ in history])
    # THEN after each operation they tell what the page tables hold
    assert found == [tables for _, tables in history]


def written(folder: Path) -> Path:
    return story().write(folder / "t.mapcount")


def opened(folder: Path) -> Trace:
    return analysis.open_trace(str(written(folder)))


def rows_at(frame: pd.DataFrame, name: str) -> list[tuple[object, ...]]:
    here = frame[frame["name"] == name]
    columns = ["pid", "vma", "kind", "address", "first_page", "pages", "runs"]
    return list(here[columns].itertuples(index=False, name=None))


WHOLE, PART = "anon-thp-pmd-aligned-2048kB", "anon-thp-pte-partial"


def test_df_where_when_parts_are_moved_and_dropped(tmp_path: Path) -> None:
    # GIVEN a folio in two processes WHEN it is asked where it is
    frame = opened(tmp_path).df_where()
    # THEN each run of pages in each mapping is a row, cut where the mapping ends
    assert rows_at(frame, "whole") == [
        (100, "heap", PART, A, 0, 256, 1),
        (100, "", PART, A + (1 << 20), 256, 256, 1),
    ]
    assert rows_at(frame, "parts")[2:] == [
        (101, "\x1b[moved", PART, B + 4096, 256, 256, 1),
        (101, "heap", PART, A, 0, 16, 2),
        (101, "heap", PART, A + 32 * 4096, 32, 224, 2),
    ]
    # AND a process that has another address space has its own mappings alone
    last = frame[(frame["name"] == "exec") & (frame["pid"] == 101)]
    assert last["mm"].tolist() == [mm_of(500)] and last["comm"].tolist() == ["other"]
    assert last["kind"].tolist() == ["anon-thp-pte-unaligned-16kB"]
    # AND at the end, of which there is no snapshot, no mapping has a name
    end = frame[frame["name"] == "end of the trace"]
    assert end["vma_start"].isna().all() and end["kind"].tolist()[0] == WHOLE


def test_frames_when_places_were_recorded(tmp_path: Path) -> None:
    # GIVEN the same trace
    trace = opened(tmp_path)
    # THEN operations have their address space and address, and other records have none
    events = trace.df_events()
    maps = events[events["op"].isin(["map", "unmap"]) | (events["ret"] == 0)]
    assert maps["mm"].notna().all() and maps["address"].notna().all()
    assert events[events["op"] == "alloc"]["mm"].isna().all()
    first = maps.iloc[0]
    assert (first["mm"], first["address"]) == (mm_of(100), A)
    # AND lives know how many address spaces they were in, and place records are of no life
    assert trace.df_lives()["mms"].tolist() == [2, 1]
    assert (events[events["event"] == "place"]["life"] == -1).all()


def test_frames_when_places_were_not_recorded(tmp_path: Path) -> None:
    # GIVEN a trace without places
    trace = analysis.open_trace(str(MockTrace().write(tmp_path / "plain")))
    # THEN nothing is said of them
    assert trace.df_lives()["mms"].isna().all() and trace.df_events()["mm"].isna().all()
    # AND who asks where pages are is told why there is no answer
    with pytest.raises(AnalysisError, match="record with --where"):
        trace.df_where()


def test_df_where_when_an_address_is_not_known(tmp_path: Path) -> None:
    # GIVEN a KSM page, of which no index tells where it is mapped
    trace = MockTrace("large")
    PlacedKernel(trace, (100,))
    trace.record("alloc", 0x900)
    trace.place(0x900, mm_of(100), NO_ADDRESS)
    trace.record("map_anon", 0x900, anon=True)
    found = analysis.open_trace(str(trace.write(tmp_path / "t")))
    # THEN its address space is told, and no address
    row = found.df_events().iloc[-1]
    assert row["mm"] == mm_of(100) and row["address"] is pd.NA
    assert found.df_lives()["mms"].tolist() == [1] and len(found.df_where()) == 0


def test_df_where_when_the_trace_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace that is read frame by frame THEN the frame is the same
    path = str(written(tmp_path))
    whole = analysis.open_trace(path).df_where()
    monkeypatch.setattr(recording_module, "PART", 1)
    divided = analysis.open_trace(path)
    assert divided.divided
    pd.testing.assert_frame_equal(divided.df_where(), whole)
    assert divided.df_lives()["mms"].tolist() == [2, 1]


def test_spaces_when_a_slice_begins_later(tmp_path: Path) -> None:
    # GIVEN a slice that begins after a fork and ends before the exec
    trace = opened(tmp_path)
    begin = int(trace.df_marks()["ts"][1])
    write_slice(trace, str(tmp_path / "slice"), Wanted(begin, begin + 20_000))
    # THEN it knows which address space each process has then
    part = analysis.open_trace(str(tmp_path / "slice"))
    assert part.recording.spaces.at(begin) == {mm_of(100): [100], mm_of(101): [101]}


def test_dump_when_there_are_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN places and moves WHEN the file is dumped THEN each is a line
    assert main(["dump", str(written(tmp_path))]) == 0
    text = capsys.readouterr().out
    mm = f"mm={mm_of(101):#x}"
    assert f" place pfn=0x800 mm={mm_of(100):#x} address={A:#x}\n" in text
    assert f" moved {mm} from={A + (1 << 20):#x} to={B + 4096:#x} bytes=4096\n" in text
    assert f" task_new new=101 {mm} 'child'\n" in text


def test_error_when_an_address_is_beyond_any(tmp_path: Path) -> None:
    # GIVEN a forged trace with an address that no process has THEN it is refused
    trace = MockTrace("large")
    trace.place(0x900, 1, 1 << 63)
    with pytest.raises(AnalysisError, match="virtual address that no kernel can have"):
        analysis.open_trace(str(trace.write(tmp_path / "t")))


def test_where_command_when_asked_for_a_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN the story WHEN the command is asked for one mark and one process
    path = str(written(tmp_path))
    assert main(["where", path, "--mark", "parts", "--pid", "101"]) == 0
    text = capsys.readouterr().out
    # THEN its mappings are one table, and a name in it cannot change the terminal
    assert text.startswith("parts (") and "whole" not in text
    assert [line.split()[-2:] for line in text.splitlines()[2:4]] == [["1", "1024"], ["1", "960"]]
    assert "\x1b" not in text and "\\x1b[moved" in text
    # AND of one life each place is a row
    assert main(["where", path, "--life", "0", "--mark", "parts"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 7
    # AND JSON has the same rows
    assert main(["where", path, "--mark", "parts", "--pid", "101", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["pages"] for row in rows] == [256, 16, 224]
    assert rows[0]["mm"] == f"{mm_of(101):#x}"


def test_where_command_when_the_mark_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a mark that is none THEN those that are are named
    assert main(["where", str(written(tmp_path)), "--mark", "nowhere"]) == 1
    assert "no mark 'nowhere': give one of whole, parts, exec, end" in capsys.readouterr().err


def test_where_command_when_there_are_too_many_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace with more places at all its marks than are told at once
    monkeypatch.setattr(where_frame, "MOST", 4)
    path = str(written(tmp_path))
    # THEN who asks for all is told to ask for one mark, of which all is told
    assert main(["where", path]) == 1
    assert "more than 4 places at all marks: ask for one mark" in capsys.readouterr().err
    assert main(["where", path, "--mark", "whole"]) == 0


def test_spans_when_parts_are_moved_and_dropped(tmp_path: Path) -> None:
    # GIVEN the story WHEN it is asked what was mapped from when until when
    trace = opened(tmp_path)
    spans = spans_of(trace.whole, trace.census.last_ts)
    # THEN each span begins and ends with what tables say: at each mark the same is mapped
    for moment, frame in trace.df_where().groupby("ts"):
        there = {
            (one.mm, one.life, one.address + page * 4096, one.pmd)
            for one in spans
            if one.begin <= moment and (moment < one.end or one.end == trace.census.last_ts)
            for page in range(one.pages)
        }
        rows = zip(
            *(frame[name].tolist() for name in ("mm", "life", "address", "pmd", "pages")),
            strict=True,
        )
        assert there == {
            (mm, life, address + page * 4096, pmd)
            for mm, life, address, pmd, pages in rows
            for page in range(pages)
        }
    # AND none is empty
    assert all(one.begin < one.end and one.pages > 0 for one in spans)


def test_picture_when_a_life_or_a_process_is_drawn(tmp_path: Path) -> None:
    # GIVEN the story WHEN all of it, a life, and a process are drawn
    trace = opened(tmp_path)
    every, life, process = (
        [label.get_text() for label in figure.axes[0].get_yticklabels()]
        for figure in (
            analysis.plot_where(trace),
            analysis.plot_where(trace, life=1),
            analysis.plot_where(trace, pid=100),
        )
    )
    # THEN each range of addresses of each address space has a lane, in the order of time
    ranges = [label.split()[2].split("-")[0] for label in every]
    assert ranges == [f"{A:x}", f"{B + 4096:x}", f"{A:x}", f"{A + 0x5000:x}"]
    assert life == every[3:] and process == every[:1]
    # AND a name only shows
    assert "\x1b" not in every[1] and "moved" in every[1]


def test_picture_when_nothing_is_mapped(tmp_path: Path) -> None:
    # GIVEN a trace with places, in which a process maps nothing THEN the picture says so
    figure = analysis.plot_where(opened(tmp_path), pid=4711)
    assert [text.get_text() for text in figure.axes[0].texts][0] == "nothing is mapped"
    # AND where places were not recorded, there is none
    plain = analysis.open_trace(str(MockTrace().write(tmp_path / "plain")))
    with pytest.raises(AnalysisError, match="record with --where"):
        analysis.plot_where(plain)
