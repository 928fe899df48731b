# SPDX-License-Identifier: GPL-2.0-or-later
"""The trace file: what is written is read back; what is damaged is dropped and told."""

import errno
import os
import resource
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import limits
from probes.tracefile import (
    BLOCK,
    BLOCK_SIZE,
    MAGIC,
    MAJOR,
    PREAMBLE,
    BlockType,
    Reader,
    TraceError,
    Writer,
    decoded,
)

PAYLOADS = [b'{"a":1}', bytes(720), b"x" * 1000]


@pytest.fixture
def trace(tmp_path):
    path = str(tmp_path / "t.mapcount")
    with Writer(path) as writer:
        writer.block(BlockType.HEADER, PAYLOADS[0])
        writer.block(BlockType.EVENTS, memoryview(PAYLOADS[1]), 10)
        writer.block(BlockType.TRUTH, PAYLOADS[2], compress=True)
    return path


def read(path):
    with Reader(path) as reader:
        blocks = list(reader.blocks())
        return [bytes(block.payload) for block in blocks], reader.damage


def test_blocks_when_written_and_read_back(trace):
    # GIVEN a file with a plain, an events and a compressed block
    # WHEN it is read
    payloads, damage = read(trace)
    # THEN every payload is back, and nothing is damaged
    assert payloads == PAYLOADS
    assert damage is None


def test_prefix_when_cut_anywhere(trace, tmp_path):
    # GIVEN a file cut at every possible length
    whole = open(trace, "rb").read()
    for size in range(PREAMBLE.size, len(whole)):
        path = str(tmp_path / "cut")
        with open(path, "wb") as file:
            file.write(whole[:size])
        # WHEN it is read
        payloads, damage = read(path)
        # THEN the whole blocks before the cut are there, and the rest is accounted for
        assert payloads == PAYLOADS[: len(payloads)]
        read_bytes = PREAMBLE.size if damage is None else damage.offset
        if damage is not None:
            assert damage.offset + damage.dropped == size
        else:
            assert size in block_ends(whole)
        assert read_bytes <= size


def block_ends(whole):
    ends, at = {PREAMBLE.size}, PREAMBLE.size
    while at < len(whole):
        at += BLOCK_SIZE + BLOCK.unpack_from(whole, at)[5]
        ends.add(at)
    return ends


@given(data=st.data())
def test_reader_when_any_byte_is_flipped(tmp_path_factory, data):
    # GIVEN a good file with one byte changed behind the preamble
    path = str(tmp_path_factory.mktemp("flip") / "t")
    with Writer(path) as writer:
        for payload in PAYLOADS:
            writer.block(BlockType.EVENTS, payload, compress=payload is PAYLOADS[2])
    whole = bytearray(open(path, "rb").read())
    at = data.draw(st.integers(PREAMBLE.size, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    open(path, "wb").write(whole)
    # WHEN it is read
    payloads, damage = read(path)
    # THEN what is returned is an exact prefix, and the damage is reported
    assert payloads == PAYLOADS[: len(payloads)]
    assert len(payloads) < len(PAYLOADS)
    assert damage is not None and damage.dropped > 0


def test_reader_when_the_file_grows(tmp_path):
    # GIVEN a reader that has read what there was
    path = str(tmp_path / "t")
    writer = Writer(path)
    writer.json(BlockType.HEADER, {"first": 1})
    reader = Reader(path)
    assert [block.json() for block in reader.blocks()] == [{"first": 1}]
    # WHEN the writer goes on
    writer.json(BlockType.TRAILER, {"second": 2})
    reader.refresh()
    # THEN the reader yields just what is new
    assert [block.json() for block in reader.blocks()] == [{"second": 2}]


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "is empty"),
        (b"PERFILE2" + bytes(100), "not a mapcount trace"),
        (b"\x89MAP\n\x1a\n" + bytes(100), "not a mapcount trace"),
        (PREAMBLE.pack(MAGIC, MAJOR + 1, 0, 0), "use a newer mapcount"),
    ],
)
def test_reader_when_the_file_is_no_trace(tmp_path, content, text):
    # GIVEN a file that is empty, foreign, mangled by a text-mode copy, or too new
    path = tmp_path / "t"
    path.write_bytes(content)
    # WHEN it is opened, THEN one clear error says so
    with pytest.raises(TraceError, match=text):
        Reader(str(path))


def test_reader_when_a_block_claims_a_huge_size(tmp_path):
    # GIVEN a compressed block of zeros that unpacks to more than it states
    import struct
    import zlib

    payload = zlib.compress(bytes(50_000_000))
    head = BLOCK.pack(b"MBLK", 7, 1, 1, 1000, len(payload), 0, 0)[:-4]
    crc = zlib.crc32(payload, zlib.crc32(head))
    path = tmp_path / "t"
    path.write_bytes(PREAMBLE.pack(MAGIC, MAJOR, 0, 0) + head + struct.pack("<I", crc) + payload)
    # WHEN it is read, THEN it is damage, not memory
    payloads, damage = read(str(path))
    assert payloads in ([], [bytes(1000)])
    assert payloads or "stated size" in damage.reason


def test_writer_when_the_disk_is_full(tmp_path):
    # GIVEN a process that may write 4096 bytes to a file
    path = tmp_path / "t"
    code = (
        "import signal, sys\n"
        "from probes.tracefile import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "w = Writer(sys.argv[1])\n"
        "w.block(BlockType.HEADER, b'{}')\n"
        "try:\n"
        "    w.block(BlockType.EVENTS, bytes(8192))\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
        "w.json(BlockType.TRAILER, {'end': 'full'})\n"
    )
    limit = 4096
    # WHEN it writes a block that does not fit, and then one that does
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    # THEN the error is told, and the file holds the whole blocks alone
    assert int(done.stdout) in (errno.EFBIG, errno.ENOSPC)
    payloads, damage = read(str(path))
    assert payloads == [b"{}", b'{"end":"full"}']
    assert damage is None
    assert os.path.getsize(path) < limit


#: What packs best: of all of a file, of its records, of its JSON and of a snapshot's.
BOMBS = [
    (BlockType.TRUTH, bytes(30_000)),
    (BlockType.COLUMNS, bytes(6400)),
    (BlockType.TASKS, b"[" + b"[1,1,0]," * 500 + b"[1,1,1]]"),
    (BlockType.TRUTH, (3002).to_bytes(4, "little") + b"{" + b" " * 3000 + b"}"),
]


@pytest.mark.parametrize("which", [[0], [1], [2], [3], [0, 1, 2, 3]])
def test_packed_blocks_when_they_pack_too_well(tmp_path, monkeypatch, which):
    # GIVEN limits that a few blocks reach
    small = {"all": (40_000, 60), "records": (10_000, 32), "json": (9000, 1)}
    monkeypatch.setattr(limits, "UNPACKED", small)
    path, ends = tmp_path / "t", []
    blocks = [BOMBS[at] for at in which] * 30
    with Writer(str(path)) as writer:
        for type_, payload in blocks:
            writer.block(type_, payload, compress=True)
            ends.append(writer.size)
    # WHEN the file is read whole, or cut off behind any block
    whole = path.read_bytes()
    for number, end in enumerate(ends, start=1):
        path.write_bytes(whole[:end])
        payloads, damage = read(str(path))
        # THEN every block is taken: what may not be packed was written as it is
        assert damage is None, damage
        assert payloads == [payload for _, payload in blocks[:number]]
    # AND some of them are packed, some are not
    sizes = set(map(int.__sub__, ends[1:], ends))
    assert min(sizes) < 500 and max(sizes) > 3000


def test_block_when_an_old_file_goes_on(tmp_path):
    # GIVEN a file, of which a writer that appends does not know what it unpacks to
    path = str(tmp_path / "t")
    with Writer(path) as writer:
        writer.json(BlockType.HEADER, {})
    # WHEN it adds a block THEN that lies there as it is
    with Writer(path, at=writer.size) as more:
        more.block(BlockType.TRUTH, bytes(5000), compress=True)
    assert more.size - writer.size == BLOCK_SIZE + 5000


def test_texts_when_they_are_too_long(tmp_path):
    # GIVEN JSON with texts of any length WHEN it is written
    path, long = str(tmp_path / "t"), "x" * 5000
    with Writer(path) as writer:
        writer.json(BlockType.HEADER, {"command": ["short", long], long: [("a", 1), None, 2.5]})
    # THEN each is as long as a reader takes it
    with Reader(path) as reader:
        (block,) = reader.blocks()
    clipped = "x" * 4095 + "…"
    assert block.json() == {"command": ["short", clipped], clipped: [["a", 1], None, 2.5]}


@pytest.mark.parametrize(
    "text, deep",
    [
        ("[" * 32 + "]" * 32, False),
        ("[" * 100 + "]" * 100, True),
        ('{"a":' * 70 + "1" + "}" * 70, True),
        ("[" * 10**6, True),
        (r'["[[[[\\", "\"' + "[" * 100 + r'", "\\\""]', False),
        ('"' + '\\"' * 10**6, False),
    ],
)
def test_json_when_it_is_deep(text, deep):
    # GIVEN JSON, or what begins like it WHEN it is decoded
    try:
        found = "read" if decoded(text.encode()) else ""
    except ValueError as error:
        found = str(error)
    # THEN brackets in its texts do not count, and Python does not recurse into deep ones
    assert ("lie in each other" in found) == deep
