# SPDX-License-Identifier: GPL-2.0-or-later
"""Damages and forges traces at random, and holds every command to the promise of the format.

The promise (docs/trace-format.md): a damaged file gives the records before the damage and a
warning, or one clear error; it never crashes or hangs a command, nor makes it ask for much memory.
Of each file the reader's own answer is looked at, and that of one command; the number of the file
decides which.  All runs in one process, as most of a command's time is that of its start.

    python -m tests.fuzz_reader --files 100000
"""

from __future__ import annotations

import argparse
import functools
import gc
import io
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import analysis
import mapcount
from analysis import __main__ as offline
from analysis.records import fetched
from analysis.slicing import Wanted, write_slice
from analysis.source import Source
from analysis.stats_text import stats_text
from probes.tracefile import BLOCK, BLOCK_SIZE, PREAMBLE, Reader
from tests import forging, mock_stories

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
FAILED = ROOT / "out" / "fuzz"
#: Seconds (of CPU time) and bytes that one command may take for a file.
SECONDS, MEMORY = 10, 1 << 30
#: The commands whose words are not their name and the file, and how often one is run: a picture
#: takes a second, what prints some hundredths of one.
SPECIAL = {
    "lives --all": 8, "slice -o OUT": 8, "timeline -o OUT.png": 1, "report -o OUT.html": 1,
    "holders": 8, "waste": 8, "waste -o OUT.png": 1, "where": 8, "where -o OUT.png": 1,
    "export --to csv -o OUT": 4, "export --to perfetto -o OUT": 4, "export --to parquet -o OUT": 4,
}  # fmt: skip
PLAIN = set(offline.COMMANDS) - {command.split()[0] for command in SPECIAL}
#: Share of the files that are made into frames: `audit` and `export` are others' way to these.
FRAMES = 0.03
COMMANDS = SPECIAL | dict.fromkeys(sorted(PLAIN), 8)
#: It is the same for each command.
PARSER = functools.cache(offline.build_parser)
#: Files after which a long run says how far it is.
TOLD = 5000
CRC_AT = BLOCK_SIZE - 4


@dataclass(frozen=True)
class Original:
    """A whole file, where its blocks begin and end, and the records that it holds."""

    data: bytes
    blocks: list[tuple[int, int]]
    records: bytes

    @functools.cached_property
    def parts(self) -> forging.Parts:
        """The same taken apart, for whole values to be forged."""
        return forging.parts(self.data, self.blocks, self.records)


Damage = Callable[[Original, random.Random], bytes]


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


def _of_parts(forge: Callable[[forging.Parts, random.Random], bytes]) -> Damage:
    @functools.wraps(forge)
    def forged(whole: Original, dice: random.Random) -> bytes:
        return forge(whole.parts, dice)

    return forged


#: Damage that checksums must find, and forgery that they cannot.
DAMAGES: list[Damage] = [flip, truncate, overwrite, remove]
FORGERIES: list[Damage] = [
    shuffle, forge_head, forge_payload, forge_json, *map(_of_parts, forging.FORGERIES),
]  # fmt: skip


def read(path: str, frames: bool) -> list[str]:
    """Read a file, and make frames of it; returns the warnings."""
    trace = analysis.open_trace(path)
    stats_text(trace)
    if frames:
        trace.df_events(), trace.df_lives(), trace.df_marks(), trace.df_losses(), trace.df_truth()
        trace.df_findings()
    return trace.warnings


def check(path: str, whole: Original, damaged: bool, frames: bool = False) -> str:
    """Read one file: "read", "prefix" or "refused"; whatever else comes out is a failure."""
    try:
        warnings = read(path, frames)
    except analysis.AnalysisError as error:
        _one_line(str(error))
        return "refused"
    if damaged:
        kept = records(path)
        assert whole.records.startswith(kept), "the records are no prefix of the file's"
        assert kept == whole.records or warnings, "records are missing without a warning"
    return "prefix" if warnings else "read"


def answer(command: str, path: str, scratch: Path) -> int:
    """Run a command on a file; returns its status.  AssertionError for what no user must see."""
    words = command.replace("OUT", str(scratch / "out")).split()
    said = io.StringIO()
    with (
        open(os.devnull, "w") as nothing,
        redirect_stdout(nothing),
        redirect_stderr(said),
        mock.patch.object(offline, "build_parser", PARSER),
    ):
        status = mapcount.main([words[0], path, *words[1:]])
    if words[0] == "slice" and status == 0:
        with Source(str(scratch / "out")) as slice_:
            slice_.read()
            assert slice_.damage is None, f"the slice is refused: {slice_.damage}"
    for made in scratch.glob("out*"):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    told = said.getvalue()
    assert status in (0, 1), f"{command}: status {status}: {told}"
    assert "a bug in mapcount" not in told and "Traceback" not in told, f"{command}: {told}"
    kinds = [line.split(":")[0] for line in told.splitlines()]
    assert set(kinds) <= {"error", "warning", "note"}, f"{command}: {told}"
    assert kinds.count("error") <= 1, f"{command}: {told}"
    return status


def _one_line(text: str) -> None:
    assert text and len(text.splitlines()) == 1, f"not one line: {text!r}"


def _too_slow(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"it took more than {SECONDS} s of CPU time")


@contextmanager
def _time_limit() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory() -> None:
    """Let this process grow by no more than MEMORY from here on."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))


def fuzz(first: int, files: int, folder: Path = GOLDEN, failed: Path = FAILED) -> dict[str, int]:
    """Check files number ``first`` and on; a number alone decides how a file is damaged.

    For a process of its own: what it starts meanwhile is held to the limits as well, and a test
    session starts guests.
    """
    golden = sorted(folder.glob("*.mapcount"))
    with tempfile.TemporaryDirectory(prefix="mapcount-fuzz-") as scratch:
        slices = [packed(path, Path(scratch) / path.name) for path in golden]
        # What no golden trace has: findings, losses, and a kernel's death; rights in page tables.
        death = original(mock_stories.crash().write(Path(scratch) / "death"))
        shared = original(mock_stories.half_shared().write(Path(scratch) / "shared"))
    wholes = [*map(original, golden), *slices, death, shared]
    # Small files are read often, large ones sometimes.
    weights = [1 / len(whole.data) for whole in wholes]
    outcomes = dict.fromkeys(["read", "prefix", "refused", "failed"], 0)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    signal.signal(signal.SIGPROF, _too_slow)
    with tempfile.TemporaryDirectory(prefix="mapcount-fuzz-") as scratch:
        path = Path(scratch) / "damaged.mapcount"
        # What is imported, and what the libraries reserve, is no file's doing.
        for command in COMMANDS:
            path.write_bytes(death.data)
            answer(command, str(path), Path(scratch))
        gc.freeze()
        for number in range(first, first + files):
            dice = random.Random(number)
            (whole,) = dice.choices(wholes, weights)
            how = dice.choice(DAMAGES + FORGERIES)
            path.write_bytes(how(whole, dice))
            frames = dice.random() < FRAMES
            (command,) = dice.choices(list(COMMANDS), list(COMMANDS.values()))
            _limit_memory()
            try:
                with _time_limit():
                    outcome = check(str(path), whole, how in DAMAGES, frames)
                with _time_limit():
                    answer(command, str(path), Path(scratch))
            except Exception:
                outcome = "failed"
                failed.mkdir(parents=True, exist_ok=True)
                kept = failed / f"{number}-{how.__name__}.mapcount"
                path.replace(kept)
                print(f"file {number} ({how.__name__}), kept as {kept}:", file=sys.stderr)
                traceback.print_exc()
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
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
    begin = time.monotonic()
    outcomes = fuzz(args.first, args.files)
    told = ", ".join(f"{number} {what}" for what, number in outcomes.items())
    print(f"{args.files} damaged files in {time.monotonic() - begin:.0f} s: {told}")
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
