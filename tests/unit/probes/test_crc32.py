# SPDX-License-Identifier: GPL-2.0-or-later
"""The sum of a block: zlib's, whatever library makes it."""

import mmap
import random
import zlib

import pytest

from probes import crc32

HEAD = bytes(range(28))
TEXT = random.Random(1).randbytes(3 * crc32.SHORT)


def read_only():
    """As the ring is mapped."""
    mapped = mmap.mmap(-1, len(TEXT), prot=mmap.PROT_READ)
    return memoryview(mapped)[72:-72]


@pytest.mark.parametrize(
    "payload",
    [b"", TEXT[:100], TEXT, bytearray(TEXT), memoryview(TEXT)[72:-72], read_only()],
    ids=["empty", "short", "long", "writable", "part", "read-only"],
)
def test_sum_when_it_is_asked_for(payload):
    # GIVEN a payload as a writer or a reader has it THEN its sum is zlib's
    assert crc32.crc32(HEAD, payload) == zlib.crc32(HEAD + bytes(payload))


def test_sum_when_this_machines_fastest_library_makes_it():
    # GIVEN the library of this machine that is used for long texts
    crc = crc32._fastest()
    # THEN its sum is zlib's, also of one that begins where no word does
    for begin in range(9):
        part = memoryview(TEXT)[begin:]
        assert crc(HEAD, part) == zlib.crc32(HEAD + bytes(part))


def missing():
    raise OSError("cannot open shared object file")


def wrong():
    return lambda head, payload: zlib.crc32(payload)


@pytest.mark.parametrize("makes", [(missing, missing), (wrong, missing), (missing, wrong)])
def test_library_when_it_is_missing_or_wrong(monkeypatch, makes):
    # GIVEN libraries that are not there, or give another sum
    monkeypatch.setattr(crc32, "_lzma", makes[0])
    monkeypatch.setattr(crc32, "_gcrypt", makes[1])
    # WHEN one is chosen THEN it is zlib
    assert crc32._fastest.__wrapped__() is crc32._by_zlib


def test_library_when_there_are_two(monkeypatch):
    # GIVEN one library that is missing and one that is right THEN the latter is used
    right = lambda head, payload: zlib.crc32(payload, zlib.crc32(head))  # noqa: E731
    monkeypatch.setattr(crc32, "_lzma", missing)
    monkeypatch.setattr(crc32, "_gcrypt", lambda: right)
    assert crc32._fastest.__wrapped__() is right
