# SPDX-License-Identifier: GPL-2.0-or-later
"""What the file says of a recording as a whole; the records of pages are read part by part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from analysis.arrays import Ints, Records
from analysis.census import FRAME_SHIFT, Census, census, is_common
from analysis.errors import AnalysisError
from analysis.log import Log
from analysis.losses import (
    RING,
    Gap,
    Loss,
    kept_gaps,
    losses_of,
    repeated,
    sequence_gaps,
    untold,
)
from analysis.oops import oops_of
from analysis.partition import PART, Partition, partition
from analysis.plan import OP, Plan
from analysis.records import batches
from analysis.source import Source
from analysis.spaces import Spaces
from analysis.tasks import TaskNames
from analysis.text import count
from analysis.time_order import Rank, TimeOrder, time_order_of
from analysis.truth import Layout, Snapshot, decode


class Recording:
    """``meta``: the header; ``trailer``, ``recovery``: these blocks, None if missing;
    ``warnings``: what is missing from the file; ``stacks``, ``losses``: from their blocks;
    ``plan``: the probes; ``counters``: those that the kernel keeps; ``source``: the blocks;
    ``census``: totals of the records; ``common``: records that belong to no page, decoded;
    ``oops``: the kernel's death, if it died; ``divided``: it has several parts.

    Raises AnalysisError if the file's records contradict each other.
    """

    def __init__(self, source: Source) -> None:
        source.require_header()
        self.path = source.path
        self.meta: dict[str, Any] = source.header
        self.trailer = source.trailer
        self.recovery = source.recovery
        self.warnings: list[str] = source.warnings()
        self.stacks = dict(source.stacks)
        self.plan = Plan(self.meta)
        # Pages of order 0 have a map count on every kernel.
        self.counters = frozenset(self.meta.get("counters", [])) | {"mapcount"}
        self.losses: list[Loss] = losses_of(source.losses, self.plan)
        self.source = source
        self.chunks = list(source.chunks)
        self._tasks = list(source.tasks)
        self._spaces = list(source.spaces)
        self._truth = list(source.truth)
        try:
            self.census: Census = census(self.batches(), self.plan)
        except AnalysisError as error:
            raise AnalysisError(f"{self.path}: {error}: keep the file and report it") from None
        self.divided = int(self.census.frame_events.sum()) > PART
        self.common = Log([self.census.common], self.plan)
        self.oops = oops_of(self.common, source.oops)
        strangers = int(self.census.probes[self.plan.op < 0].sum())
        if strangers:
            self.warnings.append(
                f"{strangers} records come from probes that the header does not know; "
                "they are kept without an operation: use a newer mapcount"
            )

        twice = self._repeated()
        if twice:
            self.warnings.append(
                f"{count(twice, 'record')} of {self.path} have the number of another record of "
                "their CPU: what was lost is not known exactly: keep the file and report it"
            )

    def _repeated(self) -> int:
        """How many records have another one's number; looked at where something speaks for it."""
        if kept_gaps(self.meta) is not None:
            return 0
        told: dict[int, int] = defaultdict(int)
        for one in self.losses:
            told[one.cpu] += one.lost if one.kind == RING else 0
        lost = self.census.cpu_lost
        odd = self.census.cpu_uneven or any(lost[cpu] != told[cpu] for cpu in lost)
        return repeated(self.batches()) if odd else 0

    def batches(self) -> Iterator[Records]:
        """Yield the records in the order of the file, some at a time."""
        for batch in batches(self.chunks):
            yield batch
            self.source.forget()

    @cached_property
    def gaps(self) -> list[Gap]:
        """Where records are missing in the CPUs' numbering."""
        kept = kept_gaps(self.meta)
        if kept is not None:
            return kept
        return sequence_gaps(self.batches()) if any(self.census.cpu_lost.values()) else []

    @cached_property
    def lost(self) -> Ints:
        """From, to (ns) and number of lost records: by LOSS blocks, and gaps without one."""
        spans = [(one.from_ts, one.to_ts, one.lost) for one in self.losses]
        spans += [(one.from_ts, one.to_ts, one.lost) for one in untold(self.gaps, self.losses)]
        found = np.array(spans, dtype=np.int64).reshape(-1, 3)
        found[:, :2].sort(axis=1)  # a forged one may end before it begins
        return found

    @property
    def cpu_lost(self) -> dict[int, int]:
        """By CPU, how many sequence numbers are missing; CPUs without such are left out."""
        kept = kept_gaps(self.meta)
        if kept is None:
            return {cpu: lost for cpu, lost in self.census.cpu_lost.items() if lost > 0}
        return {cpu: sum(gap.lost for gap in kept if gap.cpu == cpu) for cpu, *_ in kept}

    @cached_property
    def snapshots(self) -> list[Snapshot]:
        """The ground-truth snapshots, decoded; the source has left out those that are damaged."""
        if not self._truth:
            return []
        layout = Layout.of(self.meta)
        return [decode(payload, layout) for payload in self._truth]

    @cached_property
    def collapses(self) -> Log:
        """The records of collapses, which are about a task and no page."""
        every = (batch[self.plan.op[batch["probe"]] == OP["collapse"]] for batch in self.batches())
        return Log([batch for batch in every if len(batch)], self.plan)

    @cached_property
    def names(self) -> TaskNames:
        """Names of threads over time."""
        names = TaskNames(self._tasks)
        names.learn(self.common)
        return names

    @cached_property
    def spaces(self) -> Spaces:
        """The processes of each address space, over time."""
        return Spaces(self._spaces, self.common)

    @cached_property
    def time_order(self) -> TimeOrder:
        """The time order of all records."""
        return time_order_of(self.chunks, self.source.forget)

    @property
    def undivided(self) -> int:
        """The order of memory that is not divided: of the largest folio, or of a frame, the unit
        of snapshots."""
        return max(self.census.order, int(self.meta.get("pmd_order", FRAME_SHIFT)))

    @cached_property
    def common_rank(self) -> Rank:
        """The label in ``df_events`` of each record of ``common``."""
        places, passed = [np.empty(0, np.int64)], 0
        for batch in self.batches():
            places.append(is_common(batch, self.plan) + passed)
            passed += len(batch)
        # The log of these is in the order of time, as are their ranks.
        return np.sort(self.time_order.rank[np.concatenate(places)])

    @cached_property
    def partition(self) -> Partition:
        """How memory is divided into parts; an undivided trace has one part."""
        size = PART if self.divided else self.census.events
        return partition(self.census, size, self.undivided)
