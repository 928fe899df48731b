# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes traces of any size, with a known answer, from a golden one.

    python -m tests.bench.synthetic --events 1e7 --lives 1000 -o big.mapcount

Each copy of the golden folio has a frame, tasks and times of its own.  Its life is made as
long as wanted by repeating a stretch of operations that leaves all counters as they were.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import analysis
from analysis.arrays import Ints, Records
from analysis.effects import RMAP
from analysis.plan import OP, among
from analysis.records import SLOT, picked
from analysis.source import Source
from analysis.totals import Totals
from probes.events import RECORD_SIZE
from probes.tracefile import BlockType, Writer

GOLDEN = Path(__file__).parents[1] / "golden"
DEFAULT = "7.x-shmem-thp"
#: Lives at the same time, and records of one life before it is another one's turn.
AT_ONCE, BURST = 64, 32
#: Frames and threads are used again by later lives, as a kernel does.
FRAMES, THREADS = 4096, 1000
TIDS_APART = 1000
NS_APART = 100
#: Changes of map counts in the stretch that is repeated, at least.
FEWEST = 2
SLOTS_IN_BLOCK = 1 << 14
MADE_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class Template:
    """A golden trace: its ``records`` about folios; rows ``[begin, end)`` may be repeated.

    ``totals`` of one copy, and ``more_changes``, what one repetition adds.
    """

    path: Path
    records: Records
    begin: int
    end: int
    totals: Totals
    more_changes: int

    @property
    def body(self) -> int:
        """Records of the stretch that is repeated."""
        return self.end - self.begin

    def rows(self, repeats: int, at: Ints) -> Ints:
        """The rows of the template at positions ``at`` of a copy with more repetitions."""
        after = at - repeats * self.body
        inside = self.begin + (at - self.begin) % self.body
        return np.where(at < self.end, at, np.where(after < self.end, inside, after))


def template(name: str = DEFAULT) -> Template:
    """Read a golden trace and find a stretch after which all is as before."""
    path = GOLDEN / f"{name}.mapcount"
    trace = analysis.open_trace(str(path))
    log, lives = trace.log, trace.life_table()
    (one,) = np.flatnonzero(lives["changes"] == lives["changes"].max())[:1].tolist()
    counts = trace.counts(one)
    ends = np.isin(log.op[counts.event], [OP["split_folio"], OP["free"]])
    positions = np.arange(int(np.argmax(ends)) if ends.any() else len(ends))
    pte, _ = counts.matrix(positions)
    state = np.vstack([counts.entire[positions], counts.double_map[positions], pte])
    # Of a recording that is repeated, only what happens to folios makes sense.
    rows = np.flatnonzero(trace.lives.of >= 0)
    changes = ((log.delta != 0) & among(log.op, RMAP))[rows]
    after = np.searchsorted(rows, counts.event[positions]) + 1
    begin, end = _stretch(state, after, np.cumsum(changes))
    return Template(
        path, picked(log.raw, rows), begin, end, trace.totals, int(changes[begin:end].sum())
    )


def _stretch(state: Ints, row: Ints, changed: Ints) -> tuple[int, int]:
    """Rows between two equal states (columns), such that most of them change a count."""
    alike: dict[bytes, list[int]] = {}
    for at, column in enumerate(state.T.copy()):
        alike.setdefault(column.tobytes(), []).append(int(row[at]))
    pairs = [
        (begin, end)
        for rows in alike.values()
        for begin, end in itertools.combinations(rows, 2)
        if changed[end - 1] - changed[begin - 1] >= FEWEST
    ]
    if not pairs:
        raise SystemExit("error: no stretch of this trace can be repeated: take another one")
    return max(
        pairs, key=lambda pair: (changed[pair[1] - 1] - changed[pair[0] - 1]) / (pair[1] - pair[0])
    )


@dataclass(frozen=True)
class Answer:
    """What a synthetic trace holds."""

    events: int
    folios: int
    orders: dict[int, int]
    births: dict[str, int]
    deaths: dict[str, int]
    changes: int


def _copies(source: Template, repeats: int, first: int, at: Ints, lives: int) -> Records:
    """Positions ``at`` of ``lives`` copies, of each a burst in its turn."""
    bursts = at.reshape(-1, min(BURST, len(at)))
    rows = source.rows(repeats, np.repeat(bursts[:, None, :], lives, axis=1).ravel())
    life = np.tile(np.repeat(np.arange(first, first + lives), bursts.shape[1]), len(bursts))
    made = picked(source.records, rows)
    tid = (life % THREADS * TIDS_APART).astype(np.uint32)
    made["tid"] += tid
    made["pid"] += tid
    frame = (life % FRAMES).astype(np.uint64) << np.uint64(9)
    made["pfn"] += frame
    made["cpu"] = life % 2
    return made


def generate(out: Path, events: int, folios: int, name: str = DEFAULT) -> Answer:
    """Write about ``events`` records about ``folios`` copies of the golden folio."""
    source = template(name)
    length = len(source.records)
    repeats = (events // folios - length) // source.body
    if repeats < 0:
        raise SystemExit(f"error: {folios} lives need {folios * length} events: ask for more")
    length += repeats * source.body
    with Source(str(source.path)) as golden:
        golden.read()
    seq = np.zeros(2, dtype=np.int64)
    written = 0
    out.unlink(missing_ok=True)
    with Writer(str(out)) as writer:
        writer.json(BlockType.HEADER, golden.header)
        tasks = _tasks(golden, source, min(folios, THREADS))
        writer.json(BlockType.TASKS, tasks, len(tasks))
        for first in range(0, folios, AT_ONCE):
            lives = min(AT_ONCE, folios - first)
            step = max(1, MADE_AT_ONCE // (lives * BURST)) * BURST
            for begin in range(0, length, step):
                at = np.arange(begin, min(begin + step, length))
                whole = len(at) // BURST * BURST
                for some in (at[:whole], at[whole:]):
                    if len(some):
                        made = _copies(source, repeats, first, some, lives)
                        _stamp(made, written, seq)
                        _write(writer, made)
                        written += len(made)
        end = {"events": written, "lost": 0, "end": "as many as wanted were made"}
        writer.json(BlockType.TRAILER, end)
    one = source.totals
    return Answer(
        events=written,
        folios=folios,
        orders={order: number * folios for order, number in one.orders.items()},
        births={kind: number * folios for kind, number in one.births.items()},
        deaths={kind: number * folios for kind, number in one.deaths.items()},
        changes=(one.changes + repeats * source.more_changes) * folios,
    )


def _tasks(golden: Source, source: Template, copies: int) -> list[tuple[int, int, str]]:
    """Names for the threads of all copies."""
    threads = np.unique(source.records["tid"]).tolist()
    return [*golden.tasks] + [
        (tid + copy * TIDS_APART, tid + copy * TIDS_APART, f"copy-{copy}")
        for copy in range(copies)
        for tid in threads
    ]


def _stamp(made: Records, written: int, seq: Ints) -> None:
    """Times and numbers in the order of the file; ``seq``: the CPUs' next ones."""
    made["ts"] = NS_APART * (written + np.arange(1, len(made) + 1))
    for cpu in (0, 1):
        mine = np.flatnonzero(made["cpu"] == cpu)
        made["seq"][mine] = seq[cpu] + np.arange(len(mine))
        seq[cpu] += len(mine)


def _write(writer: Writer, made: Records) -> None:
    slots = np.zeros(len(made), SLOT)
    slots["length"] = RECORD_SIZE
    opaque = slots["record"].view(np.dtype((np.void, RECORD_SIZE)))
    opaque[:] = made.view(opaque.dtype)
    for begin in range(0, len(slots), SLOTS_IN_BLOCK):
        some = slots[begin : begin + SLOTS_IN_BLOCK]
        writer.block(BlockType.EVENTS, memoryview(some.tobytes()), len(some))


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Make a large trace from a golden one.")
    parser.add_argument("--events", type=lambda text: int(float(text)), required=True)
    parser.add_argument("--lives", type=lambda text: int(float(text)), required=True)
    parser.add_argument("--golden", default=DEFAULT, help="name of the golden trace")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    print(generate(args.output, args.events, args.lives, args.golden))
    return 0


if __name__ == "__main__":
    sys.exit(main())
