# SPDX-License-Identifier: GPL-2.0-or-later
"""Forges whole values of a trace under checksums that are right.

Numbers at every power of two, values of other types, strange and long texts, deep and repeated
JSON, fields of records, words of snapshots, and packed blocks that unpack to much.
"""

from __future__ import annotations

import json
import random
import string
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from analysis.records import RECORD
from probes.tracefile import BLOCK, BLOCK_SIZE, FLAG_ZLIB, PREAMBLE, BlockType
from tests.hostile import Forged, packed, raw, repeated, sealed, snapshot, text
from tests.hostile_text import NAMES

#: No forged file is larger: docs/trace-format.md promises nothing of those.
LARGEST = 10_000_000
#: Blocks that not every recording has.
MORE: list[tuple[int, Any]] = [
    (BlockType.LOSS, {"from": 1, "to": 2, "kind": "ring", "lost": [[0, 1, 5], [1, 2, 7]]}),
    (BlockType.LOSS, {"from": 1, "to": 2, "kind": "missed", "lost": [[-1, 1, 5]]}),
    (BlockType.STACKS, {"1": [["f+0x1", "0x1"], ["g+0x2", "0x2"]], "2": [["f+0x1", "0x1"]]}),
    (BlockType.OOPS, {"lines": ["BUG", "RIP"], "printk_ns": 5, "monotonic_ns": 6, "within_ns": 7}),
    (BlockType.RECOVERY, {"events": 1, "busy": 0, "from": 0, "to": 72, "cut": 0}),
    (BlockType.TRAILER, {"events": 9, "lost": 0, "end": "in order", "monotonic_ns": 9}),
]
#: A snapshot of nothing.
EMPTY = snapshot(b'{"name":"x","ts_begin":1,"ts_end":2,"frames":[],"tasks":[],"skipped":0}')


class Parts(NamedTuple):
    """A whole file: its blocks as they would be written, the records apart."""

    blocks: list[Forged]
    records: np.ndarray


def parts(data: bytes, spans: list[tuple[int, int]], records: bytes) -> Parts:
    """Take a whole file apart."""
    blocks = []
    for begin, end in spans:
        _, type_, flags, count, unpacked, *_ = BLOCK.unpack_from(data, begin)
        if type_ not in (BlockType.EVENTS, BlockType.RECORDS, BlockType.COLUMNS):
            payload = data[begin + BLOCK_SIZE : end]
            if flags & FLAG_ZLIB:
                payload, flags, unpacked = zlib.decompress(payload), 0, 0
            blocks.append((type_, payload, flags, count, unpacked))
    return Parts(blocks, np.frombuffer(records, RECORD))


def joined(blocks: list[Forged], rows: np.ndarray) -> bytes:
    """The file of these blocks and records."""
    header, *rest = blocks
    return sealed([header, raw(BlockType.RECORDS, rows.tobytes(), len(rows)), *rest])


# -- values --------------------------------------------------------------------------


def number(dice: random.Random, bits: int = 70) -> int:
    """A power of two, or its neighbour, or the negative of one."""
    return dice.choice([1, 1, 1, -1]) * ((1 << dice.randrange(bits)) + dice.choice([-1, 0, 1]))


def words(dice: random.Random) -> str:
    """A text as nobody's kernel has it."""
    letter = dice.choice([*string.printable, "\ud800", "\u202e", "é", "\U0001f98a", "\0"])
    return dice.choice([*NAMES.values(), "", "0", letter, letter * (1 << dice.randrange(18))])


def nested(dice: random.Random) -> Any:
    """Lists and objects in each other."""
    value: Any = dice.choice([1, "x", None])
    for _ in range(dice.choice([1, 5, 31, 32, 33, 100, 300])):
        value = [value] if dice.random() < 0.5 else {"a": value}
    return value


def strange(dice: random.Random) -> Any:
    """A value of any kind."""
    return dice.choice(
        [
            number, number, number, words, nested,
            lambda _: dice.choice([None, True, False, [], {}, [[]], [0], {"": ""}]),
            lambda _: dice.choice([0.5, -0.0, 1e300, float("inf"), float("nan")]),
            lambda _: str(number(dice)),
        ]
    )(dice)  # fmt: skip


def _place(value: Any, dice: random.Random) -> tuple[Any, Any]:
    """(container, key) of some value inside of one that is not empty."""
    while True:
        key = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
        inside = value[key]
        if not isinstance(inside, dict | list) or not inside or dice.random() < 0.3:
            return value, key
        value = inside


def _times(value: Any, dice: random.Random) -> int:
    """How often a value is repeated, in a file that is not too large."""
    return min(1 << dice.randrange(21), (LARGEST >> 1) // len(json.dumps(value)))


def changed(value: Any, dice: random.Random) -> Any:
    """JSON in which something is another, is missing, or comes often."""
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        if not isinstance(value, dict | list) or not value or dice.random() < 0.02:
            return strange(dice)
        inside, key = _place(value, dice)
        how = dice.random()
        if how < 0.75:
            inside[key] = strange(dice)
        elif how < 0.85:
            del inside[key]
        elif isinstance(inside[key], list):
            inside[key] = inside[key] * _times(inside[key], dice)
        elif isinstance(inside, list):
            inside[key:key] = [inside[key]] * _times(inside[key], dice)
        else:
            inside[dice.choice([words(dice), str(number(dice))])] = inside[key]
    return value


# -- files ---------------------------------------------------------------------------


def forge_value(whole: Parts, dice: random.Random) -> bytes:
    """JSON that tells something else."""
    blocks = [*whole.blocks, *(text(*more) for more in dice.sample(MORE, dice.randrange(4)))]
    places = [at for at, block in enumerate(blocks) if block[0] != BlockType.TRUTH]
    # The header has more to say than the others.
    at = dice.choice([0, *places])
    type_, payload, *_ = blocks[at]
    content = json.dumps(changed(json.loads(payload), dice)).encode()
    pack = type_ != BlockType.HEADER and dice.random() < 0.2
    blocks[at] = packed(type_, content) if pack else raw(type_, content)
    return joined(blocks, whole.records)


def forge_snapshot(whole: Parts, dice: random.Random) -> bytes:
    """A snapshot whose JSON, whose length of it, or whose pages are others."""
    blocks = [*whole.blocks, raw(BlockType.TRUTH, EMPTY)]
    at = dice.choice([at for at, block in enumerate(blocks) if block[0] == BlockType.TRUTH])
    payload = blocks[at][1]
    (length,) = struct.unpack_from("<I", payload)
    about, arrays = payload[4 : 4 + length], bytearray(payload[4 + length :])
    how = dice.randrange(3)
    if how == 0:
        about = json.dumps(changed(json.loads(about), dice)).encode()
        length = len(about)
    elif how == 1:
        length = abs(number(dice, 33)) & 0xFFFFFFFF
    for _ in range(1 << dice.randrange(10) if how == 2 else 0):
        place = dice.randrange(len(arrays) // 8 + 1) * 8
        arrays[place : place + 8] = struct.pack("<q", number(dice, 63))
    blocks[at] = packed(BlockType.TRUTH, struct.pack("<I", length) + about + arrays)
    return joined(blocks, whole.records)


def forge_records(whole: Parts, dice: random.Random) -> bytes:
    """Records with other values in some fields, or that come again."""
    times = 1 << dice.choice([0, 0, 0, dice.randrange(8)])
    rows = np.tile(whole.records, times)[: (LARGEST - (1 << 20)) // RECORD.itemsize]
    for _ in range(dice.choice([1, 1, 2, 4])):
        name = dice.choice(RECORD.names or ())
        kind = RECORD[name]
        values = [number(dice, 8 * kind.itemsize) for _ in range(dice.choice([1, 2, 1000]))]
        some = slice(*sorted(dice.sample(range(len(rows) + 1), 2)), dice.choice([1, 1, 2, 512]))
        wrapped = np.array([value % (1 << 8 * kind.itemsize) for value in values], np.uint64)
        here = rows[name][some]
        here[:] = np.resize(wrapped, len(here)).astype(f"u{kind.itemsize}").view(kind)
    return joined(list(whole.blocks), rows)


def forge_bomb(whole: Parts, dice: random.Random) -> bytes:
    """Blocks that unpack to much, in a file that may be padded."""
    type_ = dice.choice([*BlockType, 77, 0xFFFF])
    # The records of a packed block count as what they are.
    most = 23 if type_ == BlockType.COLUMNS else 28
    size = 1 << dice.randrange(10, most + 1)
    filler = dice.choice([b"\0", b"[", b"[],", b'{"":', b'"",', b'[0,0,""],', b"\xff"])
    piece = filler * (min(size, 1 << 16) // len(filler))
    runs = [(b"[", 1), (piece, size // len(piece)), (b"]", 1)]
    length = sum(len(each) * times for each, times in runs)
    if type_ == BlockType.TRUTH:
        told = dice.choice([length, number(dice, 30) % length])
        runs = [(struct.pack("<I", told), 1), *runs, runs[1]]
        length += 4 + len(piece) * runs[-1][1]
    stated = dice.choice([length] * 4 + [abs(number(dice, 32)) & 0xFFFFFFFF])
    bomb = type_, repeated(*runs), FLAG_ZLIB, size // RECORD.itemsize, stated
    padding = raw(77, dice.randbytes(dice.choice([0, 0, 1 << 20, 8 << 20])))
    times = 1 if type_ == BlockType.COLUMNS else dice.choice([1, 1, 3, 9])
    blocks = [*whole.blocks, *[bomb] * times, padding]
    found = joined(blocks, whole.records)
    return found if len(found) <= LARGEST else joined([*whole.blocks, bomb], whole.records)


def forge_sizes(whole: Parts, dice: random.Random) -> bytes:
    """Headers of blocks whose numbers are powers of two."""
    data = bytearray(joined(list(whole.blocks), whole.records))
    at, begins = PREAMBLE.size, []
    while at < len(data):
        begins.append(at)
        at += BLOCK_SIZE + BLOCK.unpack_from(data, at)[5]
    begin = dice.choice(begins)
    fields = list(BLOCK.unpack_from(data, begin))
    length = fields[5]
    which, bits = dice.choice([(1, 16), (2, 16), (3, 32), (4, 32), (5, 64)])
    fields[which] = abs(number(dice, bits)) % (1 << bits)
    BLOCK.pack_into(data, begin, *fields)
    end = min(begin + BLOCK_SIZE + (fields[5] if which == 5 else length), len(data))
    crc = zlib.crc32(data[begin + BLOCK_SIZE : end], zlib.crc32(data[begin : begin + 28]))
    struct.pack_into("<I", data, begin + 28, crc)
    return bytes(data)


FORGERIES = [forge_value, forge_snapshot, forge_records, forge_bomb, forge_sizes]
