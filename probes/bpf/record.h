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
		char text[TEXT_SIZE];
	};
};
_Static_assert(sizeof(struct record) == RECORD_SIZE, "probes/events.py has another record");
_Static_assert(__builtin_offsetof(struct record, owner.aux) ==
	       __builtin_offsetof(struct record, aux), "an owner record has aux elsewhere");
_Static_assert(__builtin_offsetof(struct record, text) == TEXT_OFFSET,
	       "probes/events.py has the text elsewhere");

/* One per CPU; the recorder maps the whole array and reads it without system calls. */
struct cpu_count {
	u64 seq;
	u64 lost[NR_PROBES];
};

/* The loader makes the maps as large as the machine needs them (probes/loader.py). */
BPF_RINGBUF_OUTPUT(ring, 1);
BPF_F_TABLE("array", u32, struct cpu_count, cpu_counts, 1, BPF_F_MMAPABLE);

/*
 * Records that the ring refused though it may have room.  A probe on an instruction runs in
 * the handler of its breakpoint, where the kernel only tries the ring's lock: while another
 * CPU holds it, the ring takes nothing.  written follows claimed when a record is whole; the
 * recorder moves taken.
 */
struct spill {
	u64 claimed;
	u64 written;
	u64 taken;
	struct record records[SPILL_SLOTS];
};
_Static_assert(sizeof(struct spill) == SPILL_BYTES, "probes/maps.py has another spill");
_Static_assert((SPILL_SLOTS & (SPILL_SLOTS - 1)) == 0, "spill() takes the number modulo a mask");

BPF_F_TABLE("array", u32, struct spill, spills, 1, BPF_F_MMAPABLE);

/* Returns 0 where there is no room. */
static __always_inline int spill(struct record *r, u32 cpu)
{
	struct spill *s = spills.lookup(&cpu);
	u64 n;

	if (!s)
		return 0;
	n = s->claimed;
	if (n - s->taken >= SPILL_SLOTS)
		return 0;
	s->claimed = n + 1;
	s->records[n & (SPILL_SLOTS - 1)] = *r;
	s->written++;
	return 1;
}

/* Fill in what every record has. */
static __always_inline int begin(struct record *r, u32 probe, u64 pfn, u64 ts)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 cpu = bpf_get_smp_processor_id();
	struct cpu_count *count = cpu_counts.lookup(&cpu);

	if (!count)
		return 0;
	r->ts = ts;
	/* Counts refused records too: a gap in the file's numbers is a loss. */
	r->seq = count->seq++;
	r->cpu = cpu;
	r->probe = probe;
	r->tid = id;
	r->pid = id >> 32;
	r->pfn = pfn;
	return 1;
}

/* The recorder polls: waking it for each record would cost more than the record. */
static __always_inline void submit(struct record *r, u32 lost_as)
{
	u32 cpu = r->cpu;
	struct cpu_count *count;

	if (!ring.ringbuf_output(r, sizeof(*r), BPF_RB_NO_WAKEUP) || spill(r, cpu))
		return;
	count = cpu_counts.lookup(&cpu);
	if (count)
		count->lost[lost_as]++;
}

#endif
