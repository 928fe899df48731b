# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace divided into files by folios' lives, which processes on many machines can share.

`mapcount export --to parquet` writes it.  Beside the tables for other programs it has all that
the analysis needs: ``trace.mapcount`` has what belongs to no page (header, marks, tasks, losses,
snapshots), each file of ``records/`` the records of some memory, as they were in the trace, and
``dataset.json`` what follows only from all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.each_part import begins, numbered
from analysis.errors import AnalysisError
from analysis.on_dask import on_dask
from analysis.part import Part
from analysis.partition import Partition
from analysis.recording import Recording
from analysis.records import RECORD
from analysis.slicing import Wanted, write_slice
from analysis.source import MALFORMED, Source
from analysis.trace import Trace

if TYPE_CHECKING:
    from analysis.audit import Audit
    from analysis.verify import Verification

T = TypeVar("T")
FACTS, REST, RECORDS = "dataset.json", "trace.mapcount", "records"
#: By this file a folder is known for one that we made; it lists all that we put there.
CONTENTS, MADE_BY = "contents.json", "mapcount export --to parquet"
#: Where a record is in the whole trace, see ``analysis.log.Log``.
PLACE = ("rank", "following")


def records_frame(part: Part) -> pd.DataFrame:
    """The records of a part of a trace as they were read, and their rank in the whole."""
    log = part.log
    columns = {name: log.raw[name] for name in RECORD.names or ()}
    return pd.DataFrame(columns | {name: getattr(log, name) for name in PLACE})


def write_rest(trace: Trace, folder: Path) -> None:
    """Write what does not follow from the records of single parts."""
    write_slice(trace, str(folder / REST), Wanted(records=False))
    counted, cut = trace.census, trace.recording.partition
    facts = {
        "warnings": trace.warnings,
        "events": counted.events,
        "first_ts": counted.first_ts,
        "last_ts": counted.last_ts,
        "order": counted.order,
        "died": list(counted.died.items()),
        "last_else": list(counted.last_else.items()),
        "last_entry": [[*who, ts] for who, ts in counted.last_entry.items()],
        "shift": cut.shift,
        "begins": cut.begins.tolist(),
        "counts": cut.events.tolist(),
    }
    (folder / FACTS).write_text(json.dumps(facts) + "\n")


def sign(folder: Path) -> None:
    """Write the list of a dataset's files, by which it differs from folders of others."""
    contents = {"made_by": MADE_BY, "files": sorted([*_files(folder), CONTENTS])}
    (folder / CONTENTS).write_text(json.dumps(contents, indent=1) + "\n")


def not_ours(path: str) -> str | None:
    """Why a folder may not be replaced by a dataset; None: it is one, and nothing else."""
    folder = Path(path)
    try:
        contents = json.loads((folder / CONTENTS).read_text())
        ours = contents["files"] if contents["made_by"] == MADE_BY else []
        foreign = sorted(set(_files(folder)) - set(ours))
    except (OSError, *MALFORMED):
        return f"{path} is a folder that no export made: give the name of a new one"
    if foreign:
        return f"{path} also holds {foreign[0]}, which no export made: move it elsewhere first"
    return None


def _files(folder: Path) -> list[str]:
    """All that is in a folder but folders, by names relative to it."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    ]


class Dataset:
    """``whole``: a trace without the records of pages.  ``scheduler``: address of the Dask
    cluster that works on it, which must reach the folder under the same path; None: processes
    on this machine.

    Raises AnalysisError if the folder is no such dataset.
    """

    def __init__(self, folder: str, scheduler: str | None = None) -> None:
        self.folder, self.scheduler = Path(folder).absolute(), scheduler
        try:
            facts = json.loads((self.folder / FACTS).read_text())
            with Source(str(self.folder / REST)) as source:
                source.read()
                self.whole = _whole(source, facts)
            columns = (facts["begins"], facts["counts"])
            self._partition = Partition(
                int(facts["shift"]), *(np.array(one, np.int64) for one in columns)
            )
        except (OSError, *MALFORMED) as error:
            why = "it lacks files" if isinstance(error, FileNotFoundError) else str(error)
            raise AnalysisError(
                f"{folder} is not a dataset ({why}): make one with `mapcount export --to parquet`"
            ) from error

    def __len__(self) -> int:
        """How many parts it has."""
        return max(1, len(self._partition.begins))

    def part(self, number: int) -> Part:
        """A part, whose log is in order."""
        frame = pd.read_parquet(self.folder / RECORDS / part_name(number))
        records = np.empty(len(frame), RECORD)
        for name in RECORD.names or ():
            records[name] = frame[name]
        own = partial(self._partition.owns, number) if len(self) > 1 else None
        part = Part(self.whole.recording, [records], own)
        for name in PLACE:
            setattr(part.log, name, frame[name].to_numpy())
        return part

    def each(self, work: Callable[[Recording, Part], T]) -> Iterator[tuple[T, Ints]]:
        """WORK(recording, part) for each part, computed in parallel on Dask, and the numbers of
        that part's lives in ``df_lives`` (with -1 as the last element, for index -1).

        WORK is a function of a module that the workers have, too.
        """
        stamp = (self.folder / FACTS).stat().st_mtime_ns
        work_on = partial(_work, str(self.folder), stamp, work)
        return numbered(on_dask(work_on, range(len(self)), self.scheduler))

    @cached_property
    def audit(self) -> Audit:
        """The audit of the trace, as ``Trace.audit``."""
        from analysis.audit import audit_part, joined

        return joined(self.each(audit_part))

    def df_findings(self) -> pd.DataFrame:
        """The findings of the audit, as ``Trace.df_findings``."""
        return self.audit.findings

    def verify(self) -> Verification:
        """The replay against the snapshots, as ``analysis.verify.verify``."""
        from analysis.verify import joined, verify_labelled

        return joined(self.each(verify_labelled))


def part_name(number: int) -> str:
    """The file of a part, in each folder of the dataset."""
    return f"part-{number:05}.parquet"


def _whole(source: Source, facts: dict[str, Any]) -> Trace:
    recording = Recording(source)
    recording.warnings = [str(text) for text in facts["warnings"]]
    recording.census = replace(
        recording.census,
        events=int(facts["events"]),
        first_ts=int(facts["first_ts"]),
        last_ts=int(facts["last_ts"]),
        order=int(facts["order"]),
        died=dict(facts["died"]),
        last_else=dict(facts["last_else"]),
        last_entry={(tid, function): ts for tid, function, ts in facts["last_entry"]},
    )
    return Trace(source, Part(recording, recording.chunks))


@lru_cache(maxsize=1)
def _opened(folder: str, _stamp: int) -> Dataset:
    """A worker opens a dataset once; one that was written anew has another stamp."""
    return Dataset(folder)


def _work(
    folder: str, stamp: int, work: Callable[[Recording, Part], T], number: int
) -> tuple[T, Ints]:
    dataset = _opened(folder, stamp)
    part = dataset.part(number)
    return work(dataset.whole.recording, part), begins(part)
