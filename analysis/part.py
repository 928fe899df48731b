# SPDX-License-Identifier: GPL-2.0-or-later
"""The lives of some memory: all that the replay and the rules need of a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from analysis.arrays import Bools, Ints
from analysis.counts import Counts, counts_of
from analysis.life_table import Table, life_table
from analysis.lives import Lives, cut
from analysis.log import Log
from analysis.partition import by_part
from analysis.recording import Recording
from analysis.records import Chunk
from analysis.replay import Replay, StartValues, replay
from analysis.start_values import rests_since, start_values
from analysis.truth import Snapshot
from analysis.windows import Windows, reader_windows

if TYPE_CHECKING:
    import pandas as pd


class Part:
    """``recording``: what the file says; ``plan`` and ``counters`` are from it.

    ``chunks``: the records of the part; ``owns``: the page frames of the part (None: all).
    The lives are numbered within the part.
    """

    def __init__(
        self,
        recording: Recording,
        chunks: list[Chunk],
        owns: Callable[[Ints], Bools] | None = None,
    ) -> None:
        self.recording = recording
        self.plan = recording.plan
        self.counters = recording.counters
        self._chunks = chunks
        self.owns = owns

    @cached_property
    def log(self) -> Log:
        """All records of the part, decoded."""
        return Log(self._chunks, self.plan)

    @cached_property
    def lives(self) -> Lives:
        """The lives as arrays."""
        return cut(self.log)

    @cached_property
    def snapshots(self) -> list[Snapshot]:
        """The ground-truth snapshots, of the part's own frames of memory."""
        shots, own = self.recording.snapshots, self.owns
        return [shot.only(own(shot.frames)) for shot in shots] if own else shots

    @cached_property
    def reader_windows(self) -> Windows:
        """Readers' windows as arrays; ``windows`` is the frame."""
        return reader_windows(self.log, self.lives, self.recording.census)

    @cached_property
    def windows(self) -> pd.DataFrame:
        """Readers' windows; the columns are described at ``analysis.windows.Windows``."""
        import pandas as pd

        return pd.DataFrame(vars(self.reader_windows))

    @cached_property
    def table(self) -> Table:
        """The table of lives, see ``analysis.life_table``."""
        return life_table(self.log, self.lives, self.reader_windows)

    @cached_property
    def _start(self) -> StartValues:
        return start_values(self.log, self.lives, self.snapshots, self.counters)

    @cached_property
    def since(self) -> Ints:
        """By life, the time (ns) from which on a loss may explain a difference."""
        return rests_since(self.log, self.lives, self._start)

    def replay(self, which: Iterable[int]) -> Replay:
        """Replay some lives at once (their numbers, ascending)."""
        lives = np.unique(np.fromiter(which, np.int64))
        return replay(self.log, self.lives, lives, self.counters, self._start)

    def counts(self, life: int, run: Replay) -> Counts:
        """The map counts of one life of a replay as sparse signals, see ``analysis.counts``."""
        return counts_of(self.log, self.lives, run, life, self.counters)


class Parted(Protocol):
    """A trace, or a few frames of it, that is read part by part."""

    recording: Recording

    def parts(self) -> Iterator[tuple[Part, Ints]]:
        """The parts, and the indices of their records in the file.

        A record about a page is in one part; marks and the names of tasks are in none.
        """


def divide(recording: Recording) -> Iterator[tuple[Part, Ints]]:
    """The parts of a recording that is too large for one, as ``Parted.parts`` has them."""
    walk = by_part(recording.chunks, recording.plan, recording.partition, recording.source.forget)
    for number, (records, place) in enumerate(walk):
        yield Part(recording, [records], partial(recording.partition.owns, number)), place
