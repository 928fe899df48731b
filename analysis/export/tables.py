# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of a trace as CSV, or as a Parquet dataset that is divided by folios' lives."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from analysis.dataset import RECORDS, part_name, records_frame, sign, write_rest
from analysis.each_part import each_part
from analysis.errors import CommandError
from analysis.export.cells import cell, rewritten
from analysis.export.events import common_events, event_frames, piece_events
from analysis.trace import Trace
from analysis.truth_frame import truth_frames


def write_csv(trace: Trace, output: str) -> None:
    """The events, one line each, with the columns of ``df_events`` after the row's label.

    A large trace is written part by part, each in time order: sort by ``ts`` if the order
    matters.  Texts are for a spreadsheet, see ``cell``.
    """
    with open(output, "w", newline="", encoding="utf-8") as file:
        for number, frame in enumerate(event_frames(trace)):
            rewritten(frame, cell).to_csv(file, index=False, header=number == 0)


def write_parquet(trace: Trace, output: str) -> None:
    """A folder: ``events/*.parquet`` (a folio's whole life is in one file), ``lives``, ``marks``,
    ``truth``, ``losses``, ``findings``, ``waste``, ``stacks`` and ``tasks`` as one file each, and
    the header as ``meta.json``.
    The columns are those of the frames of ``analysis.Trace``.  The other files are for the
    analysis of the dataset, see ``analysis.dataset``.

    Raises CommandError if pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise CommandError("Parquet needs pyarrow, which is not installed: pip install pyarrow")
    folder = Path(output)
    for name in ("events", RECORDS):
        (folder / name).mkdir(parents=True)
    for frame in common_events(trace):
        frame.to_parquet(folder / "events" / "common.parquet", index=False)
    for number, (part, numbers) in enumerate(each_part(trace)):
        frame, name = piece_events(trace, part, numbers), part_name(number)
        frame.to_parquet(folder / "events" / name, index=False)
        records_frame(part).to_parquet(folder / RECORDS / name, index=False)
    write_rest(trace, folder)
    _write_truth(trace, folder / "truth.parquet")
    frames = {
        "lives": trace.df_lives().reset_index(),
        "marks": trace.df_marks(),
        "losses": trace.df_losses(),
        "findings": trace.df_findings(),
        "waste": trace.df_waste(),
        "stacks": trace.df_stacks().reset_index(),
        "tasks": trace.df_tasks().reset_index(),
    }
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "meta.json").write_text(json.dumps(trace.meta, indent=1) + "\n")
    sign(folder)


def _write_truth(trace: Trace, path: Path) -> None:
    """One snapshot after the other: a row for each of their pages may be more than fits into
    memory."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    tables = (
        pyarrow.Table.from_pandas(frame, preserve_index=False)
        for frame in truth_frames(trace.snapshots, trace.counters)
    )
    first = next(tables)
    with ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table.cast(first.schema))
