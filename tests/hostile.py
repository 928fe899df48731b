# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that no recorder writes, under checksums that are right: what a reader must bear.

Each is a small golden trace in which one thing is forged; FILES names them.
"""

from __future__ import annotations

import json
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from analysis.packing import pack
from analysis.records import RECORD, fetched
from analysis.source import Source
from analysis.truth import RUN, Layout
from probes.events import PLACE
from probes.rights import KNOWN, WRITABLE
from probes.tracefile import (
    BLOCK,
    BLOCK_MAGIC,
    FLAG_ZLIB,
    MAGIC,
    MAJOR,
    MINOR,
    PREAMBLE,
    BlockType,
    Reader,
)

GOLDEN = Path(__file__).parent / "golden/7.x-shmem-thp.mapcount"
#: (type, payload, flags, count, stated size of a packed payload)
Forged = tuple[int, bytes, int, int, int]
UNKNOWN = 77


def raw(type_: int, payload: bytes, count: int = 1) -> Forged:
    """A block as it lies."""
    return type_, payload, 0, count, 0


def text(type_: int, content: Any) -> Forged:
    """A block of JSON."""
    return raw(type_, json.dumps(content).encode())


def repeated(*runs: tuple[bytes, int]) -> bytes:
    """The zlib stream of these pieces, each so often; it takes the time of packing each once."""
    packer = zlib.compressobj(9)
    found, low, high = [packer.flush(zlib.Z_FULL_FLUSH)], 1, 0
    for piece, times in runs:
        # Behind a full flush the same piece packs to the same bytes.
        found.append((packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)) * times)
        # The two sums of Adler-32, as if the pieces followed each other.
        checksum, length = zlib.adler32(piece), len(piece)
        for _ in range(times):
            high = (high + (checksum >> 16) + length * (low - 1)) % 65521
            low = (low + (checksum & 0xFFFF) - 1) % 65521
    return b"".join([*found, packer.flush()[:-4], struct.pack(">I", high << 16 | low)])


def bomb(type_: int, size: int, count: int = 1) -> Forged:
    """A block that packs so many zeros, whole MiB."""
    return type_, repeated((bytes(1 << 20), size >> 20)), FLAG_ZLIB, count, size & 0xFFFFFFFF


def sealed(blocks: Iterable[Forged]) -> bytes:
    """A file of these blocks, each with the checksum that it must have."""
    found = [PREAMBLE.pack(MAGIC, MAJOR, MINOR, 0)]
    for type_, payload, flags, count, unpacked in blocks:
        head = BLOCK.pack(BLOCK_MAGIC, type_, flags, count, unpacked, len(payload), 0, 0)[:-4]
        crc = zlib.crc32(payload, zlib.crc32(head))
        found += [head, struct.pack("<I", crc), payload]
    return b"".join(found)


def write(path: Path, blocks: Iterable[Forged]) -> Path:
    """Write such a file."""
    path.write_bytes(sealed(blocks))
    return path


def header() -> dict[str, Any]:
    """The golden trace's header."""
    with Source(str(GOLDEN)) as source:
        source.read()
        return json.loads(json.dumps(source.header))


def records() -> np.ndarray:
    """The golden trace's records."""
    with Source(str(GOLDEN)) as source:
        source.read()
        return np.concatenate([fetched(chunk) for chunk in source.chunks])


def golden(
    head: dict[str, Any] | None = None,
    rows: np.ndarray | None = None,
    more: Iterable[Forged] = (),
    truth: bool = True,
) -> list[Forged]:
    """The golden trace's blocks with another header, other records, or more blocks."""
    rows = records() if rows is None else rows
    found = [
        text(BlockType.HEADER, head or header()),
        raw(BlockType.RECORDS, rows.tobytes(), len(rows)),
        *more,
    ]
    with Reader(str(GOLDEN)) as reader:
        for block in reader.blocks():
            if block.type == BlockType.TRUTH and truth:
                found.append(raw(BlockType.TRUTH, bytes(block.payload)))
    trailer = {"events": len(rows), "lost": 0, "end": "in order", "monotonic_ns": 1}
    return [*found, text(BlockType.TRAILER, trailer)]


def with_header(**entries: Any) -> list[Forged]:
    """The golden trace with other entries in its header."""
    return golden(header() | entries)


def with_plan(number: int) -> list[Forged]:
    """A plan of so many probes."""
    entry = header()["plan"][0]
    more = [{**entry, "id": at, "function": f"function_{at}"} for at in range(number)]
    return with_header(plan=more)


def with_probe(**entries: Any) -> list[Forged]:
    """The first probe of the plan has other entries."""
    first, *rest = header()["plan"]
    return with_header(plan=[first | entries, *rest])


def with_field(name: str, values: Any, times: int = 1) -> list[Forged]:
    """Records, so often repeated, with other values of one field."""
    rows = np.tile(records(), times)
    rows[name] = np.resize(values, len(rows)).astype(RECORD[name])
    return golden(rows=rows)


def with_order(order: int) -> list[Forged]:
    """Every record about a page tells of a folio of this order."""
    rows = records()
    rows["order"][rows["probe"] < 0xFF00] = order
    return golden(rows=rows)


def with_stacks(number: int) -> list[Forged]:
    """So many stacks of twenty frames."""
    frames = [[f"symbol_{at}+0x1f", f"{at:#x}"] for at in range(20)]
    block = text(BlockType.STACKS, {str(at): frames for at in range(number)})
    packed = zlib.compress(block[1], 1)
    return golden(more=[(block[0], packed, FLAG_ZLIB, number, len(block[1]))])


def with_loss(**entries: Any) -> list[Forged]:
    """A LOSS block with other entries."""
    loss = {"from": 1, "to": 2, "kind": "ring", "lost": [[0, 0, 1]]} | entries
    return golden(more=[text(BlockType.LOSS, loss)])


def with_findings(lives: int, losses: int) -> list[Forged]:
    """A finding for each of so many pages, and so many losses that may explain it."""
    point = {entry["op"]: entry["id"] for entry in header()["plan"] if entry["phase"] == "point"}
    rows = np.tile(records()[:2], lives)
    rows["probe"] = np.tile([point["alloc"], point["unmap"]], lives)
    rows["pfn"], rows["order"] = np.repeat(np.arange(lives) + 1000, 2), 0
    rows["mapcount"] = np.tile([-1, 4], lives)
    rows["ts"] = np.arange(2 * lives) * 1000 + 1_000_000
    rows["seq"], rows["cpu"] = np.arange(2 * lives), 0
    spans = [{"from": ts, "to": ts + 10} for ts in rows["ts"][:losses].tolist()]
    told = [text(BlockType.LOSS, span | {"kind": "ring", "lost": [[1, 0, 1]]}) for span in spans]
    return golden(rows=rows, more=told, truth=False)


def packed(type_: int, payload: bytes, count: int = 1) -> Forged:
    """A block that packs this payload."""
    return type_, zlib.compress(payload, 9), FLAG_ZLIB, count, len(payload)


def padding() -> Forged:
    """What nobody reads, as large as a file may be: some limits grow with the file."""
    return raw(UNKNOWN, np.random.default_rng(1).bytes(8 << 20))


def snapshot(text: bytes, arrays: int = 0) -> bytes:
    """A TRUTH payload of this JSON and so many zeros."""
    return struct.pack("<I", len(text)) + text + bytes(arrays)


def snapshots_of_zeros() -> list[Forged]:
    """As many snapshots as may be packed, of a thousand frames each."""
    about = {"name": "x", "ts_begin": 1, "ts_end": 2, "frames": list(range(0, 1024 * 512, 512))}
    frames = snapshot(json.dumps(about | {"tasks": []}).encode(), 1024 * 512 * (64 + 18))
    return golden(more=[*[packed(BlockType.TRUTH, frames)] * 13, padding()])


def nested(depth: int) -> bytes:
    """JSON of this depth."""
    return b"[" * depth + b"]" * depth


#: As many records as are answered in time, packed ones included.
MANY = 500_000
#: Records of a packed block.
AT_ONCE = 1 << 17


def columns(rows: np.ndarray) -> list[Forged]:
    """Blocks that pack these records, as `slice` does."""
    pieces = [rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE)]
    return [packed(BlockType.COLUMNS, pack(piece), len(piece)) for piece in pieces]


def made(**fields: Any) -> list[Forged]:
    """So many packed records; FIELDS have the values of some of their fields, in turn."""
    rows = np.resize(records()[:1], MANY)
    rows["ts"], rows["seq"] = np.arange(MANY) * 1000 + 1_000_000, np.arange(MANY)
    rows["cpu"] = rows["order"] = 0
    for name, values in fields.items():
        rows[name] = np.resize(values, MANY).astype(RECORD[name])
    return [text(BlockType.HEADER, header()), *columns(rows), _trailer(MANY)]


def _trailer(number: int) -> Forged:
    told = {"events": number, "lost": 0, "end": "in order", "monotonic_ns": 1}
    return text(BlockType.TRAILER, told)


def ids(**wanted: str) -> list[int]:
    """The ids of the probes with this op, or this phase and op."""
    return [
        entry["id"] for entry in header()["plan"]
        if all(entry[name] == value for name, value in wanted.items())
    ]  # fmt: skip


def long_life() -> list[Forged]:
    """A healthy folio with so many records."""
    from tests.bench.synthetic import generate

    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "t", MANY, 1)
        with Source(str(Path(folder) / "t")) as source:
            source.read()
            rows = np.concatenate([fetched(chunk) for chunk in source.chunks])
    return [text(BlockType.HEADER, header()), *columns(rows), _trailer(len(rows))]


def liars() -> list[Forged]:
    """A hundred folios that are mapped and unmapped; no record fits to the one before."""
    (point,) = ids(op="map", phase="point")[:1]
    values = np.random.default_rng(1).integers(-5, 100, (2, MANY))
    return made(
        probe=point, order=9, pfn=np.arange(100) * 512 + np.arange(100) % 7, nr=1,
        mapcount=values[0], entire=values[1], large=values[0] + 7, refcount=-1,
    )  # fmt: skip


def many_pages() -> list[Forged]:
    """Operations of as many pages as a record can tell of."""
    (point,) = ids(op="map", phase="point")[:1]
    return made(probe=point, order=18, pfn=1 << 18, nr=65_535)


def wrong_pages(
    folios: int = 1024, snapshots: int = 10, rights: np.ndarray | None = None
) -> list[Forged]:
    """Folios whose pages have other map counts in each of some snapshots; ``rights``: what these
    have of page tables."""
    (point,) = ids(op="alloc", phase="point")[:1]
    frames = np.arange(1, folios + 1) * 512
    rows = np.resize(records()[:1], len(frames))
    rows["probe"], rows["pfn"], rows["order"] = point, frames, 9
    rows["ts"], rows["seq"], rows["cpu"] = np.arange(len(rows)) + 1000, np.arange(len(rows)), 0
    layout = Layout.of(header())
    page = np.zeros((512, layout.struct_page), "u1")

    def put(at: int, name: str, value: int, inside: int = 0) -> None:
        place = layout.fields[name] + inside
        page.ravel()[at * layout.struct_page + place :][:4].view("<u4")[0] = value

    for at in range(512):
        put(at, "mapcount", 3)
        put(at, "compound_head", 1 if at else 0)
    put(0, "mapping", 1)
    bit = layout.bits["head"]
    put(0, "flags", 1 << bit % 32, bit // 32 * 4)
    put(0, "order" if "order" in layout.fields else "flags_1", 9)
    told = {"name": "x", "frames": frames.tolist(), "tasks": []}
    runs = np.zeros(0, RUN) if rights is None else rights
    told["rights"] = len(runs)
    shots = []
    for number in range(snapshots):
        when = {"ts_begin": 10_000_000 + number, "ts_end": 10_000_000 + number}
        arrays = page.tobytes() * len(frames), bytes(len(frames) * 512 * 18), runs.tobytes()
        payload = snapshot(json.dumps(told | when).encode()) + b"".join(arrays)
        shots.append(packed(BlockType.TRUTH, payload))
    rest = [raw(BlockType.RECORDS, rows.tobytes(), len(rows)), *shots]
    return [text(BlockType.HEADER, header()), *rest, _trailer(len(rows))]


def writable() -> list[Forged]:
    """Half a million processes that may write all pages of a folio, in ten snapshots."""
    runs = np.zeros(MANY // 10, RUN)
    runs["pid"], runs["pages"], runs["address"] = np.arange(len(runs)) + 1, 512, 4096
    runs["entry"] = KNOWN | WRITABLE | 512
    return [*wrong_pages(folios=1, rights=runs), padding()]


def areas() -> list[Forged]:
    """A snapshot with as many mappings of processes, and runs of pages that lie in no frame."""
    about = {"name": "x", "ts_begin": 1, "ts_end": 2, "frames": [], "tasks": []}
    about |= {"published": {"runs": MANY, "areas": MANY, "files": ["pagemap", "smaps"]}}
    return golden(more=[packed(BlockType.TRUTH, snapshot(json.dumps(about).encode(), 96 * MANY))])


def places() -> list[Forged]:
    """A quarter of a million pages, each mapped at an address of its own."""
    (point,) = ids(op="map", phase="point")[:1]
    page = np.repeat(np.arange(MANY // 2), 2)
    address, place = (1 << 40) + page * 4096, np.arange(MANY) % 2 == 0
    head, *rest = made(
        probe=np.where(place, PLACE, point), ts=page * 1000 + 1_000_000, pfn=page + 1000, nr=1,
        # In a place record these four are an address space and an address, else counters.
        mapcount=np.where(place, 0x1000, -1), entire=np.where(place, -30000, -1),
        nr_mapped=np.where(place, address.astype(np.uint32).astype(np.int32), 0),
        large=np.where(place, address >> 32, -1),
    )  # fmt: skip
    return [text(head[0], header() | {"filters": {"where": True}}), *rest]


#: name -> its blocks; docs/trace-format.md says what a reader may refuse.
FILES: dict[str, Callable[[], list[Forged]]] = {
    "a packed block of 1 GiB": lambda: golden(more=[bomb(BlockType.TRUTH, 1 << 30)]),
    "a packed block of 200 MiB": lambda: golden(more=[bomb(BlockType.COLUMNS, 200 << 20, 3276800)]),
    "packed blocks of an unknown type": lambda: golden(more=[bomb(UNKNOWN, 1 << 30)] * 3),
    "a packed header": lambda: [bomb(BlockType.HEADER, 1 << 28), *golden()],
    "an order of 18": lambda: with_order(18),
    "an order of 19": lambda: with_order(19),
    "an order of 255": lambda: with_order(255),
    "a plan of 4 000 entries": lambda: with_plan(4000),
    "a plan of 8 000 entries": lambda: with_plan(8000),
    "a plan of 60 000 entries": lambda: with_plan(60000),
    "65 536 CPUs": lambda: with_field("cpu", np.arange(1 << 16), 30),
    "10^5 stacks": lambda: with_stacks(100_000),
    "60 000 stacks": lambda: with_stacks(60_000),
    "a release of 1 MB": lambda: with_header(kernel={"release": "x" * 1_000_000}),
    "a command of 1 MB": lambda: with_header(command=["y" * 1_000_000]),
    "a function of 1 MB": lambda: with_probe(function="f" * 1_000_000),
    "a second header": lambda: [*golden(), text(BlockType.HEADER, header() | {"layout": {}})],
    "deep JSON": lambda: golden(more=[raw(BlockType.TASKS, nested(100_000))]),
    "deep JSON in the header": lambda: with_header(clock=json.loads(nested(400))),
    "deep JSON in a snapshot": lambda: golden(more=[raw(BlockType.TRUTH, snapshot(nested(10**5)))]),
    "lists without end": lambda: golden(
        more=[packed(BlockType.TASKS, b"[" + b"[]," * (12 << 20) + b"[]]"), padding()]
    ),
    "lists without end in a snapshot": lambda: golden(
        more=[packed(BlockType.TRUTH, snapshot(b"[" + b"[]," * (20 << 20) + b"[]]")), padding()]
    ),
    "snapshots of zeros": snapshots_of_zeros,
    "deep JSON in an unknown type": lambda: golden(more=[raw(UNKNOWN, nested(100_000))]),
    "a PMD of 2^70 pages": lambda: with_header(pmd_order=70),
    "a PMD's pages that are text": lambda: with_header(pmd_order="nine"),
    "a lone surrogate": lambda: with_header(command=["\ud800 \udfff"]),
    "a plan id that is text": lambda: with_probe(id="5"),
    "a plan id that is huge": lambda: with_probe(id=1 << 70),
    "a delta that is huge": lambda: with_probe(delta=1 << 70),
    "commands that are objects": lambda: with_header(command=[{"a": 1}, []]),
    "a probe that is missing, of no operation": lambda: with_header(
        missing=[{"functions": ["f"], "reason": "r", "lost": "l"}]
    ),
    "a missing probe's functions that are a number": lambda: with_header(
        missing=[{"op": "map", "functions": 7, "reason": "r", "lost": "l"}]
    ),
    "frames of a snapshot that are a text": lambda: golden(more=[raw(
        BlockType.TRUTH,
        snapshot(b'{"name": "x", "ts_begin": 1, "ts_end": 2, "frames": "4"}', 512 * 82),
    )]),
    "a snapshot's tasks that are texts": lambda: golden(more=[raw(
        BlockType.TRUTH,
        snapshot(b'{"name": "x", "ts_begin": 1, "ts_end": 2, "frames": [], "tasks": ["63"]}'),
    )]),
    "gaps of 2^70": lambda: with_header(slice={"of": "t", "gaps": [[0, 0, 1 << 70, 1 << 70]]}),
    "numbers at both ends of 32 bits": lambda: with_field("seq", [0, 1, 2, (1 << 32) - 1]),
    "a loss of -7": lambda: with_loss(lost=[[0, 0, -7]]),
    "a loss of 2^70": lambda: with_loss(lost=[[0, 0, 1 << 70]]),
    "a loss that is text": lambda: with_loss(lost=[["0", None, {}]]),
    "a loss for each finding": lambda: with_findings(30_000, 40_000),
    "a finding for each page": lambda: with_findings(60_000, 0),
    "losses without end": lambda: with_loss(**{"from": -(1 << 70), "to": 1 << 70}),
    "a snapshot that does not decode": lambda: golden(more=[raw(BlockType.TRUTH, b"\xff" * 99)]),
    "no layout": lambda: with_header(layout={}),
    "a trailer that is a list": lambda: golden(more=[text(BlockType.TRAILER, [1, 2])]),
    "an oops of numbers": lambda: golden(more=[text(BlockType.OOPS, {"lines": [1, 2]})]),
    "tasks that are numbers": lambda: golden(more=[text(BlockType.TASKS, [1, 2, 3])]),
    "every counter at its end": lambda: with_field("mapcount", [-(1 << 31), (1 << 31) - 1]),
    "every time at its end": lambda: with_field("ts", [0, (1 << 63) - 1]),
    "half a million records of one folio": long_life,
    "half a million records that lie": liars,
    "half a million records of 65 535 pages each": many_pages,
    "half a million pages": lambda: made(
        probe=ids(op="alloc", phase="point")[:1], pfn=np.arange(MANY) + 1000
    ),
    "a quarter of a million pages, each with a finding": lambda: made(
        probe=[*ids(op="alloc", phase="point")[:1], *ids(op="unmap", phase="point")[:1]],
        pfn=np.repeat(np.arange(MANY // 2) + 1000, 2), mapcount=[-1, 4],
    ),
    "an eighth of a million readers that raced": lambda: made(
        probe=[*ids(op="alloc", phase="point")[:1], *ids(op="read", phase="enter")[:1],
               *ids(op="free", phase="point")[:1], *ids(op="read", phase="return")[:1]],
        pfn=np.repeat(np.arange(MANY // 4) + 1000, 4), mapcount=-1,
    ),
    "half a million marks": lambda: made(probe=0xFF00),
    "half a million tasks": lambda: made(probe=0xFF01, pfn=np.arange(MANY) + (1 << 32) * 7),
    "half a million threads": lambda: made(
        probe=ids(op="map", phase="point")[:1], tid=np.arange(MANY), pfn=512,
    ),
    "snapshots that are wrong in every page": lambda: [*wrong_pages(), padding()],
    "half a million mappings in a snapshot": areas,
    "half a million processes that may write a folio": writable,
    "every page at its end": lambda: with_field("pfn", [0, (1 << 63) - 1, 1 << 62]),
    "a quarter of a million pages at addresses": places,
}  # fmt: skip

#: Those of as many records as are answered in time, or of as many values.
LARGE = {
    name for name in FILES
    if "million" in name or name == "snapshots that are wrong in every page"
}  # fmt: skip
