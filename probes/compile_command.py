# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the file with which a machine without a compiler can record."""

from __future__ import annotations

import mmap

from probes.boot import Boot
from probes.compiled import Compiled, pack
from probes.errors import ProbeError
from probes.kept import find_or_make, make_and_keep
from probes.kernel import Memory, check_kprobes, possible_cpus
from probes.kretprobes import Kretprobes
from probes.loader import Filters, Program, Refused
from probes.maps import Shape
from probes.memory import kernel_memory
from probes.output import Output, check
from probes.record import require_root
from probes.say import say


def compile_programs(path: str, force: bool) -> int:
    """Write the running kernel's programs to the file PATH.  Returns 0.

    Raises ProbeError or OutputError.
    """
    require_root()
    check(path, force)
    check_kprobes()
    kcore = kernel_memory()
    made = find_or_make(None, True, kcore).made
    try:
        _try_out(made, kcore)
    except Refused:
        # There nothing could be compiled again.
        made = make_and_keep(True, kcore, trampolines=False).made
        _try_out(made, kcore)
    if not made.build_id:
        raise ProbeError(
            "this kernel has no build id (/sys/kernel/notes), which tells its file from "
            "another kernel's: use one that was linked with --build-id"
        )
    content = pack(made)
    output = Output(path, force)
    with output, open(output.part, "xb") as file:
        file.write(content)
    probes = len(made.plan.probes)
    say(f"{probes} probes for {made.release}; wrote {path} ({len(content)} bytes)")
    return 0


def _try_out(made: Compiled, kcore: Memory) -> None:
    """Load the programs, attached nowhere.  Raises Refused, or ProbeError."""
    shape = Shape(possible_cpus(), (0,), (0,), mmap.PAGESIZE, len(made.plan.probes))
    kretprobes = Kretprobes(lambda _: None)  # nothing is attached to one
    Program(made, shape, Filters(), Boot(made, kcore), kretprobes).detach()
