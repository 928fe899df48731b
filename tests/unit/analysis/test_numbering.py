# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of the CPUs' records: each comes once, they wrap around, rings are put together."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.records import joined
from analysis.source import Source
from analysis.trace import Trace
from probes.events import RECORD
from probes.tracefile import BlockType, Reader, Writer
from tests.mock import MockTrace

GOLDEN = Path(__file__).parents[2] / "golden"
RECORDS = (BlockType.EVENTS, BlockType.RECORDS, BlockType.COLUMNS)
LAST = (1 << 32) - 1


def numbered(folder: Path, numbers: dict[int, list[int]], told: int = 0) -> Trace:
    """A trace whose CPUs' records have these numbers; ``told``: so many of CPU 0 were lost."""
    story = MockTrace()
    for cpu in numbers:
        for _ in numbers[cpu]:
            story.record("alloc", 0x11200, order=9, nr=0, cpu=cpu)
    given = {cpu: iter(those) for cpu, those in numbers.items()}
    for at, (kind, content) in enumerate(story.items):
        if kind is BlockType.RECORDS:
            fields = list(RECORD.unpack(content))
            fields[1] = next(given[fields[2]])
            story.items[at] = (kind, RECORD.pack(*fields))
    if told:
        story.loss(story.now - 10, story.now, [(0, "alloc", told)])
    return analysis.open_trace(str(story.write(folder / "t.mapcount")))


def twice(trace: Trace) -> list[str]:
    """What is said of numbers that come twice."""
    return [line for line in trace.warnings if "the number of another record" in line]


@pytest.mark.parametrize(
    ("numbers", "told", "records"),
    [
        ({0: [0, 1, 1, 2]}, 0, 1),
        # As many records as numbers: one is missing, and one comes twice.
        ({0: [0, 1, 1, 3]}, 0, 1),
        ({0: [LAST - 1, LAST - 1, 0, 1]}, 0, 1),
        ({0: [0, 1], 1: [5, 6, 6, 7, 7]}, 0, 2),
        # More were lost than are missing.
        ({0: [0, 1, 1, 5]}, 3, 1),
    ],
)
def test_a_number_that_comes_twice_is_told(
    tmp_path: Path, numbers: dict[int, list[int]], told: int, records: int
) -> None:
    # GIVEN records of one CPU with the same number THEN that is said, with how many they are
    (line,) = twice(numbered(tmp_path, numbers, told))
    assert line.startswith(f"{records} record")


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({0: [0, 1, 2], 1: [0, 1, 2]}, 0),
        # An interrupt's record lies before the one that it interrupted.
        ({0: [0, 2, 1, 3]}, 0),
        ({0: [LAST - 1, LAST, 0, 1]}, 0),
        ({0: [LAST, 0, LAST - 1, 1], 1: [7]}, 0),
        ({0: [0, 1, 5]}, 3),
        ({0: [0, 1, 5]}, 0),
    ],
)
def test_nothing_is_told_when_each_number_comes_once(
    tmp_path: Path, numbers: dict[int, list[int]], told: int
) -> None:
    # GIVEN numbers of which some may be lost, wrap around, or be out of order
    # THEN nothing is said of any that comes twice
    assert not twice(numbered(tmp_path, numbers, told))


def test_nothing_is_lost_when_the_numbers_begin_again(tmp_path: Path) -> None:
    # GIVEN a CPU whose numbers go on after the last of 32 bits
    trace = numbered(tmp_path, {0: [LAST - 2, LAST - 1, LAST, 0, 1, 2]})
    # THEN none is missing
    assert not trace.cpu_lost and not trace.warnings


@pytest.mark.parametrize("name", ["6.1-shmem-thp", "7.x-lifecycle"])
def test_a_trace_is_the_same_when_each_cpu_has_a_ring(tmp_path: Path, name: str) -> None:
    # GIVEN a recording, and the same where each CPU's ring was drained once, at the end
    one = GOLDEN / f"{name}.mapcount"
    several = tmp_path / "several.mapcount"
    with Source(str(one)) as source:
        source.read()
        records = joined(source.chunks)
    with Reader(str(one)) as reader, Writer(str(several)) as out:
        blocks = [block for block in reader.blocks() if block.type not in RECORDS]
        for block in blocks:
            if block.type == BlockType.TRAILER:
                for cpu in sorted(set(records["cpu"].tolist()), reverse=True):
                    own = records[records["cpu"] == cpu]
                    out.block(BlockType.RECORDS, own.tobytes(), len(own), ring=cpu)
            out.block(BlockType(block.type), block.payload, block.count)
    assert len(set(records["cpu"].tolist())) > 1
    # THEN they are read as the same
    first, second = (analysis.open_trace(str(path)) for path in (one, several))
    assert first.df_events().equals(second.df_events())
    assert first.df_lives().equals(second.df_lives())
    assert first.df_findings().equals(second.df_findings())
    assert len(first.df_events()) == len(records)
