# SPDX-License-Identifier: GPL-2.0-or-later
"""Damages golden traces at random and holds the reader to its promise.

The promise: a damaged file gives the records before the damage and a warning, or one clear
error; it never crashes or hangs the reader, nor makes it ask for much memory.

    python -m tests.fuzz_reader --files 100000
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import analysis
from analysis.dump import Dump
from analysis.lives_text import lives_text
from analysis.records import fetched
from analysis.slicing import Wanted, write_slice
from analysis.source import Source
from analysis.stats_text import stats_text
from analysis.verify import verify
from analysis.verify_text import verify_text
from probes.tracefile import BLOCK, BLOCK_SIZE, PREAMBLE, Reader, TraceError

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
FAILED = ROOT / "out" / "fuzz"
#: Seconds (of CPU time) and bytes that reading one small file may take.
SECONDS, MEMORY = 20, 1 << 30
#: Share of the files that are also verified and made into frames, which takes most of the time.
DEEP = 0.2
#: Files after which a long run says how far it is.
TOLD = 5000
CRC_AT = BLOCK_SIZE - 4


@dataclass(frozen=True)
class Original:
    """A whole file, where its blocks begin and end, and the records that it holds."""

    data: bytes
    blocks: list[tuple[int, int]]
    records: bytes


def records(path: str) -> bytes:
    """The records of a file in its order, as bytes."""
    with Source(path) as source:
        source.read()
        source.require_header()
        return b"".join(fetched(chunk).tobytes() for chunk in source.chunks)


def original(path: Path) -> Original:
    """Read a golden trace."""
    data = path.read_bytes()
    with Reader(str(path)) as reader:
        begins = [block.offset for block in reader.blocks()]
    ends = [*begins[1:], len(data)]
    return Original(data, list(zip(begins, ends, strict=True)), records(str(path)))


def packed(path: Path, output: Path) -> Original:
    """Read a golden trace after `slice` has packed it."""
    write_slice(analysis.open_trace(str(path)), str(output), Wanted())
    return original(output)


def _sealed(data: bytearray, begin: int, end: int) -> None:
    """Make a block's checksum right again: a forged block, not a damaged one."""
    crc = zlib.crc32(data[begin + BLOCK_SIZE : end], zlib.crc32(data[begin : begin + CRC_AT]))
    struct.pack_into("<I", data, begin + CRC_AT, crc)


def flip(whole: Original, dice: random.Random) -> bytes:
    """Other bits in a few places."""
    data = bytearray(whole.data)
    for _ in range(dice.choice([1, 1, 2, 10])):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def truncate(whole: Original, dice: random.Random) -> bytes:
    """The end is missing."""
    return whole.data[: dice.randrange(len(whole.data))]


def overwrite(whole: Original, dice: random.Random) -> bytes:
    """A stretch of zeros, ones or noise, as a dying disk leaves it; or noise at the end."""
    data = bytearray(whole.data)
    at, length = dice.randrange(len(data) + 1), dice.choice([1, 16, 512, 4096])
    filler = dice.choice([bytes(length), b"\xff" * length, dice.randbytes(length)])
    data[at : at + length] = filler
    return bytes(data)


def remove(whole: Original, dice: random.Random) -> bytes:
    """A stretch is missing in the middle."""
    at = dice.randrange(len(whole.data))
    return whole.data[:at] + whole.data[at + dice.choice([1, 8, 64, 4096]) :]


def shuffle(whole: Original, dice: random.Random) -> bytes:
    """Whole blocks dropped, doubled or out of order."""
    blocks = [whole.data[begin:end] for begin, end in whole.blocks]
    for _ in range(dice.choice([1, 2, 5])):
        one = blocks.pop(dice.randrange(len(blocks)))
        for _ in range(dice.choice([0, 1, 2])):
            blocks.insert(dice.randrange(len(blocks) + 1), one)
        if not blocks:
            break
    return whole.data[: PREAMBLE.size] + b"".join(blocks)


def forge_head(whole: Original, dice: random.Random) -> bytes:
    """A block that lies about itself under a checksum that matches."""
    data = bytearray(whole.data)
    begin, end = dice.choice(whole.blocks)
    magic, type_, flags, count, unpacked, length, rest, crc = BLOCK.unpack_from(data, begin)
    type_ = dice.choice([type_, dice.randrange(12), dice.randrange(1 << 16)])
    flags = dice.choice([flags, flags ^ 1, dice.randrange(1 << 16)])
    unpacked = dice.choice([unpacked, unpacked + 1, 0, 0xFFFFFFFF, dice.randrange(1 << 32)])
    count = dice.choice([count, 0, 0xFFFFFFFF])
    length = dice.choice([length, length, length + 1, 0, 1 << 63, dice.randrange(1 << 64)])
    BLOCK.pack_into(data, begin, magic, type_, flags, count, unpacked, length, rest, crc)
    _sealed(data, begin, min(begin + BLOCK_SIZE + length, len(data)))
    return bytes(data)


def forge_payload(whole: Original, dice: random.Random) -> bytes:
    """Other contents under a checksum that matches: bytes, numbers, or whole fields."""
    data = bytearray(whole.data)
    for _ in range(dice.choice([1, 2, 8])):
        begin, end = dice.choice(whole.blocks)
        payload = begin + BLOCK_SIZE
        if payload >= end:
            continue
        for _ in range(dice.choice([1, 4, 64])):
            at = dice.randrange(payload, end)
            width = min(dice.choice([1, 1, 2, 4, 8]), end - at)
            extreme = dice.choice([bytes(width), b"\xff" * width, b"\x7f" * width])
            data[at : at + width] = dice.choice([extreme, dice.randbytes(width)])
        _sealed(data, begin, end)
    return bytes(data)


def forge_json(whole: Original, dice: random.Random) -> bytes:
    """A JSON block in which one value is another one."""
    blocks = [whole.data[begin:end] for begin, end in whole.blocks]
    texts = [
        at for at, one in enumerate(blocks) if one[BLOCK_SIZE : BLOCK_SIZE + 1] in (b"{", b"[")
    ]
    at = dice.choice(texts)
    payload = blocks[at][BLOCK_SIZE:]
    places = [place for place, byte in enumerate(payload) if byte in b'0123456789"[]{}:,']
    place = dice.choice(places)
    values = [b"-1", b"null", b"1e999", b"[]", b"{}", b'"x"', b"99999999999999999999", b""]
    payload = payload[:place] + dice.choice(values) + payload[place + dice.choice([0, 1]) :]
    head = BLOCK.unpack(blocks[at][:BLOCK_SIZE])
    block = bytearray(BLOCK.pack(*head[:5], len(payload), *head[6:]) + payload)
    _sealed(block, 0, len(block))
    blocks[at] = bytes(block)
    return whole.data[: PREAMBLE.size] + b"".join(blocks)


#: Damage that checksums must find, and forgery that they cannot.
DAMAGES: list[Callable[[Original, random.Random], bytes]] = [flip, truncate, overwrite, remove]
FORGERIES: list[Callable[[Original, random.Random], bytes]] = [
    shuffle, forge_head, forge_payload, forge_json,
]  # fmt: skip


def read_all(path: str, deep: bool) -> list[str]:
    """Read a file as the commands do; returns the warnings."""
    trace = analysis.open_trace(path)
    stats_text(trace)
    lives_text(trace, trace.life_table())
    if deep:
        verify_text(trace, verify(trace))
        trace.df_events(), trace.df_lives(), trace.df_marks(), trace.df_losses(), trace.df_truth()
        trace.df_findings()
    return trace.warnings


def check(path: str, whole: Original, damaged: bool, deep: bool = True) -> str:
    """Read one file: "read", "prefix" or "refused"; whatever else comes out is a failure."""
    try:
        for _ in Dump(path).lines():
            pass
    except TraceError as error:
        _one_line(str(error))
    try:
        warnings = read_all(path, deep)
    except analysis.AnalysisError as error:
        _one_line(str(error))
        return "refused"
    if damaged:
        kept = records(path)
        assert whole.records.startswith(kept), "the records are no prefix of the file's"
        assert kept == whole.records or warnings, "records are missing without a warning"
    return "prefix" if warnings else "read"


def _one_line(text: str) -> None:
    assert text and len(text.splitlines()) == 1, f"not one line: {text!r}"


def _too_slow(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"reading took more than {SECONDS} s of CPU time")


def fuzz(first: int, files: int, folder: Path = GOLDEN, failed: Path = FAILED) -> dict[str, int]:
    """Check files number ``first`` and on; a number alone decides how a file is damaged."""
    golden = sorted(folder.glob("*.mapcount"))
    with tempfile.TemporaryDirectory(prefix="mapcount-fuzz-") as scratch:
        slices = [packed(path, Path(scratch) / path.name) for path in golden]
    wholes = [*map(original, golden), *slices]
    # Small files are read often, large ones sometimes.
    weights = [1 / len(whole.data) for whole in wholes]
    outcomes = dict.fromkeys(["read", "prefix", "refused", "failed"], 0)
    signal.signal(signal.SIGPROF, _too_slow)
    with tempfile.TemporaryDirectory(prefix="mapcount-fuzz-") as scratch:
        path = Path(scratch) / "damaged.mapcount"
        for number in range(first, first + files):
            dice = random.Random(number)
            (whole,) = dice.choices(wholes, weights)
            how = dice.choice(DAMAGES + FORGERIES)
            path.write_bytes(how(whole, dice))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                outcome = check(str(path), whole, how in DAMAGES, dice.random() < DEEP)
            except Exception:
                outcome = "failed"
                failed.mkdir(parents=True, exist_ok=True)
                kept = failed / f"{number}-{how.__name__}.mapcount"
                path.replace(kept)
                print(f"file {number} ({how.__name__}), kept as {kept}:", file=sys.stderr)
                traceback.print_exc()
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            outcomes[outcome] += 1
            if (number - first + 1) % TOLD == 0:
                print(f"{number - first + 1} files: {outcomes}", file=sys.stderr, flush=True)
    return outcomes


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Read damaged traces; exit 1 on a failure.")
    parser.add_argument("--files", type=int, default=1000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="of the first file")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))
    begin = time.monotonic()
    outcomes = fuzz(args.first, args.files)
    told = ", ".join(f"{number} {what}" for what, number in outcomes.items())
    print(f"{args.files} damaged files in {time.monotonic() - begin:.0f} s: {told}")
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
