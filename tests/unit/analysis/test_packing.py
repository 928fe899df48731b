# SPDX-License-Identifier: GPL-2.0-or-later
"""Packed records come out as they went in, whatever they hold, and are small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis.__main__ import main
from analysis.dump import Dump
from analysis.packing import Spool, pack, unpack
from analysis.records import RECORD
from probes.events import RECORD_SIZE
from probes.tracefile import BlockType, Reader

GOLDEN = Path(__file__).parents[2] / "golden" / "6.1-lifecycle.mapcount"


@given(st.lists(st.binary(min_size=RECORD_SIZE, max_size=RECORD_SIZE), max_size=20))
def test_records_come_out_as_they_went_in(raw: list[bytes]) -> None:
    # GIVEN any bytes as records WHEN they are packed and unpacked THEN nothing has changed
    records = np.frombuffer(b"".join(raw), RECORD)
    packed = pack(records)
    assert len(packed) == len(raw) * RECORD_SIZE
    assert unpack(packed, len(raw)).tobytes() == records.tobytes()


def test_a_size_that_does_not_fit_is_an_error() -> None:
    # GIVEN a block that says more records than it holds WHEN unpacked THEN it is refused
    with pytest.raises(ValueError, match="not 2 packed records"):
        unpack(bytes(RECORD_SIZE), 2)


def test_spooled_records_are_the_same_after_they_were_forgotten() -> None:
    # GIVEN records of several blocks in the spool, an empty one among them
    spool = Spool()
    blocks = [np.frombuffer(bytes([fill]) * RECORD_SIZE * 100, RECORD) for fill in range(1, 4)]
    kept = [spool.put(block) for block in [*blocks, blocks[0][:0]]]
    # WHEN their memory is given back THEN they can be read again
    spool.forget()
    for block, again in zip(blocks, kept, strict=False):
        assert again.tobytes() == block.tobytes()
    assert len(kept[-1]) == 0


def test_a_packed_trace_is_small_and_tells_the_same(tmp_path: Path) -> None:
    # GIVEN a golden trace WHEN all of it is cut out
    part = tmp_path / "part.mapcount"
    assert main(["slice", str(GOLDEN), "-o", str(part)]) == 0
    # THEN its events take less than four bytes each
    with Reader(str(part)) as reader:
        sizes = {block.offset: reader.at - block.offset for block in reader.blocks()
                 if block.type == BlockType.COLUMNS}  # fmt: skip
    trace = analysis.open_trace(str(part))
    assert 0 < sum(sizes.values()) < 4 * trace.census.events

    # AND dump prints the same records
    def lines(path: Path) -> list[str]:
        return [line for line in Dump(str(path)).lines() if not line.startswith("#")]

    assert lines(part) == lines(GOLDEN)
