# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the script that a guest runs: settings that keep it quiet, then one command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

# Places in the guest; chroot.MOUNT_POINTS makes them.
OUT = "/mapcount/out"
TRACE = "/mapcount/trace"
SOURCE = "/mapcount/src"
CWD = "/mapcount/cwd"
HEADERS = "/mapcount/headers"

_SETTINGS = """\
# Settings that a kernel lacks are passed over: not every kernel has them all.
put() { [ -w "$2" ] && echo "$1" >"$2" 2>/dev/null; return 0; }
mounted() { mountpoint -q "$2" || mount -t "$1" none "$2"; }
mounted debugfs /sys/kernel/debug
mounted tracefs /sys/kernel/tracing

thp=/sys/kernel/mm/transparent_hugepage
# khugepaged would collapse what a workload has just split: it sleeps for an hour at a time.
put 3600000 $thp/khugepaged/scan_sleep_millisecs
put 3600000 $thp/khugepaged/alloc_sleep_millisecs
put $policy $thp/enabled
put always $thp/defrag
put advise $thp/shmem_enabled

# Nothing may move or scan pages on its own account.
put 0 /proc/sys/kernel/numa_balancing
put 0 /proc/sys/vm/compaction_proactiveness
put 0 /sys/kernel/mm/ksm/run
# An emulated CPU can stand still for longer than a watchdog's patience.
put 0 /proc/sys/kernel/watchdog
put 0 /proc/sys/kernel/kptr_restrict
# A kernel bug must end the guest, not leave half of one: the host then reports "VM lost".
put 1 /proc/sys/kernel/panic_on_oops
# BCC needs headers where none are installed: a kernel may carry its own.
[ -e "/lib/modules/$(uname -r)/build" ] || modprobe -q kheaders || true
"""


def script(
    command: Sequence[str],
    cwd: str = OUT,
    env: Mapping[str, str] | None = None,
    policy: str = "always",
) -> str:
    """A shell script that runs COMMAND in CWD and leaves its status in OUT/status.

    POLICY is whom the kernel gives anonymous huge pages: "always" or "madvise".

    Output goes to files and not to the console: a Debian kernel has no console port before its
    modules are loaded, and the status must never be parsed from what a program prints.
    """
    settings = {"PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/root"}
    settings.update(env or {})
    exports = "\n".join(f"export {name}={shlex.quote(text)}" for name, text in settings.items())
    return f"""\
#!/bin/sh
# One run of the lab; written by vm/job.py.
exec >{OUT}/stdout 2>{OUT}/stderr </dev/null
policy={policy}
{_SETTINGS}
{exports}
cd {shlex.quote(cwd)} || exit 1
uname -r >{OUT}/release
{shlex.join(command)}
status=$?
# Renamed into place, so that the host never reads a half-written number.
echo $status >{OUT}/status.part
sync
mv {OUT}/status.part {OUT}/status
sync
"""
