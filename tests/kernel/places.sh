#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Records workloads with --where: runs in a guest, leaves a trace of each.
# Usage: places.sh WORKLOAD...
set -eu
for workload; do
	python3 -m probes record --where -o "$workload.mapcount" -- "./$workload" || {
		status=$?
		# A kernel may lack what a workload is about (vm/workloads/story.h).
		[ -s "$workload.mapcount" ] || exit "$status"
	}
done
