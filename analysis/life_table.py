# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of lives, as columns of numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.arrays import Bools, Ints, distinct
from analysis.effects import RMAP
from analysis.lives import Lives
from analysis.log import Log
from analysis.plan import among
from analysis.windows import Windows

#: Rows of a table that are made into Python's own values at a time.
PIECE = 1 << 13
#: Columns with one element per life.
Table = dict[str, npt.NDArray[Any]]


def life_table(log: Log, lives: Lives, windows: Windows) -> Table:
    """The columns of ``Trace.df_lives``; ``birth`` and ``death`` are codes, ``dead`` is True
    where ``death_ts`` is known, a ``parent`` of -1 is none.  ``stayed``: the longest time (ns)
    that a reader went on after the life's end, 0: none did; ``deadly``: the kernel died in one."""
    birth_ts = log.ts[lives.first]
    seen = windows.life >= 0
    of_life = lives.of >= 0
    actors = distinct((lives.of[of_life] << 32) | log.tid[of_life]) >> 32
    dead = lives.death_row >= 0
    death_ts = np.where(dead, log.ts[lives.death_row], 0) if len(log) else birth_ts
    raced = seen & windows.over_death
    life = windows.life[raced]
    stayed = np.zeros(len(lives), dtype=np.int64)
    np.maximum.at(stayed, life, windows.end_ts[raced] - death_ts[life] + 1)
    deadly = np.zeros(len(lives), dtype=bool)
    deadly[life[windows.died[raced]]] = True
    return {
        "head_pfn": lives.head,
        "order": lives.order,
        "anon": lives.anon,
        "hugetlb": lives.hugetlb,
        "birth": lives.birth,
        "birth_ts": birth_ts,
        "death": lives.death,
        "death_ts": death_ts,
        "dead": dead,
        "parent": lives.parent,
        "events": _per_life(lives, of_life),
        "changes": _per_life(lives, among(log.op, RMAP) & (log.delta != 0)),
        "tasks": np.bincount(actors, minlength=len(lives)),
        "mms": _address_spaces(log, lives),
        "reads": np.bincount(windows.life[seen], minlength=len(lives)),
        "raced_reads": np.bincount(windows.life[raced], minlength=len(lives)),
        "stayed": stayed,
        "deadly": deadly,
    }


def _address_spaces(log: Log, lives: Lives) -> Ints:
    """How many address spaces each life was mapped into; -1 where that was not recorded."""
    if not log.plan.where:
        return np.full(len(lives), -1, dtype=np.int64)
    mm, there = log.mm
    rows = np.flatnonzero(there & (lives.of >= 0))
    number = np.unique(mm[rows], return_inverse=True)[1].astype(np.int64)
    pairs = distinct(lives.of[rows] << 32 | number) >> 32
    return np.bincount(pairs, minlength=len(lives)).astype(np.int64)


def _per_life(lives: Lives, rows: Bools) -> Ints:
    return np.bincount(lives.of[rows & (lives.of >= 0)], minlength=len(lives)).astype(np.int64)


def ids(table: Table) -> list[str]:
    """The lives' ids: the same in every reading of the trace."""
    born = zip(table["birth_ts"].tolist(), table["head_pfn"].tolist(), strict=True)
    return [f"{ts}-{head:#x}" for ts, head in born]


def id_parts(life: int | str) -> tuple[int, int] | None:
    """Time of birth and head pfn of a life's id; None where it is no id."""
    given = re.fullmatch(r"(\d{1,18})-0x([0-9a-f]{1,13})", str(life))
    return (int(given[1]), int(given[2], 16)) if given else None


def some_of(table: Table, which: Ints | Bools | list[int] | slice) -> Table:
    """The rows of some lives."""
    return {name: column[which] for name, column in table.items()}


def slices(table: Table) -> Iterator[Table]:
    """A table in pieces, each small enough to be converted into Python's own values."""
    for begin in range(0, len(table["order"]), PIECE):
        yield some_of(table, slice(begin, begin + PIECE))


def everyone(table: Table) -> Bools:
    """A mask of all lives."""
    return np.ones(len(table["order"]), dtype=bool)


def folios(table: Table) -> Bools:
    """A mask of the lives of folios, not of single pages."""
    large: Bools = table["order"] > 0
    return large


def together(parts: Iterable[tuple[Table, Ints]], wanted: Callable[[Table], Bools]) -> Table:
    """One table of the ``wanted`` lives of all parts, with their numbers as ``life``.

    A part is given by its table and the row at which each life begins: lives are numbered in
    the order of their first records.
    """
    born, places, kept = [], [], []
    offset = 0
    for part, place in parts:
        table = part | {"life": offset + np.arange(len(place))}
        table["parent"] = np.where(table["parent"] < 0, -1, table["parent"] + offset)
        offset += len(place)
        born.append(table["birth_ts"])
        places.append(place)
        kept.append(some_of(table, wanted(table)))
    by_birth = np.lexsort((np.concatenate(places), np.concatenate(born)))
    # The last element is nobody's number, as -1 is nobody.
    number = np.full(offset + 1, -1, dtype=np.int64)
    number[by_birth] = np.arange(offset)
    whole = {name: np.concatenate([table[name] for table in kept]) for name in kept[0]}
    whole["life"], whole["parent"] = number[whole["life"]], number[whole["parent"]]
    return some_of(whole, np.argsort(whole["life"]))
