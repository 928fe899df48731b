# SPDX-License-Identifier: GPL-2.0-or-later
"""The trace file: a writer that only appends, and a reader that uses every complete block.

The format is described in ``docs/trace-format.md``; this module is its definition.

A file is 16 bytes of preamble (magic, version) and then blocks.  Each block has a
32-byte header (magic, type, flags, count, CRC-32, payload length) and a payload.
Nothing is ever rewritten, so the blocks survive the death of the recorder; the reader stops at
the first block that is incomplete or damaged and reports what it left out.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import struct
import threading
import zlib
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, Dict, Iterator, Optional, Union

from probes import limits
from probes.crc32 import crc32
from probes.errors import MapcountError

#: The high bit, CR LF, ctrl-Z and LF make text-mode copies show at once (as PNG does).
MAGIC = b"\x89MAP\r\n\x1a\n"
MAJOR, MINOR = 1, 5
PREAMBLE = struct.Struct("<8sHHI")

BLOCK_MAGIC = b"MBLK"
#: magic, type, flags, count, size of a compressed payload when unpacked (else 0), payload
#: length, number of the ring that it is of, CRC-32 of the 28 bytes before it and the payload.
BLOCK = struct.Struct("<4sHHIIQII")
BLOCK_SIZE = BLOCK.size
assert BLOCK_SIZE == 32
FLAG_ZLIB = 1
FLAG_RECOVERED = 2  # the records come from the memory of a kernel that died

Payload = Union[bytes, bytearray, memoryview]


def _nbytes(payload: Payload) -> int:
    return payload.nbytes if isinstance(payload, memoryview) else len(payload)


class BlockType(IntEnum):
    """The type of a block's payload.  A reader skips types that it does not know."""

    HEADER = 1  # JSON: kernel, layout, plan, filters, clocks; always the first block
    EVENTS = 2  # count slots of 72 bytes: the ring buffer's bytes as they lay there
    RECORDS = 3  # count records of 64 bytes: the same without the ring's headers
    TASKS = 4  # JSON: [[tid, pid, comm], ...] of the tasks alive when recording began
    LOSS = 5  # JSON: {"from", "to": ns, "kind", "lost": [[cpu, probe, n], ...]}
    STACKS = 6  # JSON: {stack id: [["symbol+0x1f", address], ...]}, innermost first
    TRUTH = 7  # a ground-truth snapshot, see probes/snapshot.py
    TRAILER = 8  # JSON: totals; its presence says that the recorder ended in order
    RECOVERY = 9  # JSON: what `mapcount recover` found in the memory of a dead kernel
    OOPS = 10  # JSON: what that kernel printed about its death, and when
    SPACES = 12  # JSON: [[pid, mm], ...] of the processes alive when recording began
    COLUMNS = 11  # count records as RECORDS has, packed by analysis/packing.py


KNOWN = frozenset(map(int, BlockType))
PACKED_JSON = frozenset({BlockType.TASKS, BlockType.STACKS, BlockType.OOPS})
PACKED = PACKED_JSON | {BlockType.TRUTH, BlockType.COLUMNS}


class TraceError(MapcountError):
    """A file that is not a trace, or a trace that this version cannot read."""


_STRING = re.compile(rb'"[^"]*"?')
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))


def decoded(payload: Payload) -> Any:
    """Decoded JSON, whose texts can be encoded again (a command's argument may not be UTF-8).
    Raises ValueError if it is invalid, or nested too deeply.
    """
    raw = bytes(payload)
    if _is_deep(raw):
        raise ValueError(f"more than {limits.DEPTH} lists and objects lie in each other")
    value = json.loads(raw.decode(errors="replace"))
    return _encodable(value) if b"\\ud" in raw.lower() else value


def _is_deep(raw: bytes) -> bool:
    """Whether something of JSON lies deeper than it may; asked before Python recurses into it."""
    outside = _STRING.sub(b"", raw.replace(rb"\\", b"").replace(rb"\"", b""))
    brackets = outside.translate(None, _NO_BRACKET)
    for _ in range(limits.DEPTH):
        if not brackets:
            break
        # At least the innermost ones.
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def _encodable(value: Any) -> Any:
    """A value of JSON whose lone surrogates are spelled."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    if isinstance(value, dict):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    return value


@dataclass(frozen=True)
class Block:
    """One complete block: its type, number of entries, offset, payload, and ring."""

    type: int
    flags: int
    count: int
    offset: int
    payload: memoryview
    ring: int = 0

    def json(self) -> Any:
        """The payload as JSON.  Raises TraceError if it is not valid."""
        try:
            return decoded(self.payload)
        except ValueError as error:
            raise TraceError(f"block at byte {self.offset} is not JSON: {error}") from None


@dataclass(frozen=True)
class Damage:
    """Why a reader stopped before the end of the file.

    ``cut_off``: the file only ends too early, as it does while it is being written.
    """

    offset: int
    dropped: int
    reason: str
    cut_off: bool = False

    def __str__(self) -> str:
        return f"dropped {self.dropped} bytes from byte {self.offset} on: {self.reason}"


def _clipped(value: Any) -> Any:
    """A value of JSON whose texts are as long as they may be."""
    if isinstance(value, str):
        return value if len(value) <= limits.TEXT else value[: limits.TEXT - 1] + "…"
    if isinstance(value, (list, tuple)):
        return [_clipped(each) for each in value]
    if isinstance(value, dict):
        return {_clipped(name): _clipped(each) for name, each in value.items()}
    return value


class _Unpacked:
    """What the packed blocks of a file unpack to: a writer packs only what a reader takes."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(limits.UNPACKED, 0)

    def add(self, type_: int, unpacked: int, size: int) -> bool:
        """Count a block that unpacks to so much, in a file of that size; False, and nothing is
        counted, where that is too much."""
        records = unpacked if type_ == BlockType.COLUMNS else 0
        json_bytes = unpacked if type_ in PACKED_JSON else 0
        more = {"all": unpacked, "records": records, "json": json_bytes}
        return unpacked <= limits.BLOCK and self._add(more, size)

    def add_inner(self, type_: int, payload: Payload, size: int) -> bool:
        """Count the JSON of a snapshot, which its length precedes."""
        if type_ != BlockType.TRUTH:
            return True
        length = int.from_bytes(payload[:4], "little")
        return self._add({"json": min(length, _nbytes(payload))}, size)

    def _add(self, more: Dict[str, int], size: int) -> bool:
        sums = {kind: self._sums[kind] + number for kind, number in more.items()}
        bounds = {kind: free + times * size for kind, (free, times) in limits.UNPACKED.items()}
        if any(number > bounds[kind] for kind, number in sums.items()):
            return False
        self._sums.update(sums)
        return True


class Writer:
    """Appends blocks to a new file; with ``at``, to an old one whose complete blocks end there.

    A new file is readable by the user alone, because it has kernel addresses.
    A block that could not be written completely (a full disk) is removed again, so that the file
    ends with the last complete block; an OSError is passed on.
    """

    def __init__(self, path: str, at: Optional[int] = None) -> None:
        self.path = path
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(path, flags | (os.O_CREAT | os.O_EXCL if at is None else 0), 0o600)
        self.size = at or 0
        self._lock = threading.Lock()
        #: What an old file unpacks to is not known here: nothing that is added to it is packed.
        self._unpacked = _Unpacked() if at is None else None
        try:
            if at is None:
                self._append([PREAMBLE.pack(MAGIC, MAJOR, MINOR, 0)])
            else:
                self._cut()
        except OSError:
            self.close()
            raise

    def block(
        self,
        type_: BlockType,
        payload: Payload,
        count: int = 1,
        compress: bool = False,
        flags: int = 0,
        ring: int = 0,
    ) -> None:
        """Append one block.  Compression is for rare, large blocks, never for events, and is left
        out if a reader would reject the result.

        Threads may append at the same time if only one of them compresses.
        """
        unpacked = 0
        if compress and self._unpacked:
            packed = zlib.compress(payload, 1)
            size = self.size + BLOCK_SIZE + len(packed)
            if self._unpacked.add(type_, _nbytes(payload), size) and self._unpacked.add_inner(
                type_, payload, size
            ):
                unpacked = _nbytes(payload)
                payload, flags = packed, flags | FLAG_ZLIB
        size = _nbytes(payload)
        head = BLOCK.pack(BLOCK_MAGIC, type_, flags, count, unpacked, size, ring, 0)[:-4]
        self._append([head + struct.pack("<I", crc32(head, payload)), payload])

    def json(
        self,
        type_: BlockType,
        value: Any,
        count: int = 1,
        compress: bool = False,
        ring: int = 0,
    ) -> None:
        """Append one block of JSON; texts that are too long are shortened."""
        text = json.dumps(_clipped(value), separators=(",", ":")).encode()
        self.block(type_, text, count, compress, ring=ring)

    def beat(self) -> None:
        """Show readers that follow the file that its writer lives, though it writes nothing."""
        os.utime(self._fd)

    def _append(self, parts: "list[Payload]") -> None:
        with self._lock:
            self._write(parts)

    def _write(self, parts: "list[Payload]") -> None:
        total = sum(_nbytes(part) for part in parts)
        try:
            done = os.writev(self._fd, parts)
            if done < total:
                rest = memoryview(b"".join(bytes(p) for p in parts))[done:]
                while rest:
                    written = os.write(self._fd, rest)
                    if written == 0:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
                    rest = rest[written:]
        except OSError:
            self._cut()
            raise
        self.size += total

    def _cut(self) -> None:
        os.ftruncate(self._fd, self.size)
        os.lseek(self._fd, self.size, os.SEEK_SET)

    def close(self) -> None:
        """Close the file; more than once is no error."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: Optional[type],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


def _require_file(path: str) -> None:
    """Raise TraceError for what is no file; to open it may wait for ever."""
    if not path:
        raise TraceError("the trace has an empty name: give a file that `mapcount record` wrote")
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise TraceError(f"{path} is a folder: give a file that `mapcount record` wrote")
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise TraceError(f"{path} is {kind}, not a file: save the trace as a file first")


class File:
    """An open file that is read by offset, until its last user closes it.

    It is not mapped: access to a mapped page beyond a truncated file's end kills the process.
    """

    def __init__(self, path: str) -> None:
        _require_file(path)
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def size(self) -> int:
        """Bytes that it holds now."""
        return os.fstat(self._fd).st_size

    def beat(self) -> int:
        """When it was last written, or its writer last showed that it lives (ns)."""
        return os.fstat(self._fd).st_mtime_ns

    def read(self, at: int, length: int) -> bytes:
        """``length`` bytes from an offset on.  Raises TraceError if they are no longer there."""
        if self._fd < 0:
            raise TraceError(f"{self.path} was closed: open it again")
        parts = []
        while length:
            part = os.pread(self._fd, length, at)
            if not part:
                raise TraceError(f"{self.path} was cut short while it was read: read it again")
            parts.append(part)
            at, length = at + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file; more than once is no error."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.close()


class Reader:
    """Walks the complete blocks of a file.

    ``blocks()`` may be called again after the file grew (``refresh``): it continues where it
    stopped.  ``at``: where the last complete block ended; ``damage``: after a walk, why it ended
    before the end of the file; for a file that is still being written that is the block in
    flight.  ``file`` can still be read when the reader is closed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.damage: Optional[Damage] = None
        self.file = File(path)
        self.at = PREAMBLE.size
        self._unpacked = _Unpacked()
        self.refresh()
        self._check_preamble()

    def refresh(self) -> int:
        """Update the size of the file.  Returns it in bytes."""
        self._size = self.file.size()
        return self._size

    def beat(self) -> int:
        """When the file was last written, or its writer last showed that it lives (ns)."""
        return self.file.beat()

    def _check_preamble(self) -> None:
        head = self.file.read(0, min(self._size, PREAMBLE.size))
        if not head:
            raise TraceError(f"{self.path} is empty: give a file that `mapcount record` wrote")
        if len(head) < PREAMBLE.size or head[:8] != MAGIC:
            raise TraceError(
                f"{self.path} is not a mapcount trace (its first bytes differ): "
                "give a file that `mapcount record` wrote"
            )
        _, major, minor, _ = PREAMBLE.unpack(head)
        if major > MAJOR:
            raise TraceError(
                f"{self.path} has format {major}.{minor}, this program reads up to "
                f"{MAJOR}.x: use a newer mapcount"
            )

    def blocks(self) -> Iterator[Block]:
        """Yield each complete block from where the last walk stopped."""
        self.damage = None
        while self.at < self._size:
            block = self._read_block()
            if block is None:
                return
            yield block

    def _read_block(self) -> Optional[Block]:
        start, left = self.at, self._size - self.at - BLOCK_SIZE
        if left < 0:
            return self._stop(start, "the file ends inside a block header", cut_off=True)
        head = self.file.read(start, BLOCK_SIZE)
        magic, type_, flags, count, unpacked, length, ring, crc = BLOCK.unpack(head)
        if magic != BLOCK_MAGIC:
            return self._stop(start, "no block begins there")
        if length > left:
            return self._stop(start, "the file ends inside a block", cut_off=True)
        data = self.file.read(start + BLOCK_SIZE, length)
        if crc32(head[:-4], data) != crc:
            return self._stop(start, "the block's checksum does not match")
        # What nobody asks for is not unpacked.
        if flags & FLAG_ZLIB and type_ in KNOWN:
            found = self._unpack(type_, data, unpacked)
            if isinstance(found, str):
                return self._stop(start, found)
            data = found
        self.at = start + BLOCK_SIZE + length
        return Block(type_, flags, count, start, memoryview(data), ring)

    def _unpack(self, type_: int, data: bytes, unpacked: int) -> Union[bytes, str]:
        """The payload that was packed, or why it is none."""
        if type_ not in PACKED:
            return "the block is packed, which no recorder does to one of its type"
        too_much = f"the block unpacks to {unpacked} bytes, more than it may in a file of this size"
        if not self._unpacked.add(type_, unpacked, self._size):
            return too_much
        try:
            # The stated size bounds the memory that a forged block can ask for.
            found = zlib.decompressobj().decompress(data, unpacked)
        except zlib.error as error:
            return f"the block does not decompress: {error}"
        if len(found) != unpacked:
            return "the block does not decompress to its stated size"
        return found if self._unpacked.add_inner(type_, found, self._size) else too_much

    def _stop(self, offset: int, reason: str, cut_off: bool = False) -> Optional[Block]:
        self.damage = Damage(offset, self._size - offset, reason, cut_off)
        return None

    def close(self) -> None:
        """End the walk; other users of ``file`` can still read it."""
        self._size = 0

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: Optional[type],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
