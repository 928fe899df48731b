# SPDX-License-Identifier: GPL-2.0-or-later
"""Names as an attacker would give them to tasks, marks, functions, kernels, commands and files."""

from __future__ import annotations

import unicodedata
from typing import Any

from tests import mock_stories
from tests.mock import MockTrace

#: What each would do where it is shown as it is.
NAMES = {
    "colours the terminal": "\x1b[31mred\x1b[0m",
    "sets the window's title": "\x1b]0;title\x07",
    "begins a line": "a\nerror: forged",
    "overwrites the line": "good\rerror: forged",
    "ends a line elsewhere": "a\u2028error: forged\u0085b",
    "turns the direction": "safe\u202egnp.exe\u2066",
    "has no width": "ad\u200bmin\ufeff",
    "is a C1 control": "\x9b31m",
    "is no text": "lone\udc80surrogate\ud800",
    "is mathematics": "cost $HOME of $USER",
    "is broken mathematics": r"$\frac{$ \$",
    "is a formula": "=1+1",
    "adds": "+1+1",
    "subtracts": "-1+1",
    "calls": "@SUM(1)",
    "is a formula behind a tab": "\t=1+1",
    "is a template": "{0.__class__} {actor} %s%n ${name}",
    "is markup": "<script>alert('1')</script>&quot;",
    "has no glyph": "\u6c49\u5b57 \U0001f98a \U00012000",
}
TAME = "tame"
#: A page of which it is told where it is mapped.
PLACED = mock_stories.HEAD + (1 << 20)


def forged(name: str) -> MockTrace:
    """A trace with findings, differences, losses and a death in which everything is called NAME."""
    trace = mock_stories.crash()
    trace.where, trace.spaces = True, [(100, 1)]
    tame = trace.header()
    trace.tasks = [(tid, pid, name) for tid, pid, _ in trace.tasks]
    trace.task_rename(100, name)
    trace.mark(name)
    frame = mock_stories.HEAD
    trace.place(PLACED, 1, 1 << 40)
    trace.record("map_new", PLACED, order=2, nr=4)
    vmas = {100: [(1 << 40, 1 << 41, name, name)]}
    trace.truth(name, [frame], bytes(512 * 64), [0] * 512, [0] * 512, tasks=[100], vmas=vmas)
    # The kernel's death was before: a snapshot is no record of its memory.
    assert trace.streamed is not None
    trace.items.insert(trace.streamed, trace.items.pop())
    trace.streamed += 1
    trace.words = [f"[    7.100000] BUG {name}", f"[    7.200000] {name}"]
    for entry in tame["plan"]:
        entry["function"] = name + entry["function"]
    tame["kernel"] = {"release": name, "version": name, "machine": name, "build_id": name}
    tame["command"] = [name, name]
    tame["counters"] = [*tame["counters"], name]
    tame["missing"] = [{"op": "unmap", "functions": [name], "reason": name, "lost": name}]
    tame["slice"] = {"of": name, "gaps": []}

    def header() -> dict[str, Any]:
        return tame

    trace.header = header  # type: ignore[method-assign]
    return trace


def acts(text: str) -> set[str]:
    """The characters of a shown text that do something; its newlines are the program's own."""
    return {
        character
        for character in text
        if character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
