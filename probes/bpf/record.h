// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The record, the ring it goes through, and the counts of what the ring refused.
 *
 * probes/program.py puts the constants of the running kernel (in capitals, never
 * defined here) before this text.  probes/events.py declares the same record.
 */

struct record {
	u64 ts;
	u32 seq;
	u16 cpu;
	u16 probe;
	u32 tid;
	u32 pid;
	u64 pfn;
	union {
		struct {
			s32 mapcount;
			s32 entire;
			s32 nr_mapped;
			s32 large;
			s32 refcount;
			u32 flags;
			s32 aux;
			u16 nr;
			u8 order;
			u8 bits;
		};
		char text[TEXT_SIZE];
	};
};

/* One per CPU; the recorder maps the whole array and reads it without system calls. */
struct cpu_count {
	u64 seq;
	u64 lost[NR_PROBES];
};

BPF_RINGBUF_OUTPUT(ring, RING_PAGES);
BPF_F_TABLE("array", u32, struct cpu_count, cpu_counts, MAX_CPUS, BPF_F_MMAPABLE);

/* A ring slot with the fields that every record has, or NULL and the loss counted. */
static __always_inline struct record *reserve(u32 probe, u32 lost_as, u64 pfn, u64 ts)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct cpu_count *count = cpu_counts.lookup(&cpu);
	struct record *r;
	u64 id;
	u32 seq;

	if (!count)
		return 0;
	/* Counts refused records too: a gap in the file's numbers is a loss. */
	seq = count->seq++;
	r = ring.ringbuf_reserve(sizeof(*r));
	if (!r) {
		count->lost[lost_as]++;
		return 0;
	}
	id = bpf_get_current_pid_tgid();
	r->ts = ts;
	r->seq = seq;
	r->cpu = cpu;
	r->probe = probe;
	r->tid = id;
	r->pid = id >> 32;
	r->pfn = pfn;
	return r;
}

/* The recorder polls: waking it for each record would cost more than the record. */
static __always_inline void submit(struct record *r)
{
	ring.ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}
