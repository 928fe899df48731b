#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What doctor and record say on a kernel that lacks something: runs in a guest, hides one thing at a
# time, and leaves NAME.doctor.{out,err,status}, NAME.record.{err,status} and the trace for each case.
# Usage: doctor_cases.sh WORKLOAD [CASE...] (a program with huge pages, for record to show what it
# can do; without CASE all of them).
set -u
export workload=$PWD/$1
shift
wanted=" $* "
build=/lib/modules/$(uname -r)/build
empty=/run/empty
mkdir -p $empty

# Which options both get.
programs=

# wants NAME: is the case to be made?
wants() { [ "$wanted" = "  " ] || [[ $wanted == *" $1 "* ]]; }

# case NAME COMMAND...: COMMAND hides something, in a mount namespace of its own.
case_() {
	local name=$1
	shift
	wants "$name" || return 0
	# shellcheck disable=SC2016 # the inner shell expands it
	unshare --mount sh -c '
		name=$1 programs=$2
		shift 2
		"$@" || exit 1
		python3 -m probes doctor $programs >"$name.doctor.out" 2>"$name.doctor.err"
		echo $? >"$name.doctor.status"
		python3 -m probes record $programs -o "$name.mapcount" -- "$workload" \
			>"$name.record.err" 2>&1
		echo $? >"$name.record.status"
	' sh "$name" "$programs" "$@" || echo "the case $name cannot be made" >&2
}

# A cache of its own, where nothing is kept: so they have to compile. What they made is for the
# other guests of this kernel, which would compile the same.
shared=$MAPCOUNT_CACHE
export MAPCOUNT_CACHE=$PWD/cache
case_ complete true
if wants complete; then
	for made in cache/*.programs; do
		cp -p "$made" "$shared/.${made##*/}.part" &&
			mv "$shared/.${made##*/}.part" "$shared/${made##*/}"
	done
fi
export MAPCOUNT_CACHE=$shared

# Where what is hidden is needed to compile, they must not take what is kept; everything else is
# the same either way.
programs=--no-cache
case_ no_btf mount --bind /dev/null /sys/kernel/btf/vmlinux
case_ no_btf_no_headers sh -c "mount --bind /dev/null /sys/kernel/btf/vmlinux &&
	mount --bind $empty $build && mount --bind $empty ${build%build}source"
case_ no_headers mount --bind $empty "$build"
# An empty folder of bcc's own name would still be a package to Python.
case_ no_bcc mount --bind $empty /usr/lib/python3/dist-packages
programs=
# All three ways in: the switch, the perf device, and the file of tracefs.
case_ no_kprobes sh -c "mount --bind $empty /sys/kernel/debug/kprobes &&
	mount --bind $empty /sys/bus/event_source/devices &&
	mount --bind /dev/null /sys/kernel/debug/tracing/kprobe_events &&
	mount --bind /dev/null /sys/kernel/tracing/kprobe_events"
case_ no_tracefs umount --lazy /sys/kernel/tracing
case_ no_kcore mount --bind /dev/null /proc/kcore
case_ no_huge_pages mount --bind $empty /sys/kernel/mm/transparent_hugepage

# What was compiled before, in a root that has nothing to compile with: no bcc and so no libbcc
# through it, no headers, no BTF, and no library of LLVM or BPF.
# A text, as a function of bash does not get through sh.
bare="mount --bind $empty /usr/lib/python3/dist-packages && mount --bind $empty '$build' &&
	mount --bind /dev/null /sys/kernel/btf/vmlinux || exit 1
	for library in /usr/lib/x86_64-linux-gnu/lib{bcc,bpf,clang,LLVM}*.so.*; do
		[ ! -f \"\$library\" ] || mount --bind /dev/null \"\$library\" || exit 1
	done"
if wants kept || wants given || wants given_cut; then
	python3 -m probes compile -o this.programs 2>compile.err
fi
case_ kept bash -c "$bare" # found by itself where the line above has kept it
programs="--compiled this.programs"
case_ given bash -c "$bare"
! wants given_cut || head -c 1000 this.programs >cut.programs
programs="--compiled cut.programs"
case_ given_cut true
programs=

# These are not of a namespace but of the kernel: put back, or, the last one, final.
echo 0 >/sys/kernel/debug/kprobes/enabled
case_ kprobes_off true
echo 1 >/sys/kernel/debug/kprobes/enabled

echo 2 >/proc/sys/kernel/kptr_restrict
case_ no_symbols true
echo 0 >/proc/sys/kernel/kptr_restrict

mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security
if echo confidentiality >/sys/kernel/security/lockdown; then
	case_ lockdown true
fi
exit 0
