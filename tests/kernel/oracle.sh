#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Reads the counters of lifecycle's huge page with bpftrace, beside our recorder: runs in a guest.
# bpftrace takes struct page from the kernel's BTF by itself. It finds the page when it is
# allocated, and reads it when the workload names a mark, right before it is stopped there.
# Leaves lifecycle.mapcount, and what bpftrace said in oracle.txt: lines "mark NAME", and below it
# "folio FIELD VALUE" and "page NUMBER _MAPCOUNT", raw as they lie in memory.
# Usage: oracle.sh WORKLOAD (the lifecycle program)
set -eu
export BPFTRACE_PERF_RB_PAGES=1024

has() { grep -qa "$1" /sys/kernel/btf/vmlinux; }
field() { # field NAME EXPRESSION: one line of the script
	printf '\tprintf("folio %s %%d\\n", %s);\n' "$1" "$2"
}
# Newest first: older names live on in newer kernels' BTF, as those of functions.
folio_fields() {
	if has _large_mapcount; then
		field large_mapcount '((struct folio *)@head)->_large_mapcount.counter'
		field nr_pages_mapped '((struct folio *)@head)->_nr_pages_mapped.counter'
		field entire_mapcount '((struct folio *)@head)->_entire_mapcount.counter'
	else
		field entire_mapcount '((struct page *)(@head + 64))->compound_mapcount.counter'
		field second_flags '((struct page *)(@head + 64))->flags'
	fi
	field refcount '((struct page *)@head)->_refcount.counter'
}

cat >oracle.bt <<EOF
BEGIN { @vmemmap = *(uint64 *)kaddr("vmemmap_base"); printf("ready\\n"); }
tracepoint:kmem:mm_page_alloc /comm == "workload" && args->order == 9/ {
	@head = @vmemmap + args->pfn * 64;
}
kprobe:vfs_write /comm == "workload" && strncmp(str(uptr(arg1)), "mapcount: ", 10) == 0/ {
	printf("mark %s", str(uptr(arg1 + 10)));
$(folio_fields)
	\$i = 0;
	while (\$i < 512) {
		printf("page %d %d\\n", \$i, ((struct page *)(@head + \$i * 64))->_mapcount.counter);
		\$i = \$i + 1;
	}
}
EOF
# Wait for COMMAND to succeed, while bpftrace lives.
until_() {
	for _ in $(seq 240); do
		"$@" && return
		kill -0 $oracle || break
		sleep 0.5
	done
	cat oracle.err >&2
	exit 1
}
# It prints slower than it reads, and drops the rest when it is ended.
told_all() { sed -n '/ freed$/,$p' oracle.txt | grep -q '^page 511 '; }

bpftrace -B line oracle.bt >oracle.txt 2>oracle.err &
oracle=$!
until_ grep -q ready oracle.txt
# On one CPU: bpftrace has a buffer for each, and reads them in no order.
python3 -m probes record -o lifecycle.mapcount -- taskset --cpu-list 0 "$PWD/$1"
until_ told_all
kill -INT $oracle
wait $oracle
