# SPDX-License-Identifier: GPL-2.0-or-later
"""One probe as data: where it is attached, which handler runs there, and its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, NamedTuple, Tuple, Union

#: How the kernel attaches a stub.
KPROBE, KRETPROBE, RAW_TRACEPOINT = "kprobe", "kretprobe", "raw_tracepoint"
#: A tracepoint by way of perf, which costs more and holds preemption off.
TRACEPOINT = "tracepoint"
#: The cheaper way into a whole function, and out of it.
FENTRY, FEXIT = "fentry", "fexit"
#: A way out of it with preemption off, for any number of tasks that are in it.
KRETPROBE_MULTI = "kretprobe_multi"


class Value(NamedTuple):
    """An argument of a handler, by where its stub gets it (probes/stubs.py)."""

    kind: str
    what: Union[int, str]


def argument(position: int) -> Value:
    """An argument of the function, or of the tracepoint, that the probe sits on."""
    return Value("argument", position)


def given(position: int) -> Value:
    """The same, for a handler that fetches it when it needs it, or reads fields through it."""
    return Value("given", position)


def known(value: int) -> Value:
    """A number known to the plan, in place of an argument that is given()."""
    return Value("known", value)


def register(expression: str) -> Value:
    """The value of a field of struct pt_regs, perhaps less a number (probes/arch.py)."""
    return Value("register", expression)


def event_field(offset: int, size: int, is_pfn: bool = False) -> Value:
    """A field of perf's data of a tracepoint; for a page frame number the struct page."""
    return Value("pfn" if is_pfn else "field", f"{offset} {size}")


def constant(name: str) -> Value:
    """A number that the handlers (bpf/handlers.h) have a name for."""
    return Value("constant", name)


def number(value: int) -> Value:
    """A number known to the plan."""
    return Value("number", value)


#: What the function returned.
RESULT = Value("result", 0)


@dataclass(frozen=True)
class Probe:
    """One BPF stub and where it is attached.  ``id`` is what its records carry.

    handler: the function of bpf/handlers.h that is called with the context and ``values``.
    entry:   the id of the probe at the entry of the same function, or of the surrounding
             bracket; -1: none.
    code:    for an inlined update, the bytes of the instruction, in hex.
    within:  the function of the bracket in which alone it makes records; "": wherever it runs.
    instead: for a second program at the same place, the probe whose records it makes if the
             kernel skipped that probe's program; below 0: none.
    """

    id: int
    function: str
    attach: str
    offset: int
    handler: str
    values: Tuple[Value, ...]
    op: str
    phase: str
    group: str
    delta: int = 0
    after: bool = False
    code: str = ""
    entry: int = -1
    within: str = ""
    instead: int = -1

    def as_json(self) -> Dict[str, Any]:
        """The probe for the plan in the trace header."""
        return {
            "id": self.id,
            "function": self.function,
            "op": self.op,
            "phase": self.phase,
            "delta": self.delta,
            "after": self.after,
            "group": self.group,
            "attach": self.attach,
            "site": f"+{self.offset:#x}" if self.offset else None,
            "within": self.within or None,
        }
