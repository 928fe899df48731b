# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace for other programs must tell there what it tells here, in one piece or in parts."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis import recording as recording_module
from analysis.__main__ import main
from analysis.export import tables
from analysis.export.perfetto_events import FOLIOS
from probes.tracefile import BlockType
from tests import mock_stories

GOLDEN = Path(__file__).parents[2] / "golden"
ORDER = ["ts", "cpu", "seq"]


def export(path: Path, to: str, output: Path) -> Path:
    assert main(["export", str(path), "--to", to, "-o", str(output), "-q"]) == 0
    return output


def perfetto(path: Path, output: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(export(path, "perfetto", output).read_text())[
        "traceEvents"
    ]
    return events


@pytest.fixture(params=["6.1-lifecycle", "7.x-shmem-thp"])
def golden(request: pytest.FixtureRequest) -> Path:
    return GOLDEN / f"{request.param}.mapcount"


@pytest.fixture(params=["whole", "parts"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test with the trace in one piece, and in parts."""
    if request.param == "parts":
        monkeypatch.setattr(recording_module, "PART", 1)


def test_parquet_holds_the_frames(golden: Path, tmp_path: Path) -> None:
    # GIVEN a golden trace WHEN it is exported THEN any reader of Parquet finds the same tables
    out = export(golden, "parquet", tmp_path / "out")
    trace = analysis.open_trace(str(golden))
    events = pd.read_parquet(out / "events").sort_values(ORDER, ignore_index=True)
    expected = trace.df_events().sort_values(ORDER, ignore_index=True)
    pd.testing.assert_frame_equal(events, expected, check_dtype=False, check_categorical=False)
    lives = pd.read_parquet(out / "lives.parquet").set_index("life")
    pd.testing.assert_frame_equal(lives, trace.df_lives(), check_dtype=False)
    truth = pd.read_parquet(out / "truth.parquet")
    pd.testing.assert_frame_equal(truth, trace.df_truth(), check_dtype=False)
    marks = pd.read_parquet(out / "marks.parquet")
    pd.testing.assert_frame_equal(marks, trace.df_marks(), check_dtype=False)
    tasks = pd.read_parquet(out / "tasks.parquet").set_index("tid")
    pd.testing.assert_frame_equal(tasks, trace.df_tasks(), check_dtype=False)
    assert json.loads((out / "meta.json").read_text()) == trace.meta


def test_parquet_holds_findings_and_stacks_when_there_are_some(tmp_path: Path) -> None:
    # GIVEN a trace with races, and stacks
    trace = mock_stories.seed_2015()
    trace.items.append((BlockType.STACKS, {"5": [["inner", ""], ["outer", ""]]}))
    path = trace.write(tmp_path / "t")
    # WHEN it is exported THEN each finding is whole, with its events
    out = export(path, "parquet", tmp_path / "out")
    opened = analysis.open_trace(str(path))
    findings = pd.read_parquet(out / "findings.parquet")
    expected = opened.df_findings()
    for name in ("rule", "life", "comm", "sentence", "expected"):
        assert findings[name].astype(str).tolist() == expected[name].astype(str).tolist()
    assert [tuple(one) for one in findings["events"]] == expected["events"].tolist() != []
    # AND so are the stacks
    stacks = pd.read_parquet(out / "stacks.parquet").set_index("stack")
    assert stacks["text"].to_dict() == {5: "inner\nouter"}


def test_a_life_is_in_one_file_of_parquet(golden: Path, tmp_path: Path) -> None:
    # GIVEN a trace that was exported WHEN its files are read THEN no life is in two
    files = sorted((export(golden, "parquet", tmp_path / "out") / "events").iterdir())
    lives = [set(pd.read_parquet(file)["life"]) - {-1} for file in files]
    assert sum(map(len, lives)) == len(set().union(*lives)) > 0


def test_csv_holds_every_event(golden: Path, tmp_path: Path) -> None:
    # GIVEN a golden trace WHEN it is exported as CSV
    lines = pd.read_csv(export(golden, "csv", tmp_path / "out.csv"), dtype=str, na_values=[""])
    # THEN each event is a line with the same values
    expected = analysis.open_trace(str(golden)).df_events()
    assert list(lines) == list(expected)
    lines = lines.astype({"ts": int, "cpu": int, "seq": int}).sort_values(ORDER)
    expected = expected.sort_values(ORDER)
    for name in ("ts", "pfn", "mapcount", "life", "event", "comm"):
        assert [str(value) for value in lines[name].dropna()] == [
            str(value) for value in expected[name].dropna()
        ]
        assert lines[name].isna().tolist() == expected[name].isna().tolist()


def test_perfetto_has_a_process_for_each_folio_with_its_counters(tmp_path: Path) -> None:
    # GIVEN the lifecycle on 6.1, where three mappings of the whole come one by one
    path = GOLDEN / "6.1-lifecycle.mapcount"
    events = perfetto(path, tmp_path / "out.json")
    trace = analysis.open_trace(str(path))
    # THEN the folio is named
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"
             and event["name"] == "process_name"}  # fmt: skip
    assert names[FOLIOS] == "folio 0x112000 order 9 anon, life 0"
    # AND its counter goes as the frame of counts says
    counts = trace.df_counts(0, [])
    entire = counts[(counts["counter"] == "entire_mapcount") & (counts["source"] == "replayed")]
    drawn = [
        (round(event["ts"] * 1000) + trace.census.first_ts, event["args"]["value"])
        for event in events
        if event["ph"] == "C" and event["name"] == "PMD mappings"
    ]
    assert drawn == list(zip(entire["ts"].tolist(), entire["value"].tolist(), strict=True))
    assert max(value for _, value in drawn) == 3
    # AND the marks are there, and every operation once
    marks = [event["name"] for event in events if event.get("cat") == "mark"]
    assert marks == trace.df_marks()["name"].tolist()
    frame = trace.df_events()
    planned = frame[(frame["phase"] != "return") & ~frame["op"].isin(["mark", "task_new",
                    "task_rename", "task_exit"])]  # fmt: skip
    operations = [event["name"] for event in events if event.get("cat") == "operation"]
    assert Counter(operations) == Counter(planned["event"])


def test_perfetto_has_arrows_from_a_split(tmp_path: Path) -> None:
    # GIVEN a folio of 7.x that was split into smaller folios
    path = GOLDEN / "7.x-shmem-thp.mapcount"
    events = perfetto(path, tmp_path / "out.json")
    lives = analysis.open_trace(str(path)).df_lives()
    born = lives[(lives["birth"] == "split") & (lives["order"] > 0)]
    # THEN an arrow leads to each from the life that it came from, and begins inside that
    arrows = [event for event in events if event.get("cat") == "split"]
    ends = [event["pid"] - FOLIOS for event in arrows if event["ph"] == "f"]
    assert sorted(ends) == born.index.tolist() != []
    whole = {event["pid"]: event for event in events if event.get("cat") == "life"}
    for event in arrows:
        if event["ph"] == "s":
            life = whole[event["pid"]]
            assert life["ts"] <= event["ts"] <= life["ts"] + life["dur"]


def test_perfetto_shows_a_race(tmp_path: Path) -> None:
    # GIVEN a reader that looked while the folio was freed WHEN exported THEN its slice says so
    path = mock_stories.seed_2015(rounds=2).write(tmp_path / "t")
    raced = [
        event for event in perfetto(path, tmp_path / "out.json") if "race" in event.get("args", {})
    ]
    lives = analysis.open_trace(str(path)).df_lives()
    assert len(raced) == lives["raced_reads"].sum() > 0
    assert {event["ph"] for event in raced} == {"X"}


@pytest.fixture
def decoded(tmp_path: Path) -> Callable[[Path], tuple[Any, list[Any]]]:
    """A function: a trace -> Perfetto's classes, and the packets of its .pftrace."""
    protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")

    def decode(path: Path) -> tuple[Any, list[Any]]:
        trace = protos.Trace()
        trace.ParseFromString(export(path, "perfetto", tmp_path / "out.pftrace").read_bytes())
        return protos, list(trace.packet)

    return decode


def test_protobuf_tells_what_json_tells(
    golden: Path, decoded: Callable[[Path], tuple[Any, list[Any]]], tmp_path: Path
) -> None:
    # GIVEN both files of a trace WHEN the names and the tracks of the protobuf are looked up
    protos, packets = decoded(golden)
    types = protos.TrackEvent.Type
    names: dict[int, str] = {}
    tracks: dict[int, Any] = {}
    told: Counter[tuple[str, str, int, str]] = Counter()
    counters: Counter[tuple[str, str, int, int]] = Counter()
    assert packets[0].sequence_flags == protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    for packet in packets:
        for table in ("event_names", "debug_annotation_names"):
            names |= {one.iid: one.name for one in getattr(packet.interned_data, table)}
        if packet.HasField("track_descriptor"):
            tracks.setdefault(packet.track_descriptor.uuid, packet.track_descriptor)
        elif packet.HasField("track_event"):
            event = packet.track_event
            track = tracks[event.track_uuid]
            if types.Name(event.type) == "TYPE_COUNTER":
                folio = tracks[track.parent_uuid].name
                counters[folio, track.name, packet.timestamp, event.counter_value] += 1
            elif types.Name(event.type) != "TYPE_SLICE_END":
                cpu = [one.int_value for one in event.debug_annotations
                       if names[one.name_iid] == "cpu"]  # fmt: skip
                told[types.Name(event.type), names[event.name_iid], packet.timestamp, str(cpu)] += 1
    # THEN every slice, instant and value of the JSON is there at its time
    events = perfetto(golden, tmp_path / "out.json")
    folios = {event["pid"]: event["args"]["name"] for event in events
              if event["name"] == "process_name"}  # fmt: skip
    assert counters == Counter(
        (folios[one["pid"]], one["name"], round(one["ts"] * 1000), one["args"]["value"])
        for one in events if one["ph"] == "C"
    )  # fmt: skip
    kinds = {"X": "TYPE_SLICE_BEGIN"}
    assert told == Counter(
        (kinds.get(one["ph"], "TYPE_INSTANT"), one["name"], round(one["ts"] * 1000),
         str([one["args"]["cpu"]] if "cpu" in one.get("args", {}) else []))
        for one in events if one["ph"] not in "MC"
    )  # fmt: skip
    # AND each slice ends
    ends = [one for one in packets if one.track_event.type == types.Value("TYPE_SLICE_END")]
    assert len(ends) == sum(kind == "TYPE_SLICE_BEGIN" for kind, *_ in told.elements())
    # AND it is smaller by half
    small, large = (tmp_path / name for name in ("out.pftrace", "out.json"))
    assert small.stat().st_size < 0.5 * large.stat().st_size


def test_protobuf_names_threads_and_leads_from_a_split(
    decoded: Callable[[Path], tuple[Any, list[Any]]],
) -> None:
    # GIVEN a folio of 7.x that was split into smaller folios
    path = GOLDEN / "7.x-shmem-thp.mapcount"
    _, packets = decoded(path)
    trace = analysis.open_trace(str(path))
    # THEN an arrow leads to each of these
    begun = [one for packet in packets for one in packet.track_event.flow_ids]
    ended = [one for packet in packets for one in packet.track_event.terminating_flow_ids]
    lives = trace.df_lives()
    born = lives[(lives["birth"] == "split") & (lives["order"] > 0)]
    assert sorted(begun) == sorted(ended) == born.index.tolist()
    # AND the threads have their names
    named = {
        packet.track_descriptor.thread.tid: packet.track_descriptor.thread.thread_name
        for packet in packets
        if packet.track_descriptor.thread.thread_name
    }
    assert named == trace.df_tasks()["comm"].astype(str).to_dict()


def test_perfetto_warns_when_the_file_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace that makes more than a page likes WHEN it is exported
    path = mock_stories.lifecycle().write(tmp_path / "t")
    monkeypatch.setattr("analysis.export.perfetto.LARGE", 1000)
    assert main(["export", str(path), "--to", "perfetto", "-o", str(tmp_path / "out.json")]) == 0
    # THEN it is said what makes it smaller
    told = capsys.readouterr().err
    assert "make the page slow" in told and ".pftrace" in told


def test_command_refuses_when_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN an environment without pyarrow WHEN Parquet is wanted THEN a line says what to install
    path = mock_stories.lifecycle().write(tmp_path / "t")
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    assert main(["export", str(path), "--to", "parquet", "-o", str(tmp_path / "out")]) == 1
    assert "pip install pyarrow" in capsys.readouterr().err
    # GIVEN one without Perfetto's classes WHEN its protobuf is wanted THEN likewise
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    wanted = ["export", str(path), "--to", "perfetto", "-o", str(tmp_path / "out.pftrace")]
    assert main(wanted) == 1
    assert "pip install perfetto" in capsys.readouterr().err
    # AND what is there is overwritten only when asked
    done = export(path, "csv", tmp_path / "out.csv")
    again = ["export", str(path), "--to", "csv", "-o", str(done)]
    assert main(again) == 1
    assert main([*again, "-f"]) == 0
    assert not list(tmp_path.glob("*.partial"))
