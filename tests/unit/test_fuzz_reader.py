# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged files: some in each run of the tests, many with `python -m tests.fuzz_reader`."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from analysis import dump
from probes import tracefile
from tests import forging, fuzz_reader


@pytest.fixture
def one_golden(tmp_path: Path) -> Iterator[Path]:
    """A folder with one golden trace, the smallest."""
    smallest = min(fuzz_reader.GOLDEN.glob("*.mapcount"), key=lambda path: path.stat().st_size)
    shutil.copy(smallest, tmp_path)
    yield tmp_path


def test_damaged_files_when_read_give_a_prefix_or_one_error(tmp_path: Path) -> None:
    # GIVEN two hundred damaged files WHEN they are read, by a process of its own: a guest that
    # started meanwhile would have no more memory than a command may take
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        outcomes = pool.submit(fuzz_reader.fuzz, 0, 200, failed=tmp_path).result()
    # THEN nothing fails, and every kind of outcome is there
    assert outcomes["failed"] == 0, list(tmp_path.iterdir())
    assert min(outcomes[what] for what in ("read", "prefix", "refused")) > 5


@pytest.mark.parametrize("how", fuzz_reader.DAMAGES + fuzz_reader.FORGERIES)
def test_damage_when_repeated_is_the_same_and_does_something(how, one_golden: Path) -> None:
    # GIVEN a golden trace WHEN it is damaged with the same dice
    whole = fuzz_reader.original(next(one_golden.iterdir()))
    damaged = [how(whole, random.Random(seed)) for seed in (1, 1, 2, 3, 4)]
    # THEN a number alone says how, and most files differ from the original
    assert damaged[0] == damaged[1]
    assert sum(data != whole.data for data in damaged) >= 3


def test_fuzzer_fails_when_checksums_are_not_checked(
    one_golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a reader that takes every checksum for right
    wholes = fuzz_reader.original(next(one_golden.iterdir()))
    assert wholes.records

    class Blind:
        """Everything matches."""

        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

    monkeypatch.setattr(tracefile, "crc32", lambda head, payload: Blind())
    # WHEN files with other bits are read THEN the fuzzer finds it
    path = tmp_path / "flipped"
    failed = 0
    for seed in range(40):
        path.write_bytes(fuzz_reader.flip(wholes, random.Random(seed)))
        try:
            fuzz_reader.check(str(path), wholes, damaged=True)
        except Exception:
            failed += 1
    assert failed > 5


def test_fuzzer_fails_when_a_command_crashes(
    one_golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a dump that cannot take a block without entries WHEN it gets files with such
    def broken(self: object, block: tracefile.Block) -> Iterator[str]:
        yield str(1 // len(block.payload))

    def emptied(whole: fuzz_reader.Original, dice: random.Random) -> bytes:
        return forging.joined(list(whole.parts.blocks), whole.parts.records[:0])

    monkeypatch.setattr(dump.Dump, "_records", broken)
    failed = tmp_path / "failed"
    monkeypatch.setattr(fuzz_reader, "DAMAGES", [])
    monkeypatch.setattr(fuzz_reader, "FORGERIES", [emptied])
    monkeypatch.setattr(fuzz_reader, "COMMANDS", {"dump": 1})
    # This process starts guests.
    monkeypatch.setattr(fuzz_reader, "_limit_memory", lambda: None)
    outcomes = fuzz_reader.fuzz(0, 5, one_golden, failed)
    # THEN the fuzzer counts and keeps the files
    assert outcomes["failed"] > 0
    assert len(list(failed.iterdir())) == outcomes["failed"]
