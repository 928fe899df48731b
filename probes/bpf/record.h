// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The record, the ring it goes through, and the counts of what the ring refused.
 *
 * probes/source.py puts the constants of the kernel (in capitals, never defined here) before
 * this text.  probes/events.py declares the same record.
 */
#ifndef MAPCOUNT_RECORD_H
#define MAPCOUNT_RECORD_H

#include "editor.h"

/*
 * A constant that only the boot or the run knows: the loader writes it into the instruction
 * that this makes (probes/loader.py).  Assembly, or the compiler would reckon with the number.
 */
#define PATCHED(number) ({							\
	u64 value_;								\
	asm("%0 = %1 ll" : "=r"(value_) : "i"(PATCH_MARK | (number)));		\
	value_;									\
})

/* What an owner record has: for which mm the operation of the next record maps. */
struct owner {
	u32 mm_id;
	s32 mm_id_mapcount[2];	/* of the folio, as its other words: before the operation */
	u32 folio_mm_id[2];
	u32 unused;
	s32 aux;	/* where other records have it */
	u32 unused_too;
};

/* What a place record has: in whose page tables, and where, the operation of the next record is. */
struct place {
	u64 mm;
	u64 address;	/* NO_ADDRESS: not known */
	u64 unused;
	s32 aux;	/* where other records have it */
	u32 unused_too;
};

/* What the record of a task has beside its name, and that of page tables that were moved. */
struct named {
	char comm[16];
	u64 mm;
	u64 unused;
};
struct moved {
	u64 mm;
	u64 from;
	u64 to;
	u64 bytes;
};

/*
 * What a program that perf calls at a tracepoint is given: the record that perf has made.  A field
 * is loaded as large as it is: the kernel refuses a program that reads behind the last one.
 */
struct trace_fields {
	union {
		u64 words[8];
		u32 halves[16];
	};
};

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
		struct owner owner;
		struct place place;
		struct named named;
		struct moved moved;
		char text[TEXT_SIZE];
	};
};
_Static_assert(sizeof(struct record) == RECORD_SIZE, "probes/events.py has another record");
_Static_assert(__builtin_offsetof(struct record, owner.aux) ==
	       __builtin_offsetof(struct record, aux), "an owner record has aux elsewhere");
_Static_assert(__builtin_offsetof(struct record, place.aux) ==
	       __builtin_offsetof(struct record, aux), "a place record has aux elsewhere");
_Static_assert(__builtin_offsetof(struct record, text) == TEXT_OFFSET,
	       "probes/events.py has the text elsewhere");

/* One per CPU; the recorder maps the whole array and reads it without system calls. */
struct cpu_count {
	u64 seq;
	u64 lost[NR_PROBES];
};

/*
 * The loader makes the maps as large as the machine needs them, and of ring as many as there
 * are CPUs: rings holds them, and ring itself only stands for what they are (probes/loader.py).
 */
BPF_RINGBUF_OUTPUT(ring, 1);
BPF_ARRAY_OF_MAPS(rings, "ring", 1);
BPF_F_TABLE("array", u32, struct cpu_count, cpu_counts, 1, BPF_F_MMAPABLE);

/*
 * The next number of this CPU.  Between a load and a store a program may be interrupted, or
 * preempted by a task whose program takes a number, too: so one instruction adds and fetches.
 * The loader makes it of the add (probes/loader.py) where the kernel has it (in v5.12, commit
 * 5ca419f2864a "bpf: Add BPF_FETCH field / create atomic_fetch_add instruction").  Without it
 * the old number is loaded before the add.  Kernels that old run our programs with preemption
 * off, but a probe in an interrupt between the two takes the same number.
 */
static __always_inline u64 next_number(u64 *seq)
{
	u64 old = *(volatile u64 *)seq, step;

	asm volatile("%0 = %2 ll\n\tlock *(u64 *)(%1 + 0) += %0"
		     : "=&r"(step) : "r"(seq), "i"(PATCH_MARK | STEP) : "memory");
	return FETCHES ? step : old;
}

/* A record that is not made: its number is missing in the file, and it is counted. */
static __always_inline void refuse(struct cpu_count *count, u32 lost_as)
{
	next_number(&count->seq);
	__sync_fetch_and_add(&count->lost[lost_as], 1);
}

/*
 * A record in the room of this CPU's ring, with what every record has; lost_as: the probe that
 * it counts for where the ring has no room.  Every record that was begun is submitted.
 *
 * Programs stay on their CPU, so that no other one takes this ring's lock, and the kernel holds
 * it with interrupts off: even where it only tries the lock (a probe on an instruction runs in
 * the handler of its breakpoint, which counts as an NMI), it is free.  A CPU that came online
 * after recording began has another one's ring, and may find it locked.
 */
static __always_inline struct record *begin(u32 probe, u32 lost_as, u64 pfn, u64 ts)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 cpu = bpf_get_smp_processor_id();
	struct cpu_count *count = cpu_counts.lookup(&cpu);
	void *own = rings.lookup(&cpu);
	struct record *r;
	u32 seq;

	if (!count || !own)
		return 0;
	/* Counts refused records too: a gap in the file's numbers is a loss. */
	seq = next_number(&count->seq);
	r = bpf_ringbuf_reserve(own, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&count->lost[lost_as], 1);
		return 0;
	}
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
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

#endif
