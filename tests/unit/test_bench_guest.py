# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest benchmark's tables, from what a guest measured."""

import os
import runpy
import sys

import pytest

import probes.__main__
import probes.make
import probes.plan
from probes import kept
from tests.bench.guest import HERE, cost_rows, loss_rows, many_cpus_rows, start_rows


def test_cost_rows_when_one_tracer_failed():
    # GIVEN runs of 10 pages (20 events) and readings of 4 pages, and a tracer that did not start
    results = {
        "none": {
            "runs": [(10, 1000, 0)],
            "scan": [(4, 400)],
            "pin": [(8, 800)],
            "touched": 10,
        },
        "bpftrace": {"runs": [(10, 3000, 600)], "scan": [(4, 400)], "ready": 1.0, "touched": 10},
        "mapcount": {
            "runs": [(10, 1200, 40), (10, 1160, 40), (10, 1240, 80)],
            "scan": [(4, 440)],
            "pin": [(8, 1600), (8, 1608)],
            "ready": 2.0,
            "touched": 40,
            "bytes": 800,
        },
        "perf": {"error": "no tracing"},
    }
    # WHEN they become rows
    rows = {row["tracer"]: row for row in cost_rows(results)}
    # THEN costs are per event above none, with their spread and the ratio to the peer
    assert rows["mapcount"]["instructions"] == 10
    assert rows["mapcount"]["spread"] == 4
    assert rows["mapcount"]["repeats"] == 3
    assert (rows["mapcount"]["consumer"], rows["mapcount"]["path"]) == (2, 8)
    assert rows["mapcount"]["scan"] == 10
    assert (rows["mapcount"]["pin"], "pin" in rows["bpftrace"]) == (100, False)
    assert (rows["mapcount"]["bytes"], rows["bpftrace"]["bytes"]) == (10.0, None)
    assert rows["mapcount"]["of bpftrace"] == 0.1
    # AND what did not run has no row
    assert "perf" not in rows


def test_start_rows_when_compared_with_bpftrace():
    # GIVEN starts of ours and of bpftrace, and a tracer that did not start
    results = {
        "mapcount, kept": {"seconds": [1.5, 1.7, 1.6], "phases": {"attaching": 1.0}},
        "mapcount, compiled": {"seconds": [9.0], "phases": {"attaching": 8.0}},
        "bpftrace": {"seconds": [4.0], "phases": {"attaching": None}},
        "perf": {"error": "no tracing"},
    }
    # WHEN they become rows
    rows = {row["tracer"]: row for row in start_rows(results)}
    # THEN the median is told beside what was aimed at, for a compile by bpftrace's own
    assert (rows["mapcount, kept"]["instructions"], rows["mapcount, kept"]["goal"]) == (1.6, 2.0)
    assert rows["mapcount, kept"]["spread"] == 0.2
    assert rows["mapcount, compiled"]["goal"] == 6.0
    assert set(rows) == {"mapcount, kept", "mapcount, compiled", "bpftrace"}


def test_loss_rows_when_events_were_lost():
    # GIVEN 75 events that arrived and 25 that did not, in two seconds
    result = {"events": 75, "lost": 25, "pages": 50, "wall": 2.0, "cpu": 0.5, "bytes": 750}
    result |= {"first": 3.0, "phases": {"compiling": None, "attaching": 1.234}}
    # WHEN they become a row THEN the loss is a share of what was made
    (row,) = loss_rows({"mapcount, kept": result})
    assert (row["lost"], row["expected"]) == (0.25, 100)
    assert (row["CPU"], row["bytes"]) == (0.25, 10.0)
    # AND what a tracer with kept programs never did has no time
    assert (row["compiling"], row["attaching"]) == (None, 1.23)


def test_many_cpus_rows_when_guests_had_one_and_two(capsys):
    # GIVEN guests of one and two CPUs, of which a recording did not end well
    none = {"pages": 100, "wall": 2.0, "cpu": 0}
    result = {"events": 75, "lost": 25, "pages": 50, "wall": 2.0, "cpu": 0.5, "bytes": 750}
    two, every = "mapcount, two probes", "mapcount, all probes"
    results = {
        1: {"none": none, every: {"error": "no tracing"}, two: result},
        2: {"none": none, every: result, two: result},
    }
    # WHEN they become rows
    rows = many_cpus_rows(results)
    # THEN none is the measure of both, AND what did not run has no row, but is told
    assert [(row["tracer"], row["CPUs"]) for row in rows] == [(two, 1), (two, 2), (every, 2)]
    assert {(row["lost"], row["CPU"]) for row in rows} == {(0.25, 0.25)}
    # AND half as many pages in the same time took twice as long
    assert {row["times none"] for row in rows} == {2.0}
    assert "all probes with 1 CPUs: no tracing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "way, functions, own",
    [("fentry", "page_remove_rmap", True), ("kprobe", "all", True), ("fentry", "all", False)],
)
def test_cache_is_another_when_the_programs_are_not_the_catalogues(
    monkeypatch, tmp_path, way, functions, own
):
    # GIVEN a recorder of few probes, or by kprobes alone, or the usual one, in a guest that shares
    # the cache with all others
    shared, asked = str(tmp_path / "shared"), []
    monkeypatch.setenv(kept.VARIABLE, shared)
    monkeypatch.setattr(sys, "argv", ["few_probes.py", way, functions, "compile", "-o", "f"])
    monkeypatch.setattr(
        probes.__main__, "main", lambda argv: asked.append((argv, kept.directory()))
    )
    for module, name in ((probes.make, "by_trampoline"), (probes.plan, "HOOKS")):
        monkeypatch.setattr(module, name, getattr(module, name))
    for name in ("SITES", "TRACEPOINTS"):
        monkeypatch.setattr(probes.plan, name, getattr(probes.plan, name))
    # WHEN it compiles
    with pytest.raises(SystemExit):
        runpy.run_path(str(HERE / "few_probes.py"), run_name="__main__")
    # THEN what it makes, whose file would have the same name, gets into a cache of its own
    ((argv, folder),) = asked
    assert argv == ["compile", "-o", "f"]
    assert (folder != shared) == own
    if own:
        os.rmdir(folder)
