# SPDX-License-Identifier: GPL-2.0-or-later
"""What it takes to get recorded events into pandas: by the peers' own reports, and by us.

    python -m tests.bench.peers

Reads the files of one load that trace-cmd, perf and the recorder left in out/bench/ when the guest
benchmark ran; out/bench/offline-peers.json.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import analysis
from analysis.slicing import Wanted, write_slice
from tests.bench.guest import peers_root
from tests.bench.offline import OUT, ROUNDS, Rows, write
from vm import kernels

REPORTS = {
    "trace-cmd": ["trace-cmd", "report", "-i"],
    "perf": ["perf", "script", "-i"],
}
#: Words of a line of either report, at most.
WORDS = 16
OURS = "mapcount, all events"

COLUMNS = {
    "reader": "what makes a data frame of a file; of a peer's it is its own report, whose lines "
    "pandas takes apart at their blanks",
    "events": "in the file",
    "bytes": "of the file for each event",
    "M events/s": f"per second of CPU time of all processes, the median of {ROUNDS} rounds",
    "spread": "the slowest round's time less the fastest's, as a share of the median",
    "times ours": "its time for an event as a multiple of ours for a frame of all events",
}


def program(root: Path, words: list[str]) -> list[str]:
    """A command of another Debian's root, run by that root's own loader and libraries."""
    libraries = ":".join(
        str(root / name) for name in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
    )
    loader = str(root / "lib64/ld-linux-x86-64.so.2")
    return [loader, "--library-path", libraries, str(root / "usr/bin" / words[0]), *words[1:]]


def reported(command: list[str]) -> int:
    """Pipe a report into pandas; returns its number of lines."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        frame = pd.read_csv(
            process.stdout, sep=r"\s+", header=None, names=list(range(WORDS)), on_bad_lines="error"
        )
    if process.returncode:
        raise SystemExit(f"error: {' '.join(command)}: exit {process.returncode}")
    return len(frame)


def framed(path: str) -> int:
    """Make the frame of all events."""
    return len(analysis.open_trace(path).df_events())


def audited(path: str) -> int:
    """Audit every event."""
    trace = analysis.open_trace(path)
    trace.df_findings()
    return trace.census.events


def timed(work: Callable[[], int]) -> tuple[int, list[float]]:
    """How many events it took in, and the CPU seconds of each round, children included."""
    took = []
    for _ in range(ROUNDS):
        before = sum(os.times()[:4])
        events = work()
        took.append(sum(os.times()[:4]) - before)
    return events, took


def measure(folder: Path) -> Rows:
    """A row for each peer's file, then ours: as it was recorded, packed, and audited."""
    recorded, packed = OUT / "mapcount.data", folder / "packed.mapcount"
    files = [recorded, *(OUT / f"{name}.data" for name in REPORTS)]
    missing = [path for path in files if not path.exists()]
    if missing:
        raise SystemExit(f"error: no {missing[0]}: run `python -m tests.bench.guest cost`")
    root = peers_root(kernels.resolve(None).suite)
    rows = []
    for path in files[1:]:
        command = program(root, [*REPORTS[path.stem], str(path)])
        events, took = timed(lambda command=command: reported(command))
        rows.append(_row(f"{' '.join(REPORTS[path.stem][:2])} into pandas", path, events, took))
    write_slice(analysis.open_trace(str(recorded)), str(packed), Wanted())
    for name, path, work in (
        (OURS, recorded, framed),
        ("mapcount, all events of the packed file", packed, framed),
        ("mapcount, audit", recorded, audited),
    ):
        events, took = timed(lambda path=path, work=work: work(str(path)))
        rows.append(_row(name, path, events, took))
    unit = next(row["M events/s"] for row in rows if row["reader"] == OURS)
    return [row | {"times ours": round(unit / row["M events/s"], 1)} for row in rows]


def _row(name: str, path: Path, events: int, took: list[float]) -> dict[str, object]:
    middle = statistics.median(took)
    return {
        "reader": name,
        "events": events,
        "bytes": round(path.stat().st_size / events, 1),
        "M events/s": round(events / middle / 1e6, 3),
        "spread": round((max(took) - min(took)) / middle, 2),
    }


def main() -> int:
    """Measure and write the table."""
    with tempfile.TemporaryDirectory(prefix="mapcount-bench-") as scratch:
        title = "On the laptop: recorded events into pandas, ours and the peers'"
        write("offline-peers", title, COLUMNS, measure(Path(scratch)), [])
    return 0


if __name__ == "__main__":
    sys.exit(main())
