# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as data frames, the facade of the analysis; all is computed when first asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import about
from analysis.arrays import Bools, Ints
from analysis.counts import Counts
from analysis.errors import AnalysisError
from analysis.life_table import Table, everyone, id_parts, ids, some_of, together
from analysis.lives import Lives
from analysis.log import Log
from analysis.losses import Gap
from analysis.part import Part, divide
from analysis.partition import near_page
from analysis.recording import Recording
from analysis.replay import Replay
from analysis.source import Source
from analysis.tasks import TaskNames
from analysis.totals import Totals, totals
from analysis.truth import Snapshot
from analysis.windows import Windows

if TYPE_CHECKING:
    import pandas as pd

    from analysis.audit import Audit
    from analysis.holders_frame import Held
    from analysis.waste_frame import Wasted


def read_trace(path: str) -> Trace:
    """Read a trace file, see ``analysis.open_trace``."""
    with Source(path) as source:
        source.read()
        return Trace(source)


class Trace:
    """One trace: the attributes of its ``recording`` (``meta``, ``warnings`` and so on, see
    ``analysis.recording``), and the lives in it; ``divided``: these are in several ``parts``.

    Frames are made once and shared: copy a frame before you change it.  Times are ns of
    CLOCK_MONOTONIC; map counts are logical (the kernel's field + 1).

    Results about lives are computed part by part, so that the memory needed does not grow with
    the trace.  ``log``, ``lives`` and the frames of events hold the whole trace in memory, some
    hundred bytes for each record.
    """

    def __init__(self, source: Source, whole: Part | None = None) -> None:
        self._near = whole is not None
        self.recording = recording = whole.recording if whole else Recording(source)
        self.divided = whole is None and recording.divided
        self.whole = whole or Part(recording, recording.chunks)
        self.source = source
        self.path = recording.path
        self.meta = recording.meta
        self.trailer = recording.trailer
        self.recovery = recording.recovery
        self.warnings = recording.warnings
        self.stacks = recording.stacks
        self.plan = recording.plan
        self.counters = recording.counters
        self.losses = recording.losses
        self.census = recording.census
        self.common = recording.common
        self.oops = recording.oops

    def __repr__(self) -> str:
        return about.line(self.recording)

    def _repr_html_(self) -> str:
        return about.html(self.recording)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled trace is the path of its file, which is read again when it is unpickled."""
        if self._near:
            raise TypeError("a part of a trace is not pickled: pickle the whole and a life's id")
        return read_trace, (os.path.abspath(self.path),)

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file.  Frames stay valid; reading from the file again is an AnalysisError."""
        self.source.release()

    @property
    def log(self) -> Log:
        """All records, decoded."""
        return self.whole.log

    @property
    def lives(self) -> Lives:
        """The lives as arrays; ``df_lives`` is the frame."""
        return self.whole.lives

    @property
    def gaps(self) -> list[Gap]:
        """Where records are missing in the CPUs' numbering."""
        return self.recording.gaps

    @property
    def cpu_lost(self) -> dict[int, int]:
        """By CPU, how many sequence numbers are missing; CPUs without such are left out."""
        return self.recording.cpu_lost

    @property
    def snapshots(self) -> list[Snapshot]:
        """The ground-truth snapshots, decoded."""
        return self.recording.snapshots

    @property
    def names(self) -> TaskNames:
        """Names of threads over time."""
        return self.recording.names

    @property
    def reader_windows(self) -> Windows:
        """Readers' windows as arrays; ``windows`` is the frame."""
        return self.whole.reader_windows

    @property
    def windows(self) -> pd.DataFrame:
        """Readers' windows; the columns are described at ``analysis.windows.Windows``."""
        return self.whole.windows

    @cached_property
    def audit(self) -> Audit:
        """The audit of the trace, see ``analysis.audit``; ``df_findings`` is the frame."""
        from analysis.audit import audit

        return audit(self)

    @cached_property
    def wasted(self) -> Wasted:
        """Partially mapped folios, see ``analysis.waste_frame``."""
        from analysis.waste_frame import wasted

        return wasted(self)

    @cached_property
    def held(self) -> Held:
        """References to folios at the snapshots, see ``analysis.holders_frame``."""
        from analysis.holders_frame import held

        return held(self)

    @cached_property
    def _events(self) -> pd.DataFrame:
        from analysis.events_frame import events_frame

        return events_frame(self.log, self.names, self.meta, self.counters, self.lives.of)

    @cached_property
    def _lives_frame(self) -> pd.DataFrame:
        from analysis.lives_frame import lives_frame

        return lives_frame(self.life_table())

    def df_events(self) -> pd.DataFrame:
        """One row per record, in time order; the label is the record's number.

        * ``ts``: int64, ns of CLOCK_MONOTONIC when the probe ran; ``time``: datetime64[ns],
          the same in UTC by the clocks in the header, NaT where it has none
        * ``seq``: int64, number of the record on its CPU; a gap is a loss
        * ``cpu``: int32; ``tid``, ``pid``: int32, thread and process
        * ``comm``: category, the thread's name at that time ("?": not known)
        * ``event``: category, the kernel function as attached, or mark, owner and task_*
        * ``op``: category, its operation on a folio (probes.events.OPS)
        * ``phase``: category, point, enter or return
        * ``site``: category, the instruction inside the function, NA for its entry
        * ``level``: category, pte, pmd or pud; NA where no folio is meant
        * ``pfn``, ``head_pfn``: int64, the page and its folio's head; 0: no folio
        * ``order``: int16, of the folio; ``nr``: int32, pages that the operation covers
        * ``delta``: int8, declared change of each mapping; 0 where the function failed
        * ``mapcount`` (of the page), ``entire_mapcount``, ``nr_pages_mapped``,
          ``large_mapcount``, ``total_mapped_pages``, ``refcount``: Int32, observed; NA where
          the kernel or the page has none or it could not be read, and all but the last for a pin
        * ``pincount``: Int32, likewise, observed by pins alone, after a pin and before an unpin
        * ``flags``: Int64, low 32 bits of the head's page flags
        * ``mm_id_mapcount_0``, ``mm_id_mapcount_1``, ``mm_id_0``, ``mm_id_1``: Int32, who maps
          the folio; observed by operations on mappings with CONFIG_MM_ID, else NA
        * ``maybe_mapped_shared``: boolean; likewise
        * ``double_map``: boolean, PG_double_map, observed; NA on kernels without it
        * ``mm``: UInt64, the address space that is mapped into or unmapped from, by the address
          of its struct; ``address``: UInt64, the page's virtual address in it; NA without --where,
          and if the function's arguments do not give it
        * ``anon``, ``hugetlb``, ``freed``: bool, the folio's state at that instant
        * ``stack``: Int32, key of ``stacks``; ``ret``: Int32, result of a return record
        * ``life``: int32, label in ``df_lives``; -1: belongs to no folio's life
        """
        return self._events

    def df_lives(self) -> pd.DataFrame:
        """One row per folio life, in the order of their first records; the label is its number.

        * ``id``: str, first time and head pfn: the same in every reading of the trace
        * ``head_pfn``: int64; ``order``: int16; ``anon``, ``hugetlb``: bool
        * ``birth``: category: alloc, split (of ``parent``), first sight (older than the
          recording, or its allocation was not seen)
        * ``birth_ts``: int64, ns, time of the first record
        * ``death``: category: free, split, unseen (another folio took its place), alive
        * ``death_ts``: Int64, ns, NA while alive; ``parent``: Int64, label, NA: none
        * ``events``: int64, records; ``changes``: those that change a map count
        * ``tasks``: int64, threads that appear in it; ``mms``: Int64, address spaces that it
          was mapped into or unmapped from; NA without --where
        * ``reads``: int64, readers' windows on it; ``raced_reads``: those in which the
          folio was freed or split
        """
        return self._lives_frame

    def parts(self) -> Iterator[tuple[Part, Ints]]:
        """The parts, each with the lives of some memory, and their records' indices in the file."""
        if self.divided:
            yield from divide(self.recording)
        else:
            yield self.whole, self.whole.log.place

    @cached_property
    def totals(self) -> Totals:
        """The totals of all lives."""
        return totals((part.table, part.reader_windows) for part, _ in self.parts())

    def life_table(self, wanted: Callable[[Table], Bools] = everyone) -> Table:
        """The lives that are wanted as arrays; ``life`` is their label in ``df_lives``."""
        found = ((part.table, place[part.lives.first]) for part, place in self.parts())
        return together(found, wanted)

    def _find(self, life: int | str) -> Table:
        """The one life with a number or id; AnalysisError if there is none."""
        named = id_parts(life)
        if named:
            born, pfn = named
            found = self.life_table(lambda t: (t["birth_ts"] == born) & (t["head_pfn"] == pfn))
        else:
            table = self.life_table()
            number = int(life) if re.fullmatch(r"[0-9]{1,9}", str(life)) else -1
            found = some_of(table, table["life"] == number)
        if len(found["life"]) == 0:
            raise self._no_life(life)
        return found

    def _no_life(self, life: object) -> AnalysisError:
        return AnalysisError(f"no life {life} in {self.path}: `mapcount lives` lists them")

    def life_number(self, life: int | str) -> int:
        """The number of a life given by number or id; AnalysisError if it does not exist."""
        return int(self._find(life)["life"][0])

    def alone(self, life: int | str) -> tuple[Trace, int]:
        """A trace of the memory around one life, with all marks, and the life's number in it."""
        if not self.divided:
            return self, self.life_number(life)
        if not id_parts(life):
            (life,) = ids(self._find(life))
        _, pfn = id_parts(life) or (0, 0)
        recording = self.recording
        near = near_page(recording.batches(), self.plan, pfn, self.census.order)
        trace = Trace(self.source, Part(recording, [near]))
        return trace, trace.life_number(life)

    def replay(self, which: Iterable[int]) -> Replay:
        """Replay some lives at once (their numbers)."""
        wanted, numbers = list(which), range(len(self.lives))
        for life in wanted:
            if life not in numbers:
                raise self._no_life(life)
        return self.whole.replay(wanted)

    def counts(self, life: int | str, run: Replay | None = None) -> Counts:
        """The map counts of one life as sparse signals, see ``analysis.counts``."""
        number = self.life_number(life)
        return self.whole.counts(number, run or self.replay([number]))

    def df_counts(self, life: int | str, subpages: Iterable[int] | None = None) -> pd.DataFrame:
        """The step signals of one life, one row per change and per observation.

        A signal keeps its value until its next row; it begins where it is first known.

        * ``ts``: int64, ns; ``event``: int64, label in ``df_events``
        * ``counter``: category: entire_mapcount, mapcount (a page's, logical),
          pte_mappings (a page's PTE mappings alone), double_map, nr_pages_mapped,
          large_mapcount, total_mapped_pages, mm_id_mapcount_0 and _1, mm_id_0 and _1,
          maybe_mapped_shared, pincount
        * ``subpage``: int32, page within the folio; -1: a counter of the folio
        * ``value``: Int64, replayed: AFTER the event; observed: the value in the record,
          which for a probe at a function's entry is BEFORE the event
        * ``source``: category: replayed (initial value plus declared changes) or observed

        If the header's counters lack mapcount (CONFIG_NO_PAGE_MAPCOUNT), the kernel keeps
        none for the pages of a large folio: these have only replayed rows, which were compared
        with nothing.
        An operation on a whole folio changes each page: for a long life of a large folio
        select some ``subpages`` or use ``counts``.
        """
        from analysis.counts_frame import counts_frame

        counts = self.counts(life)
        pages = None if subpages is None else list(subpages)
        for page in pages or ():
            if isinstance(page, bool) or page not in range(counts.pages):
                raise AnalysisError(
                    f"there is no page {page} in life {life}: it has {counts.pages}, from 0 on"
                )
        return counts_frame(self.log, counts, pages)

    def df_marks(self) -> pd.DataFrame:
        """The named marks that the workload wrote.

        * ``ts``: int64, ns; ``time``: datetime64[ns], UTC; ``name``: str
        * ``tid``, ``pid``: int32; ``comm``: category; ``event``: int64, label in ``df_events``
        """
        from analysis.marks_frame import marks_frame

        if self._near:
            return marks_frame(self.recording, self.log, self.log.rank)
        return marks_frame(self.recording, self.common, self.recording.common_rank)

    def df_tasks(self) -> pd.DataFrame:
        """The threads that made a record; the label ``tid`` is the thread's number.

        * ``pid``: int64, its process; ``comm``: category, its name ("?": not known), both at
          ``last_ts``: int64, ns, time of its last record
        * ``events``: int64, records
        """
        from analysis.tasks_frame import tasks_frame

        return tasks_frame(self.recording)

    def df_stacks(self) -> pd.DataFrame:
        """The kernel stacks, where they were recorded; the label is that of ``stack`` elsewhere.

        * ``depth``: int64, frames; ``text``: str, their functions, a line each, the innermost
          first
        """
        from analysis.stacks_frame import stacks_frame

        return stacks_frame(self.recording)

    def by_time(self, frame: pd.DataFrame, column: str = "ts") -> pd.DataFrame:
        """A frame of this trace with the UTC of one of its columns of ns as its index.

        With it pandas can resample, slice by text and join with other logs:
        ``trace.by_time(trace.df_events())["delta"].resample("10ms").sum()``.
        """
        import pandas as pd

        from analysis.clock import time_of_day

        if column not in frame:
            raise AnalysisError(f"there is no column {column!r}: give one that holds ns")
        since = pd.to_numeric(frame[column]).fillna(-1).to_numpy(np.int64)
        time = pd.DatetimeIndex(time_of_day(self.meta, since), name="time")
        return frame.set_index(time.where(since >= 0))

    def df_losses(self) -> pd.DataFrame:
        """The records that the recorder counted as lost, one row per span, CPU and probe.

        * ``from_ts``, ``to_ts``: int64, ns; ``kind``: str, ring (no room), missed or
          outside (memory that came online later)
        * ``cpu``, ``probe``: int64; ``event``: str, the probe's name; ``lost``: int64
        """
        from analysis.losses import losses_frame

        return losses_frame(self.losses)

    def df_findings(self) -> pd.DataFrame:
        """The findings of the audit, in time order; empty for a healthy kernel.

        At most 2000 of each kind (a rule and a counter), those in which the kernel died before
        others; ``audit.unlisted`` is the number of further ones.

        * ``rule``: category, see ``analysis.audit.rules``, and ``rests_on``: str, the
          kernel's rule behind it
        * ``severity``: category, error (a counter is wrong) or race
        * ``certainty``: category, certain or possible; ``reason``: str, why it is only
          possible and what would make it certain
        * ``life``: int64, label in ``df_lives``; ``pfn``: int64, the (first) page
        * ``ts``, ``end_ts``: int64, ns, of the first and the last of its events; ``seen_ts``:
          int64, ns, when it was observed, by the last of them or by a snapshot
        * ``function``: str, ``comm``: str, ``tid``, ``pid``: int64, ``stack``: Int32: the
          operation or the reader that did it; of rule published the process whose files
          in /proc are wrong (-1: a file of no process)
        * ``other_function``, ``other_comm``: str, ``other_tid``: Int64: the second task,
          for example the one that freed the folio during a read
        * ``counter``: str, ``expected``, ``observed``: Int64, logical values
        * ``events``: tuples of int, labels in ``df_events`` of the records that show it
        * ``died``: bool, the kernel died in it
        * ``sentence``: str, the finding in plain words
        """
        return self.audit.findings

    def df_waste(self) -> pd.DataFrame:
        """Spans of time in which an anonymous large folio was partially mapped, in time order.

        Some of its pages were mapped and others were not: the latter are kept until the folio
        is split or freed (deferred_split_folio() in mm/huge_memory.c).

        * ``life``: int64, label in ``df_lives``; ``head_pfn``: int64; ``order``: int16
        * ``from_ts``, ``to_ts``: int64, ns; ``end``: category: mapped (every page is again),
          unmapped (none is any more), or how the folio ended, as ``death`` of ``df_lives``
        * ``most_bytes``: int64, the most kept unmapped at a time, ``last_bytes``: int64, at the
          end of the span; ``byte_seconds``: float, summed up over time (bytes times s)
        * ``function``: str, ``comm``: str, ``tid``, ``pid``: int64: the operation that began
          the span; "" and -1 if the folio was partially mapped when it was first seen
        * ``queued_ts``: Int64, ns, when it was queued for a split; NA: not in the span
        * ``tries``: int64, attempts to split it in the span; ``result``: Int64 of the last
          (0: it was split, else -errno), ``references``: Int64, to the folio when that began,
          besides one for each mapping and the splitting task's own; NA: no attempt, or not known
        * ``doubt``: str, why these values may be wrong; "": nothing is known to be missing
        """
        return self.wasted.spans

    @cached_property
    def _where_frame(self) -> pd.DataFrame:
        from analysis.where_frame import where_frame

        return where_frame(self)

    def df_where(self, mark: str | None = None) -> pd.DataFrame:
        """Which process maps which pages of which folio at which address, at each snapshot and at
        the end, or only at those named ``mark``, which a trace with very many snapshots needs.

        By the records alone; AnalysisError if the trace was recorded without --where.  One row for
        each run of successive pages of a folio in a mapping (VMA) of an address space; hugetlb is
        left out.

        * ``snapshot``: int64, number in time order, and ``name``: str, start, end or a mark's
          name; ``ts``: int64, ns
        * ``mm``: uint64, the address space, by the address of its struct; ``pid``: Int64, a
          process that has it (NA: not known), ``comm``: str
        * ``vma_start``, ``vma_end``: UInt64, and ``vma``: str, its name in /proc/PID/maps; NA and
          "" where the snapshot has none
        * ``life``: int64, label in ``df_lives``; ``head_pfn``: int64; ``order``: int16;
          ``anon``: bool
        * ``kind``: str, how it is mapped, in the terms of the kernel's tools/mm/thpmaps:
          anon-thp-pmd-aligned-2048kB, file-thp-pte-unaligned-64kB, anon-thp-pte-partial (not all
          of its pages are mapped one after the other there); anon-page: a folio of one page
        * ``address``: uint64, of the run's first page, which is ``first_page`` (int64) of the
          folio; ``pages``, ``bytes``: int64, of the run; ``runs``: int64, how many the mapping has
          of this folio
        * ``pmd``: bool, a PMD maps it
        """
        from analysis.where_frame import where_frame

        return self._where_frame if mark is None else where_frame(self, mark)

    def df_references(self) -> pd.DataFrame:
        """The parts of the reference counts of folios at each snapshot, one row per folio.

        ``references`` are ``mappings`` + ``page_cache`` + ``swap_cache`` + ``private`` + the
        references of its pins (1 each, 1024 in a page of order 0) + ``unexplained``.

        * ``snapshot``: int64, number; ``name``: str; ``ts``: int64, ns, when it began
        * ``life``: int64, label in ``df_lives``; ``head_pfn``: int64; ``order``: int16
        * ``references``, ``mappings``, ``page_cache``, ``unexplained``: int64;
          ``swap_cache``, ``private``: Int64, NA if /proc/kpageflags is missing
        * ``pins``: Int64, by the kernel's count; for a page of order 0 the number of times 1024
          in its references; NA: the kernel has no such count, or an older recorder did not record
          its offset
        * ``pins_seen``: Int64, the same by the records; NA without `record --pins`, for a page of
          order 0, and for a folio older than the recording without a pin or unpin since
        * ``lru``: boolean, it is on a list of folios that may be reclaimed
        * ``doubt``: str, why its values may be of different times; "": they are not
        """
        return self.held.references

    def df_holders(self) -> pd.DataFrame:
        """The holders of folios at each snapshot, one row per folio, kind and task.

        * ``snapshot``, ``name``, ``life``: as in ``df_references``
        * ``kind``: category: maps (by the page tables of the traced tasks), pinned (FOLL_PIN, not
          unpinned), got (by get_user_pages() since the last snapshot at which no reference to
          the folio was unexplained; when such a reference is dropped is not recorded)
        * ``number``: int64, pages that are mapped, pins, or references
        * ``comm``: str, ``tid``, ``pid``: int64: the task; for a mapping the process
        * ``function``: str, ``stack``: Int32, by which it took them, ``since_ts``, ``last_ts``:
          Int64, ns, when first and last; "" and NA for a mapping
        """
        return self.held.holders

    def df_refusals(self) -> pd.DataFrame:
        """Splits and migrations that gave up because of references to a folio, in time order.

        Migrations are recorded with `record --pins`.  Successive attempts of a task on a folio,
        with the same result, are one row; its numbers are those of the last attempt.

        * ``life``: int64, label in ``df_lives``; ``head_pfn``: int64; ``order``: int16
        * ``what``: category: split_folio, unmap_to_move (a migration left it mapped, as a pinned
          page that is exclusive to a process is) or move; ``tries``: int64; ``from_ts``, ``ts``:
          int64, ns, of the first and the last; ``result``: Int64, -EAGAIN or -EBUSY, NA of
          unmap_to_move
        * ``function``: str, ``comm``: str, ``tid``, ``pid``: int64, ``stack``: Int32: the attempt
        * ``references``: int64; ``mappings``: Int64, by the records, NA: not known;
          ``page_cache``: int64; ``pins``: Int64, by the records, NA: not known
        * ``beyond``: Int64, references other than mappings, the page cache's and the attempting
          task's own: pins and those of the swap cache are among them; NA: not known
        * ``held_by``: str, the tasks that pinned (FOLL_PIN) and did not unpin, or got references by
          get_user_pages(), whose end is not recorded: the first eight of them
        """
        from analysis.refusals_frame import refusals_frame

        return refusals_frame(self)

    def df_truth(self) -> pd.DataFrame:
        """The pages of all ground-truth snapshots, decoded.

        * ``snapshot``: int64, number; ``name``: category, start, end or a mark's name
        * ``ts_begin``, ``ts_end``: int64, ns, span in which the pages were read
        * ``pfn``, ``head_pfn``: int64; ``order``: int16, of the folio
        * ``mapcount``, ``entire_mapcount``, ``nr_pages_mapped``, ``large_mapcount``,
          ``total_mapped_pages``, ``pincount``: Int32, logical; NA where there is none; the
          folio's on each of its pages
        * ``mm_id_mapcount_0``, ``mm_id_mapcount_1``, ``mm_id_0``, ``mm_id_1``: Int32; likewise
        * ``double_map``, ``maybe_mapped_shared``: boolean
        * ``kpagecount``: int64; ``kpageflags``: uint64, as in /proc
        * ``mappers``: int64, page-table entries found in the tasks that were read
        """
        from analysis.truth_frame import truth_frame

        return truth_frame(self.snapshots, self.counters)
