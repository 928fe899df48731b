# SPDX-License-Identifier: GPL-2.0-or-later
"""What reading a trace costs, beside a plain read of its bytes and beside text in pandas.

    python -m tests.bench.offline steps|scale [--most EVENTS]

steps: each step of the analysis on one file; out/bench/offline.json.
scale: whole commands on files of 10^5 events and more; out/bench/offline-scale.json.

All times are CPU time, so that a busy machine does not spoil them much.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import analysis
from analysis.log import Log
from analysis.records import batches
from analysis.source import Source
from analysis.trace import Trace
from probes.events import FIELDS
from tests.bench.synthetic import generate

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out" / "bench"
ROUNDS = 5
STEP_EVENTS, STEP_LIVES = 2_000_000, 1000
#: Folios of a file; 6000 and what they are split into have 10^5 lives.
FOLIOS = (6000, 10, 1000)
SIZES = (10**5, 10**6, 10**7, 10**8)
#: The shortest life of a folio and its pages.
EVENTS_OF_FOLIO = 105

Rows = list[dict[str, Any]]

STEP_COLUMNS = {
    "step": f"what is done with a file of {STEP_EVENTS} events of {STEP_LIVES} folios",
    "M events/s": f"per second of one core's time, the median of {ROUNDS} rounds",
    "goal": "the goal that was set",
    "spread": "the slowest round's time less the fastest's, as a share of the median",
    "of read": "its time as a multiple of the plain read's, the median of the rounds' ratios",
    "of text": "its time as a share of reading the same fields as text, likewise",
}
STEP_NOTES = [
    "Reading the fields as text is what remains to be done once another tool has printed a line "
    "for each event; with the tool's own work it is in the table of the peers. Perfetto's trace "
    "processor was not measured: its Python package fetches the program itself when it is used.",
]
SCALE_NOTES = [
    "Memory does not grow with the trace but with the number of lives, of which the tables of "
    "`lives` and `timeline` hold a row each, and with the events of the busiest frame of memory, "
    "which are read at once. Two bytes an event are kept besides; eight by `audit`.",
]
SCALE_COLUMNS = {
    "command": "a whole command, in a process of its own",
    "events": "in the file, 72 bytes each",
    "folios": "in the file; each has 17 lives, counting what it is split into",
    "CPU s": "time of one core, user and system",
    "µs/event": "the same for each event",
    "peak MiB": "most memory at any time, the mapped pages of the file included",
}


class Given(NamedTuple):
    """The file of a round: as a trace, as text, and opened a moment ago."""

    path: str
    printed: str
    trace: Trace


def read(given: Given) -> None:
    """The limit: nothing but the bytes."""
    np.fromfile(given.path, np.uint8)


def text(given: Given) -> None:
    """What is left to do when another tool has printed its events."""
    pd.read_csv(given.printed)


def blocks(given: Given) -> None:
    """Find all blocks and check their sums."""
    with Source(given.path) as source:
        source.read()


def decode(given: Given) -> None:
    """The blocks, and every field of the records as an array."""
    with Source(given.path) as source:
        source.read()
        for batch in batches(source.chunks):
            for name, *_ in FIELDS:
                np.ascontiguousarray(batch[name])


def census(given: Given) -> None:
    """Open a trace: the blocks, and its records counted."""
    analysis.open_trace(given.path)


def lives(given: Given) -> None:
    """Cut an open trace into lives."""
    for part, _ in given.trace.parts():
        part.lives.of.sum()


def audit(given: Given) -> None:
    """Hold an open trace against all rules."""
    given.trace.df_findings()


def replay(given: Given) -> None:
    """Cut an open trace into lives and replay all their counters."""
    for part, _ in given.trace.parts():
        part.replay(range(len(part.lives)))


STEPS: dict[str, Callable[[Given], None]] = {
    "plain numpy read of the same bytes": read,
    "the same fields as text into pandas": text,
    "find blocks, check their sums": blocks,
    "decode: blocks, and all fields as arrays": decode,
    "open: blocks, and a count of everything": census,
    "cut an open trace into lives": lives,
    "reconstruct: cut an open trace, replay all counters": replay,
    "audit: reconstruct, and hold it against all rules": audit,
}


GOALS: dict[Callable[[Given], None], int] = {decode: 20, replay: 3, audit: 1}


def write_text(trace: Trace, path: Path) -> None:
    """The records as a text tool prints them, one line each."""
    log: Log = trace.log
    pd.DataFrame({name: log.raw[name] for name, *_ in FIELDS}).to_csv(path, index=False)


def measure_steps(folder: Path) -> Rows:
    """Each step in every round, so that its neighbours share the round's conditions."""
    path, printed = folder / "steps.mapcount", folder / "steps.csv"
    events = generate(path, STEP_EVENTS, STEP_LIVES).events
    write_text(analysis.open_trace(str(path)), printed)
    times: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(ROUNDS):
        for name, step in STEPS.items():
            given = Given(str(path), str(printed), analysis.open_trace(str(path)))
            begin = time.process_time()
            step(given)
            times[name].append(time.process_time() - begin)
    limit, peer = list(STEPS)[:2]
    return [
        {
            "step": name,
            "M events/s": round(events / statistics.median(took) / 1e6, 2),
            "goal": GOALS.get(STEPS[name]),
            "spread": round((max(took) - min(took)) / statistics.median(took), 2),
            "of read": round(_ratio(took, times[limit]), 1),
            "of text": round(_ratio(took, times[peer]), 3),
        }
        for name, took in times.items()
    ]


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def run(*command: str) -> tuple[float, float]:
    """Run a command of ours: CPU seconds and peak MiB."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "mapcount.py"), *command], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: mapcount {' '.join(command)}: exit {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def measure_scale(folder: Path, least: int, most: int, done: Rows) -> Iterator[Rows]:
    """Whole commands at each size that the folios fit into; yields all rows after each file."""
    rows = {(row["command"], row["folios"], row["events"]): row for row in done}
    for size in [size for size in SIZES if least <= size <= most]:
        for folios in [folios for folios in FOLIOS if folios * EVENTS_OF_FOLIO <= size]:
            path, drawn = folder / "scale.mapcount", str(folder / "life.png")
            events = generate(path, size, folios).events
            picture = ["-f", "-o", drawn]
            for name in ("stats", "lives", "timeline", "audit"):
                more = picture if name == "timeline" else []
                seconds, peak = run(name, str(path), *more)
                rows[name, folios, events] = {
                    "command": name,
                    "events": events,
                    "folios": folios,
                    "CPU s": round(seconds, 2),
                    "µs/event": round(seconds / events * 1e6, 2),
                    "peak MiB": round(peak),
                }
            path.unlink()
            yield [rows[key] for key in sorted(rows)]


def write(name: str, title: str, columns: dict[str, str], rows: Rows, notes: list[str]) -> None:
    """Write one table."""
    OUT.mkdir(parents=True, exist_ok=True)
    table = {"name": name, "title": title, "columns": columns, "rows": rows, "notes": notes}
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {path}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Measure one table and write it as JSON."""

    def number(text: str) -> int:
        return int(float(text))

    parser = argparse.ArgumentParser(prog="python -m tests.bench.offline")
    parser.add_argument("kind", choices=["steps", "scale"])
    parser.add_argument("--least", type=number, default=0, metavar="EVENTS",
                        help="measure larger files alone; the rows of others stay")  # fmt: skip
    parser.add_argument("--most", type=number, default=10**7, metavar="EVENTS",
                        help="in the largest file; 1e8 needs 8 GB of disk")  # fmt: skip
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mapcount-bench-") as scratch:
        if args.kind == "steps":
            title = "On the laptop: what each step costs"
            write("offline", title, STEP_COLUMNS, measure_steps(Path(scratch)), STEP_NOTES)
        else:
            title = "On the laptop: whole commands, from small traces to large ones"
            path = OUT / "offline-scale.json"
            done = json.loads(path.read_text())["rows"] if args.least and path.exists() else []
            for rows in measure_scale(Path(scratch), args.least, args.most, done):
                write("offline-scale", title, SCALE_COLUMNS, rows, SCALE_NOTES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
