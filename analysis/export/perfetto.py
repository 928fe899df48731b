# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace for ui.perfetto.dev: as JSON (Trace Event Format), or smaller as Perfetto's protobuf."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from analysis.export.perfetto_events import Event, perfetto_events
from analysis.export.perfetto_proto import write_proto
from analysis.trace import Trace
from probes.visible import visible

#: A larger file makes the page slow (bytes).
LARGE = 50_000_000


def write_json(trace: Trace, output: str) -> None:
    """Write the file, one event a line."""
    with open(output, "w") as file:
        _write(file, perfetto_events(trace), trace)


def write_pftrace(trace: Trace, output: str) -> None:
    """Write the file, some packets at a time."""
    with open(output, "wb") as file:
        write_proto(file, perfetto_events(trace))


def _write(file: TextIO, events: Iterator[Event], trace: Trace) -> None:
    kernel = trace.meta.get("kernel", {}).get("release")
    about: dict[str, Any] = {"trace": visible(trace.path), "kernel": visible(kernel)}
    about |= {"first_ns": trace.census.first_ts}
    file.write('{"displayTimeUnit":"ns","otherData":' + json.dumps(about) + ',"traceEvents":[\n')
    for number, event in enumerate(events):
        file.write(("," if number else "") + json.dumps(event, separators=(",", ":")) + "\n")
    file.write("]}\n")
