# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks the contents of blocks, as they are read, against the limits of the format.

Each function raises ValueError for a value that no recorder writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from probes import limits
from probes.events import MARK_FIRST, PHASES

#: What the header's entries are, where they are there.
HEADER = {
    "kernel": dict, "command": list, "counters": list, "plan": list, "missing": list,
    "layout": dict, "filters": dict, "clock": dict, "slice": dict,
    "ring_bytes": int,
}  # fmt: skip
#: Any address of the kernel's.
WORD = (1 << 64) - 1


def whole(value: Any, low: int, high: int) -> int:
    """Check that a value is a whole number between two, both included."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{_shown(value)} is not a number from {low} to {high}")
    return value


def text(value: Any) -> str:
    """Check that a value is a text that is not too long."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not text")
    if len(value) > limits.TEXT:
        raise ValueError(f"a text has {len(value)} characters, more than {limits.TEXT}")
    return value


def listed(value: Any, most: int | None = None) -> list[Any]:
    """Check that a value is a list that is not too long; by default its block limits it."""
    if not isinstance(value, list):
        raise ValueError(f"{_shown(value)} is no list")
    if most is not None and len(value) > most:
        raise ValueError(f"a list has {len(value)} entries, more than {most}")
    return value


def header(content: Any) -> dict[str, Any]:
    """Check the header's JSON, with all its texts and numbers."""
    if not isinstance(content, dict):
        raise ValueError("the header is not an object")
    for name, kind in HEADER.items():
        if not isinstance(content.get(name, kind()), kind):
            raise ValueError(f"the header's {name} is no {kind.__name__}")
    found = dict(content)
    found["kernel"] = {text(k): text(v or "") for k, v in content.get("kernel", {}).items()}
    found["command"] = [text(word) for word in content.get("command", [])]
    found["counters"] = [
        text(name) for name in listed(content.get("counters", []), limits.COUNTERS)
    ]
    found["plan"] = [_probe(entry) for entry in listed(content.get("plan", []), limits.PROBES)]
    found["missing"] = [
        _missing(entry) for entry in listed(content.get("missing", []), limits.PROBES)
    ]
    if "page_size" in content:
        found["page_size"] = whole(content["page_size"], 1, limits.PAGE)
    if "pmd_order" in content:
        found["pmd_order"] = whole(content["pmd_order"], 0, limits.ORDER)
    if "slice" in content:
        gaps = [_gap(gap) for gap in content["slice"]["gaps"]]
        found["slice"] = {"of": text(content["slice"].get("of", "?")), "gaps": gaps}
    return {name: found[name] for name in content}


def loss(content: Any) -> dict[str, Any]:
    """Check a LOSS block's JSON."""
    lost = [
        (whole(cpu, -1, limits.ID), whole(probe, 0, limits.ID), whole(number, 0, limits.LOST))
        for cpu, probe, number in content["lost"]
    ]
    span = {name: whole(content[name], 0, limits.EVER) for name in ("from", "to")}
    return {**span, "kind": text(content["kind"]), "lost": lost}


def tasks(content: Any) -> Iterable[tuple[int, int, str]]:
    """The checked (tid, pid, comm) of a TASKS block's JSON."""
    return (
        (whole(tid, 0, limits.TASK), whole(pid, 0, limits.TASK), text(comm))
        for tid, pid, comm in content
    )


def spaces(content: Any) -> Iterable[tuple[int, int]]:
    """The checked (pid, mm) of a SPACES block's JSON."""
    return ((whole(pid, 0, limits.TASK), whole(mm, 0, WORD)) for pid, mm in content)


def snapshot(content: dict[str, Any]) -> dict[str, Any]:
    """The checked JSON of a TRUTH block, with defaults for keys that may be missing."""
    told = content.get("published", {})
    return {
        **content,
        "name": text(content["name"]),
        **{name: whole(content[name], 0, limits.EVER) for name in ("ts_begin", "ts_end")},
        "frames": [whole(pfn, 0, limits.EVER) for pfn in listed(content["frames"])],
        "tasks": [whole(pid, 0, limits.TASK) for pid in listed(content.get("tasks", []))],
        "skipped": whole(content.get("skipped", 0), 0, limits.EVER),
        "mms": [_space(mm) for mm in listed(content.get("mms", []))],
        "published": {
            **told,
            **{name: whole(told.get(name, 0), 0, limits.EVER) for name in ("runs", "areas")},
            "files": [text(name) for name in listed(told.get("files", []))],
        },
        "rights": whole(content.get("rights", 0), 0, limits.EVER),
    }


def frames(content: Any) -> list[tuple[str, str]]:
    """Check the frames of one stack."""
    return [(text(name), text(place)) for name, place in listed(content, limits.FRAMES)]


def _probe(entry: dict[str, Any]) -> dict[str, Any]:
    checked = {
        "id": whole(entry["id"], 0, MARK_FIRST - 1),
        "function": text(entry["function"]),
        "op": text(entry["op"]),
        "delta": whole(entry.get("delta") or 0, -128, 127),
        "site": text(entry["site"]) if entry.get("site") else None,
    }
    if entry.get("phase", "point") not in PHASES:
        raise ValueError(f"a probe has the phase {_shown(entry.get('phase'))}")
    return {**entry, **checked}


def _missing(entry: dict[str, Any]) -> dict[str, Any]:
    checked = {name: text(entry[name]) for name in ("op", "reason", "lost")}
    functions = [text(name) for name in listed(entry["functions"], limits.PROBES)]
    return {**entry, **checked, "functions": functions}


def _space(mm: dict[str, Any]) -> dict[str, Any]:
    """An address space of a snapshot: its tasks, its mappings, and why it was not held still."""
    vmas = [
        (whole(start, 0, limits.EVER), whole(end, 0, limits.EVER), text(flags), text(name))
        for start, end, flags, name in listed(mm.get("vmas", []))
    ]
    tasks = [whole(pid, 0, limits.TASK) for pid in listed(mm["tasks"])]
    return {**mm, "tasks": tasks, "vmas": vmas, "torn": text(mm.get("torn") or "")}


def _gap(gap: Any) -> list[int]:
    cpu, begin, end, lost = gap
    return [
        whole(cpu, 0, limits.ID),
        whole(begin, 0, limits.EVER),
        whole(end, 0, limits.EVER),
        whole(lost, 0, limits.LOST),
    ]


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
