# SPDX-License-Identifier: GPL-2.0-or-later
"""The peer that one would write in an hour: BCC, a callback for each record, a file.

    bcc_callback.py ring|perf FUNCTION[,FUNCTION…] FILE

SIGINT ends it; it then prints how many records came, how many were lost, and when the first one
was made.
"""

import ctypes
import os
import signal
import sys

from bcc import BPF

MIB = 8
POLL_MS = 100
PAGE = 4096

TEXT = """
#include <uapi/linux/ptrace.h>

struct event {
	u64 ts;
	u64 page;
	u32 pid;
	u32 tid;
	s32 mapcount;
	s32 refcount;
	char comm[16];
	u32 cpu;
	u32 probe;
};

BPF_ARRAY(lost, u64, 1);
#ifdef RING
BPF_RINGBUF_OUTPUT(events, RING);
#else
BPF_PERF_OUTPUT(events);
#endif

static int take(struct pt_regs *ctx, u32 probe)
{
	struct event e = {};
	u64 id = bpf_get_current_pid_tgid();
	char *page = (char *)PT_REGS_PARM1(ctx);
	u32 zero = 0;
	u64 *count;

	e.ts = bpf_ktime_get_ns();
	e.page = (u64)page;
	e.pid = id >> 32;
	e.tid = id;
	e.cpu = bpf_get_smp_processor_id();
	e.probe = probe;
	bpf_probe_read_kernel(&e.mapcount, 8, page + 48);
	bpf_get_current_comm(e.comm, sizeof(e.comm));
#ifdef RING
	if (!events.ringbuf_output(&e, sizeof(e), 0))
		return 0;
	count = lost.lookup(&zero);
	if (count)
		__sync_fetch_and_add(count, 1);
#else
	events.perf_submit(ctx, &e, sizeof(e));
#endif
	return 0;
}
"""

kind, names, path = sys.argv[1:4]
functions = names.split(",")
stubs = "".join(
    f"int probe_{i}(struct pt_regs *ctx) {{ return take(ctx, {i}); }}\n"
    for i in range(len(functions))
)
ring = [f"-DRING={(MIB << 20) // PAGE}"] if kind == "ring" else []
bpf = BPF(text=TEXT + stubs, cflags=["-Wno-macro-redefined", *ring])
for number, function in enumerate(functions):
    bpf.attach_kprobe(event=function, fn_name=f"probe_{number}")

received = lost = first = 0
file = open(path, "wb")


def record(_context, data, size):
    global received, first
    received += 1
    first = first or ctypes.cast(data, ctypes.POINTER(ctypes.c_uint64))[0]
    file.write(ctypes.string_at(data, size))


def perf_record(_cpu, data, size):
    record(None, data, size)


def perf_lost(count):
    global lost
    lost += count


# Not by KeyboardInterrupt: inside of a callback that ends nothing.
interrupted = []
signal.signal(signal.SIGINT, lambda *_: interrupted.append(1))
if kind == "ring":
    bpf["events"].open_ring_buffer(record)
    poll = bpf.ring_buffer_poll
else:
    pages = (MIB << 20) // PAGE // (os.cpu_count() or 1)
    bpf["events"].open_perf_buffer(perf_record, page_cnt=pages, lost_cb=perf_lost)
    poll = bpf.perf_buffer_poll
while not interrupted:
    poll(POLL_MS)
file.close()
lost += sum(value.value for value in bpf["lost"].values())
print(received, lost, first)
