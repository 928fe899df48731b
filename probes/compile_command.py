# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the file by which a machine without a compiler records."""

from __future__ import annotations

from probes.compiled import pack
from probes.errors import ProbeError
from probes.kept import find_or_make
from probes.kernel import Kcore, check_kprobes
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
    found = find_or_make(None, True, Kcore())
    if not found.made.build_id:
        raise ProbeError(
            "this kernel has no build id (/sys/kernel/notes) by which the file could be told from "
            "another kernel's: use one that was linked with --build-id"
        )
    content = pack(found.made)
    output = Output(path, force)
    with output, open(output.part, "xb") as file:
        file.write(content)
    probes = len(found.made.plan.probes)
    say(f"{probes} probes for {found.made.release}; wrote {path} ({len(content)} bytes)")
    return 0
