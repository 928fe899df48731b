# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled programs as a value and as a file: all that a recording needs for a kernel's build.

The file: MAGIC, the SHA-256 of the rest, a u32 length, that many bytes of JSON, and the
instructions of all programs, concatenated.  Nothing in it is executed or unpickled on
reading; the kernel's verifier checks the instructions.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Dict, Tuple

from probes.layout import Layout
from probes.plan import Missing, Plan
from probes.probe import Probe, Value

#: The last byte is the format's version.
MAGIC = b"mapcount programs\n\0\1"
_LENGTH = struct.Struct("<I")
#: A digest has so many bytes.
_DIGEST = hashlib.sha256().digest_size
#: struct bpf_insn.
INSN_SIZE = 8


class Damaged(Exception):
    """Why a file does not hold compiled programs."""


@dataclass(frozen=True)
class Map:
    """A map as the programs were compiled for it; the loader decides its size."""

    name: str
    type: int
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True)
class Function:
    """The program of a probe.

    maps, constants: (index, name) of the instructions that hold a map's descriptor, or a
                     constant that the loader writes.
    btf_id: of the function that fentry or fexit attach to, or of the variable that it reads.
    """

    probe: int
    code: bytes
    maps: Tuple[Tuple[int, str], ...]
    constants: Tuple[Tuple[int, str], ...]
    btf_id: int = 0


@dataclass(frozen=True)
class Compiled:
    """What was compiled for one build of the kernel.

    sources:   a digest of this recorder's own files, on which the programs depend.
    symbols:   distance from the start of the kernel's text: the boot moves them together.
    layout:    the build's part; vmemmap is 0.
    """

    build_id: str
    release: str
    bcc: str
    sources: str
    licence: str
    symbols: Dict[str, int]
    layout: Layout
    plan: Plan
    maps: Tuple[Map, ...]
    functions: Tuple[Function, ...]


def pack(made: Compiled) -> bytes:
    """The file's content."""
    about = {field.name: getattr(made, field.name) for field in fields(Compiled)}
    about["layout"] = asdict(made.layout)
    about["plan"] = asdict(made.plan)
    about["maps"] = [asdict(each) for each in made.maps]
    about["functions"] = [
        {**asdict(replace(each, code=b"")), "code": len(each.code) // INSN_SIZE}
        for each in made.functions
    ]
    text = json.dumps(about, separators=(",", ":")).encode()
    body = _LENGTH.pack(len(text)) + text + b"".join(each.code for each in made.functions)
    return MAGIC + hashlib.sha256(body).digest() + body


def unpack(data: bytes) -> Compiled:
    """What a file's content says.  Raises Damaged."""
    start = len(MAGIC) + _DIGEST
    if data[: len(MAGIC) - 1] != MAGIC[:-1]:
        raise Damaged("it does not hold compiled programs")
    if data[: len(MAGIC)] != MAGIC:
        raise Damaged("it has another format")
    body = memoryview(data)[start:]
    if hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
        raise Damaged("it is damaged")
    # What bears its digest was written by pack(): only another version can have other fields.
    try:
        return _unpack(body)
    except (KeyError, TypeError, ValueError, struct.error):
        raise Damaged("it has another format") from None


def _unpack(body: memoryview) -> Compiled:
    (length,) = _LENGTH.unpack_from(body)
    at = _LENGTH.size + length
    about: Dict[str, Any] = json.loads(bytes(body[_LENGTH.size : at]))
    functions = []
    for each in about["functions"]:
        size = each["code"] * INSN_SIZE
        each["code"] = bytes(body[at : at + size])
        at += size
        for kind in ("maps", "constants"):
            each[kind] = tuple((place, name) for place, name in each[kind])
        functions.append(Function(**each))
    if at != len(body):
        raise ValueError("the instructions' sizes do not add up")
    plan = Plan(
        [
            Probe(**{**each, "values": tuple(Value(*value) for value in each["values"])})
            for each in about["plan"]["probes"]
        ],
        [
            Missing(**{**each, "functions": tuple(each["functions"])})
            for each in about["plan"]["missing"]
        ],
    )
    return Compiled(
        **{
            **about,
            "layout": Layout(**about["layout"]),
            "plan": plan,
            "maps": tuple(Map(**each) for each in about["maps"]),
            "functions": tuple(functions),
        }
    )
