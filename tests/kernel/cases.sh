#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The recorder in trouble: runs in a guest, leaves each case's status, messages and trace.
# Usage: cases.sh WORKLOAD (the seed-2015 program; its argument is its run time in seconds).
# The cases are called by their names.
# shellcheck disable=SC2317
set -u
workload=$PWD/$1
record() { python3 -m probes record "$@"; }

# case NAME COMMAND...: run it, keep what it says.
case_() {
	local name=$1
	shift
	"$@" >"$name.out" 2>"$name.err"
	echo $? >"$name.status"
}

# Wait until a trace holds more than its header.
wait_for_events() {
	for _ in $(seq 600); do
		[ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt 20000 ] && return 0
		sleep 0.1
	done
	return 1
}

killed() {
	# Not through record(): $! must be the recorder itself.
	python3 -m probes record -o killed.mapcount -- "$workload" 60 &
	local recorder=$!
	wait_for_events killed.mapcount || return 99
	kill -KILL "$recorder"
	wait "$recorder"
	local status=$?
	pkill -KILL -f "$workload"
	return "$status"
}

interrupted() {
	python3 -m probes record -o interrupted.mapcount -- "$workload" 60 &
	local recorder=$!
	wait_for_events interrupted.mapcount || return 99
	kill -INT "$recorder"
	wait "$recorder"
}

full_disk() {
	mkdir -p /run/small
	mount -t tmpfs -o size=128k none /run/small
	record -o /run/small/full.mapcount -- "$workload" 20
	local status=$?
	cp /run/small/full.mapcount .
	umount /run/small
	return "$status"
}

by_pid_for_a_time() {
	# Each round maps, touches and unmaps 8 MiB: some huge pages are in there.
	python3 -c '
import mmap
while True:
	area = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
	area.write(b"x" * len(area))
	area.close()' &
	local loop=$!
	record -d 3 --pid "$loop" --stacks -o pid.mapcount
	local status=$?
	kill "$loop"
	return "$status"
}

# Begin a Python that touches 8 MiB in small pages which khugepaged may make huge, and sleeps.
sleeper() {
	rm -f asleep
	python3 -c '
import mmap, time
area = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area.madvise(mmap.MADV_NOHUGEPAGE)
area.write(b"x" * len(area))
area.madvise(mmap.MADV_HUGEPAGE)
open("asleep", "w").close()
time.sleep(1000)' &
	for _ in $(seq 600); do
		[ -e asleep ] && return 0
		sleep 0.1
	done
	return 1
}

# Wait until a recorder says that it records.
wait_for_recording() {
	for _ in $(seq 3000); do
		grep -q "^mapcount: recording" "$1" && return 0
		sleep 0.1
	done
	return 1
}

# khugepaged works on the memory of a process that does nothing itself while it is recorded.
asleep() {
	local settings=/sys/kernel/mm/transparent_hugepage/khugepaged
	sleeper || return 99
	local process=$!
	echo "$process" >asleep.pid
	record -d 10 --pid "$process" -o asleep.mapcount 2>asleep.told &
	local recorder=$!
	wait_for_recording asleep.told || return 99
	echo 4096 >"$settings"/pages_to_scan
	echo 100 >"$settings"/scan_sleep_millisecs
	wait "$recorder"
	local status=$?
	echo 3600000 >"$settings"/scan_sleep_millisecs
	kill "$process"
	return "$status"
}

by_pfn() {
	# Frames of the guest's upper memory, from which the allocator serves first.
	record --pfn 0x100000+0x20000 -o pfn.mapcount -- python3 -c 'b"x" * (32 << 20)'
}

failing_command() {
	record -o failing.mapcount -- /bin/false
}

# Does the kernel count each page of a large folio? Tried out, whatever its configuration says.
counts_pages() {
	python3 -c '
from probes.headers import find_types
from probes.kernel import Kcore, Symbols
from probes.layout import find_layout
from probes.selftest import counts_pages
kcore = Kcore()
layout = find_layout(find_types(), Symbols(), kcore)
print(counts_pages(kcore, layout.vmemmap, layout.struct_page, layout.fields))'
}

case_ counts_pages counts_pages
case_ doctor python3 -m probes doctor
case_ no_root setpriv --reuid 65534 --clear-groups python3 -m probes record -o /tmp/no_root
case_ no_place record -o /nowhere/at/all -- /bin/true
case_ killed killed
case_ interrupted interrupted
case_ full_disk full_disk
case_ by_pid by_pid_for_a_time
case_ by_pfn by_pfn
case_ asleep asleep
case_ failing failing_command
# Room for all of it: this workload makes more in a second than the view looks at under emulation.
case_ top python3 -m probes top --delay 1 --buffer 64 -- "$workload" 5
exit 0
