// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The watch set: which pages are recorded, decided here and nowhere else.
 *
 * Each frame of memory, as large as what a PMD maps, has one state byte per page.  A page is watched from the
 * moment when a wanted task gets or maps its folio until the allocator hands the page to
 * somebody else: whoever touches it in between (khugepaged, kswapd, a reader of
 * /proc/kpageflags) is recorded.  Naturally aligned folios own whole bytes, words or
 * frames, so that plain stores of two CPUs never meet.
 */
#ifndef MAPCOUNT_WATCH_H
#define MAPCOUNT_WATCH_H

#include "given.h"

#define FRAME_PAGES (1 << FRAME_SHIFT)
#define FRAME_WORDS (FRAME_PAGES / 8)

#define UNWATCHED 0
#define WATCHED 1
#define FREED 2		/* taken back by the allocator, not handed out again yet */
#define PINNED 3	/* asked for by pfn: watched whatever happens to it */

/* How long after a free a reader may still be looking at what the page was. */
#define FREED_READ_NS 2000000ULL

struct frame {
	u64 state[FRAME_WORDS];
	u64 freed_ts;
	u64 any;	/* a page of this frame was watched at some time */
};
_Static_assert(sizeof(struct frame) == FRAME_BYTES, "probes/maps.py has another frame");

BPF_F_TABLE("array", u32, struct frame, frames, 1, BPF_F_MMAPABLE);

/*
 * Physical memory has holes, and may begin high: of each section the place of its first frame, or
 * a number past the last one where it holds no memory.  Declared as bytes, which BCC takes for one
 * string: of any other array in a map's value it compiles, for the text of that value, a function
 * with code for each element, which here took five times as long as all else.
 */
struct sections {
	u8 first[SECTIONS * sizeof(u32)] __attribute__((aligned(sizeof(u32))));
};
BPF_F_TABLE("array", u32, struct sections, sections, 1, BPF_F_MMAPABLE);

/* Shared with the recorder: it opens the gate, the program tells the marks. */
struct control {
	u64 open;
	u64 brackets;	/* each is told of, also where nothing watched was met in it */
	u64 outside;	/* wanted folios in memory that came after the table was made */
	u64 marks;	/* how many there have been; the newest are in the slots */
	u32 tid[MARK_SLOTS];
	char name[MARK_SLOTS][TEXT_SIZE];
	u64 made_up[SECOND_PROGRAMS];	/* events that a second program was there for (on_free_instead()) */
};
_Static_assert(sizeof(struct control) == CONTROL_BYTES, "probes/maps.py has another control");

BPF_F_TABLE("array", u32, struct control, controls, 1, BPF_F_MMAPABLE);

/*
 * The followed processes (tgid), and their address spaces (struct mm_struct): khugepaged and
 * kswapd work on the memory of a process that does not run.  An address space is in the table
 * from when a followed process gets it until its struct is freed (on_mm_free()), so that no
 * stranger whose mm comes to lie at the same address is taken for it.
 */
struct tasks {
	u8 followed[MAX_TASKS];	/* by pid; a byte each: CPUs that set two do not meet */
};
BPF_F_TABLE("array", u32, struct tasks, tasks, 1, BPF_F_MMAPABLE);
BPF_HASH(mms, u64, u8, 16384);

/*
 * Whether an address space may be in the table, by some bits of its address: mostly it is not.  A
 * hint is set before its address space is put into the table, and stays.
 */
struct mm_hints {
	u8 some[MM_HINTS];
};
BPF_F_TABLE("array", u32, struct mm_hints, mm_hints, 1, BPF_F_MMAPABLE);

#ifdef WITH_CGROUPS	/* else the kernel refuses the map */
BPF_CGROUP_ARRAY(cgroup, 1);
#endif

static __always_inline struct frame *frame_of(u64 pfn)
{
	u64 frame = pfn >> FRAME_SHIFT, section = frame / SECTION_FRAMES;
	u32 i;

	/* Not every register that looks like a struct page is one. */
	if (section >= SECTIONS)
		return 0;
	/* The verifier of 6.1 forgets that where the compiler has put a copy on the stack before. */
	asm("" : "+r"(section));
	i = ((u32 *)((struct sections *)FIRST_FRAMES)->first)[section & (SECTIONS - 1)];
	i += frame % SECTION_FRAMES;
	return frames.lookup(&i);
}

static __always_inline u8 *state_of(struct frame *f, u64 pfn)
{
	return (u8 *)f->state + (pfn & (FRAME_PAGES - 1));
}

/* Whether a page is watched, and not free. */
static __always_inline int is_watched(u64 pfn)
{
	struct frame *f = frame_of(pfn);
	u8 state;

	if (!f)
		return 0;
	state = *state_of(f, pfn);
	return state == WATCHED || state == PINNED;
}

/*
 * Straight-line stores: the verifier walks every exit of a loop, and gives up.  A folio
 * of n words begins at a multiple of n.
 */
#define FILL(n) do {						\
	u64 *w = f->state + (at / 8 & (FRAME_WORDS - (n)));	\
	_Pragma("unroll")					\
	for (int i = 0; i < (n); i++)				\
		w[i] = word;					\
} while (0)

/* Set the state of the 1 << order pages from pfn on, as far as they lie in this frame. */
static __always_inline void set_state(struct frame *f, u64 pfn, u32 order, u8 state)
{
	u32 at = pfn & (FRAME_PAGES - 1);
	u64 word = state * 0x0101010101010101ULL;

	/* Opaque: of the stores of equal bytes clang would make a memset(), which BPF has not. */
	asm("" : "+r"(word));
	if (*state_of(f, pfn) == PINNED)
		return;
	if (state == WATCHED)
		f->any = 1;
	if (order == 0)
		*state_of(f, pfn) = state;
	else if (order == 1)
		*(u16 *)((u8 *)f->state + (at & (FRAME_PAGES - 2))) = word;
	else if (order == 2)
		*(u32 *)((u8 *)f->state + (at & (FRAME_PAGES - 4))) = word;
	else if (order == 3)
		FILL(1);
	else if (order == 4)
		FILL(2);
	else if (order == 5)
		FILL(4);
	else if (order == 6)
		FILL(8);
	else if (order == 7)
		FILL(16);
	else if (order == 8)
		FILL(32);
#if FRAME_SHIFT == 11	/* pages of 16 KiB */
	else if (order == 9)
		FILL(64);
	else if (order == 10)
		FILL(128);
#endif
	else
		FILL(FRAME_WORDS);
}

static __always_inline u8 *followed(u32 pid)
{
	return ((struct tasks *)TASKS)->followed + (pid & (MAX_TASKS - 1));
}

static __always_inline u8 *hint_of(u64 mm)
{
	return ((struct mm_hints *)HINTS)->some + (mm >> MM_HINT_SHIFT & (MM_HINTS - 1));
}

/* The address space of a mapping; 0: of none.  base: another given value, that was fetched. */
static __always_inline u64 mm_of(struct given vma, struct given base)
{
	u64 mm = 0;

	if (IS_NONE(vma))
		return 0;
	if (IS_TYPED(vma))
		return load_pointer(vma, OFF_VM_MM, base.argument < 0 ? fetched(vma) : base);
	bpf_probe_read_kernel(&mm, 8, (void *)(fetched(vma).number + OFF_VM_MM));
	return mm;
}

/*
 * Does a followed task run now, or own the address space of this mapping?  Nearly always neither,
 * and that is to be told soon.  base: see mm_of().
 */
static __always_inline int is_followed(struct given vma, struct given base)
{
	u64 mm;

	if (*followed(bpf_get_current_pid_tgid() >> 32))
		return 1;
	mm = mm_of(vma, base);
	return *hint_of(mm) && mms.lookup(&mm) != 0;
}

/*
 * The filters are constants of the loaded program: the kernel's verifier removes the ways that
 * are not taken.
 */
static __always_inline int wanted(struct given vma, struct given base)
{
	/* Closed until every probe is attached: half a life is worse than none. */
	u64 *open = &((struct control *)CONTROL)->open;

	if (FILTER_TASKS)
		return is_followed(vma, base) && *open;
	if (FILTER_PFN)
		return 0;	/* the recorder has pinned what is asked for */
#ifdef WITH_CGROUPS
	if (FILTER_CGROUP)
		return *open && cgroup.check_current_task(0) > 0;
#endif
	return *open != 0;
}

/* The task is followed, and with it the address space that it has now. */
static __always_inline void follow(u64 task, u32 pid)
{
	u64 mm = 0;
	u8 one = 1;

	*followed(pid) = 1;
	bpf_probe_read_kernel(&mm, 8, (void *)(task + OFF_TASK_MM));
	if (!mm)
		return;
	*hint_of(mm) = 1;
	mms.update(&mm, &one);
}

#endif
