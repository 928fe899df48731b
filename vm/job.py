# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the script that a guest runs: settings against background activity, then one command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Places in the guest; chroot.MOUNT_POINTS makes them.
OUT = "/mapcount/out"
TRACE = "/mapcount/trace"
SOURCE = "/mapcount/src"
CWD = "/mapcount/cwd"
HEADERS = "/mapcount/headers"
# Where the recorder keeps what it compiled, so that one compile for a kernel serves all guests.
# Below OUT: the guest's root is read-only and has no other place for it.
COMPILED = f"{OUT}/compiled"

#: Below OUT: what `uname -r` says. Written when all is set up, just before the command begins.
RELEASE = "release"
FOLDERS = "folders.sh"  # below OUT: mounts what belongs to the kernel (vm.folders)
STEPS = "steps"  # below OUT (and the run directory): a folder for each step of a batch

_SETTINGS = """\
# Settings that a kernel lacks are passed over: not every kernel has them all.
put() { [ -w "$2" ] && echo "$1" >"$2" 2>/dev/null; return 0; }
mounted() { mountpoint -q "$2" || mount -t "$1" none "$2"; }
settle() {
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
}
# The modules and headers of a kernel that has them not in the root.
[ ! -e "$folders" ] || . "$folders"
# BCC needs headers where none are installed: a kernel may carry its own. They are unpacked here
# to where BCC looks: its own way renames a folder, which not every kernel's overlay can.
if [ ! -e "/lib/modules/$(uname -r)/build" ]; then
	modprobe -q kheaders || true
	if [ -e /sys/kernel/kheaders.tar.xz ]; then
		mkdir -p "/tmp/kheaders-$(uname -r)"
		tar -xf /sys/kernel/kheaders.tar.xz -C "/tmp/kheaders-$(uname -r)"
	fi
fi
# Renamed into place, so that the host never reads a half-written number.
leave() { echo "$1" >"$2.part" && sync && mv "$2.part" "$2" && sync; }
settle
"""

# Each step finds the settings as the first one did, whatever the one before it changed.
_STEP = """\
step() {
	limit=$1 out=$2
	shift 2
	mkdir -p "$out"
	settle
	read -r begin _ </proc/uptime
	MAPCOUNT_FACTS=$out timeout --kill-after=20 "$limit" "$@" >"$out/stdout" 2>"$out/stderr"
	status=$?
	read -r end _ </proc/uptime
	echo "$begin $end" >"$out/uptime"
	leave $status "$out/status"
}
"""


@dataclass(frozen=True)
class Step:
    """One command of a batch."""

    name: str
    command: Sequence[str]
    seconds: float  # its time limit


def script(
    command: Sequence[str],
    cwd: str = OUT,
    env: Mapping[str, str] | None = None,
    policy: str = "always",
) -> str:
    """A shell script that runs COMMAND in CWD and leaves its status in OUT/status.

    POLICY: the kernel's setting for anonymous huge pages, "always" or "madvise".

    Output goes to files and not to the console: a Debian kernel has no console port before its
    modules are loaded, and the status must never be parsed from what a program prints.
    """
    return f"""\
{_head(env, policy)}
cd {shlex.quote(cwd)} || exit 1
{shlex.join(command)}
leave $? {OUT}/status
"""


def batch(
    steps: Sequence[Step], env: Mapping[str, str] | None = None, policy: str = "always"
) -> str:
    """A shell script that runs STEPS one after the other, also if some fail.

    Output, status and time (two readings of the uptime) of a step are in OUT/STEPS/NAME, with the
    file of its facts (vm.scenarios); a step without a status did not end.
    """
    calls = "\n".join(
        f"step {step.seconds:.0f} {OUT}/{STEPS}/{shlex.quote(step.name)} {shlex.join(step.command)}"
        for step in steps
    )
    return f"""\
{_head(env, policy)}
cd {OUT} || exit 1
{_STEP}
{calls}
leave 0 {OUT}/status
"""


def _head(env: Mapping[str, str] | None, policy: str) -> str:
    settings = {
        "PYTHONPATH": SOURCE,
        # The recorder's folder is shared read-only; Python need not compile it at each start.
        "PYTHONPYCACHEPREFIX": f"{COMPILED}/python",
        "HOME": "/root",
        "MAPCOUNT_CACHE": COMPILED,
    }
    settings.update(env or {})
    exports = "\n".join(f"export {name}={shlex.quote(text)}" for name, text in settings.items())
    return f"""\
#!/bin/sh
# One run of the lab; written by vm/job.py.
exec >{OUT}/stdout 2>{OUT}/stderr </dev/null
policy={policy}
folders={OUT}/{FOLDERS}
{_SETTINGS}
{exports}
uname -r >{OUT}/{RELEASE}"""
