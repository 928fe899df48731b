#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The rings under loads that are hard on them: runs in a guest, leaves each case's status, messages
# and packed trace.  Usage: rings.sh (beside the programs forks, preempts and lifecycle).
set -u

# case NAME OPTIONS... -- COMMAND...: record it, keep what is said.  The trace is written into
# memory: the folder is the host's, and slow.
case_() {
	local name=$1
	shift
	python3 -m probes record -v -o "/tmp/$name.mapcount" "$@" >"$name.out" 2>"$name.err"
	echo $? >"$name.status"
	gzip -1 <"/tmp/$name.mapcount" >"$name.mapcount.gz"
	rm "/tmp/$name.mapcount"
}

python3 -m probes doctor >doctor.out
case_ lifecycle -- ./lifecycle
case_ forks -- ./forks 100 5
case_ preempts --min-order 0 -- ./preempts 0 6
# Tasks that no ordinary one gets the better of: the recorder is above them, or (--nice) is not.
case_ starved --min-order 0 -- ./preempts 5 4
case_ nice --min-order 0 --nice --buffer 1 -- ./preempts 5 4

# A recorder that is killed leaves no probe behind, whatever it had made.
python3 -m probes record -o /tmp/killed.mapcount -d 300 2>killed.err &
until grep -q '^mapcount: recording' killed.err; do
	kill -0 $! || exit 1
	sleep 0.2
done
cp /sys/kernel/tracing/kprobe_events made.out
kill -9 $!
wait $!
for _ in $(seq 50); do
	[ -s /sys/kernel/tracing/kprobe_events ] || break
	sleep 0.2
done
cp /sys/kernel/tracing/kprobe_events left.out
exit 0
