// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One handler for each way of looking at a folio.  The functions that are attached are
 * stubs made from the plan (probes/stubs.py): they give their context, and get at the values
 * that the handler is to have.  Probes may share a stub: which one it is loaded for is PROBE, and
 * ENTRY is the probe at the entry of the same function or, where bracket says that there is one,
 * of the bracket around.
 */
#ifndef MAPCOUNT_HANDLERS_H
#define MAPCOUNT_HANDLERS_H

#include "folio.h"
#include "watch.h"
#include "x86_64.h"

BPF_STACK_TRACE(stacks, 1);

/* Negative: no stack; -EEXIST says that its slot is taken by another one. */
static __always_inline s32 take_stack(void *ctx)
{
	return WITH_STACKS ? stacks.get_stackid(ctx, 0) : NO_STACK;
}

#define PTE (0 << LEVEL_SHIFT)
#define PMD (1 << LEVEL_SHIFT)
#define PUD (2 << LEVEL_SHIFT)
#define PMD_MASK (~((1ULL << (FRAME_SHIFT + PAGE_BITS)) - 1))
#define BY_FOLIO 0xff	/* page_add_new_anon_rmap(): the folio's order decides */

/* What a return probe must know of its entry; keyed by thread and probe. */
struct entry {
	u64 page;	/* of a bracket: whether it is told of, UNTOLD to TOLD; of a move: from where */
	u64 more;	/* the PMD, or where it maps; of a bracket: its vma; of a move: to where */
	u64 mm;
};
#define UNTOLD 0
#define DEFERRED 1	/* until the thread meets something watched in it */
#define TOLD 2
BPF_HASH(entries, u64, struct entry, 4096);

/* Keep it until the return, whose record is lost where there is no room. */
static __always_inline void keep(u64 *key, struct entry *e)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct cpu_count *count;

	if (!entries.update(key, e))
		return;
	count = cpu_counts.lookup(&cpu);
	if (count)
		refuse(count, PROBE);
}

static __always_inline u64 entry_key(u32 probe)
{
	return bpf_get_current_pid_tgid() << 32 | probe;
}

/*
 * The address space of a mapping; 0: it is not told.  It is by the kernel's id, if it gives it one,
 * and where places are asked for.
 */
static __always_inline u64 told_mm(struct given vma, struct given base)
{
#ifdef OFF_MM_ID_OF_MM
	return mm_of(vma, base);
#else
	return WITH_WHERE ? mm_of(vma, base) : 0;
#endif
}

/* For whom a folio is mapped or unmapped: a record of its own before the one that it is of. */
static __always_inline void emit_owner(u64 page, struct seen *s, u64 mm)
{
#ifdef OFF_MM_ID_OF_MM
	struct record *r;
	u32 id = 0;

	if (!s->order || s->bits & (BIT_HUGETLB | BIT_UNREAD))
		return;
	if (bpf_probe_read_kernel(&id, 4, (void *)(mm + OFF_MM_ID_OF_MM)))
		return;
	r = begin(OWNER, PROBE, PFN(page), s->ts);
	if (!r)
		return;
	__builtin_memset(r->text, 0, TEXT_SIZE);
	r->aux = NO_STACK;
	r->owner.mm_id = id;
	put_seen_of_owner(r, s);
	submit(r);
#endif
}

#ifdef OFF_INDEX
/*
 * Where a mapping has a page, by the index of its folio, as vma_address() of the kernel reckons.
 * A KSM page (bit 1 of its folio's mapping) lies in each mapping elsewhere.
 */
static __always_inline u64 address_in(u64 vma, u64 page, u64 head)
{
	u64 mapping = 0, index = 0, start = 0, offset = 0;

	if (!vma || bpf_probe_read_kernel(&mapping, 8, (void *)(head + OFF_MAPPING)) ||
	    mapping & 2 || bpf_probe_read_kernel(&index, 8, (void *)(head + OFF_INDEX)) ||
	    bpf_probe_read_kernel(&start, 8, (void *)(vma + OFF_VM_START)) ||
	    bpf_probe_read_kernel(&offset, 8, (void *)(vma + OFF_VM_PGOFF)))
		return NO_ADDRESS;
	return start + ((index + PFN(page) - PFN(head) - offset) << PAGE_BITS);
}
#endif

/*
 * Where in an address space a page is, was or will be mapped: a record of its own before the one
 * that it is of.  address: 0 where nothing told it; then the mapping and the folio's index do.
 */
static __always_inline void emit_place(u64 page, struct seen *s, u64 mm,
				       struct given vma, u64 address)
{
#ifdef OFF_INDEX
	struct record *r;

	if (!mm || s->bits & (BIT_HUGETLB | BIT_UNREAD))
		return;
	r = begin(PLACE, PROBE, PFN(page), s->ts);
	if (!r)
		return;
	__builtin_memset(r->text, 0, TEXT_SIZE);
	r->aux = NO_STACK;
	r->place.mm = mm;
	r->place.address = address ? address : address_in(fetched(vma).number, page, s->head);
	submit(r);
#endif
}

/* mm: 0 where the operation maps for nobody, or for nobody knows whom; there, vma at address. */
static __always_inline void emit(u64 page, struct seen *s, u32 nr, u8 bits,
				 s32 aux, u64 mm, struct given vma, struct given address)
{
	struct record *r;

	if (mm)
		emit_owner(page, s, mm);
	if (WITH_WHERE)
		emit_place(page, s, mm, vma, fetched(address).number);
	r = begin(PROBE, PROBE, PFN(page), s->ts);
	if (!r)
		return;
	put_seen(r, s);
	r->nr = nr;
	r->bits |= bits;
	r->aux = aux;
	submit(r);
}

/* The same of what maps nothing. */
static __always_inline void emit_alone(u64 page, struct seen *s, u32 nr, u8 bits,
				       s32 aux)
{
	emit(page, s, nr, bits, aux, 0, known(0), known(0));
}

/* Might an unwatched page's folio become a watched one?  The cheapest refusal comes first. */
static __always_inline int eligible(struct given page, struct given vma)
{
	if (MIN_ORDER > 0 && is_single_page(page))
		return 0;
	return wanted(vma, page);
}

/*
 * Look at a page that a function is about to change.  Returns 0 where the page is not
 * watched and nobody wants it; else *bits says whether it had been freed.
 *
 * Nearly every page of a busy machine ends here: what only the others need is found again for
 * them, so that no register is kept for it.
 */
static __always_inline int watch(struct given page, struct given vma, struct seen *s, u8 *bits)
{
	u64 pfn = PFN(page.number);
	struct frame *f = frame_of(pfn);
	int want;
	u8 state;

	if (!f)
		return 0;
	state = *state_of(f, pfn);
	if (state == WATCHED || state == PINNED) {
		look(page, s);
		return 1;
	}
	want = eligible(page, vma);
	if (state == UNWATCHED && !want)
		return 0;
	look(page, s);
	if (want && s->order >= MIN_ORDER) {
		u64 head = PFN(s->head);

		f = frame_of(head);
		if (f)
			set_state(f, head, s->order, WATCHED);
	} else if (state == FREED) {
		/*
		 * In use again, though no allocation was seen: compaction has no tracepoint
		 * for it.  Followed to its next free, or its life would have a hole.
		 */
		f = frame_of(pfn);
		if (f)
			set_state(f, pfn, 0, WATCHED);
	} else {
		return 0;
	}
	if (state == FREED)
		*bits |= BIT_FREED;
	return 1;
}

/* A record without a page. */
static __always_inline int emit_bracket(u32 probe, s32 aux, u64 ts)
{
	struct record *r = begin(probe, probe, 0, ts);

	if (!r)
		return 0;
	__builtin_memset(r->text, 0, TEXT_SIZE);
	r->aux = aux;
	submit(r);
	return 0;
}

/*
 * Something watched was met at ts: the bracket around, if there may be one and this thread is in
 * it, is told of, as entered then.  Returns the bracket's entry, 0: there is none.
 */
static __always_inline struct entry *met_within(void *ctx, int bracket, u64 ts)
{
	struct entry *e;
	u64 key;

	if (!bracket)
		return 0;
	key = entry_key(ENTRY);
	e = entries.lookup(&key);
	if (!e)
		return 0;
	if (e->page == DEFERRED) {
		e->page = TOLD;
		emit_bracket(ENTRY, take_stack(ctx), ts);
	}
	return e;
}

/*
 * level: PTE, PMD, PUD or BY_FOLIO; PMD in any case where flags have one of pmd_bits.  need: bits
 * that the folio must have, else the probe does not mean it.  Who maps it is told by vma or,
 * where that is 0, by the bracket around.  address: 0 where it is not known.
 */
static __always_inline int point(void *ctx, struct given page, struct given vma,
				 struct given nr, u8 level, struct given flags, u64 pmd_bits,
				 struct given address, u8 need, int bracket)
{
	struct entry *e;
	struct seen s;
	u32 pages;
	u64 mm;
	u8 bits = 0;

	page = fetched(page);
	if (!watch(page, vma, &s, &bits) || (s.bits & need) != need)
		return 0;
	pages = fetched(nr).number;
	if (level == BY_FOLIO) {
		level = s.order >= FRAME_SHIFT ? PMD : PTE;
		pages = level == PMD ? 0 : 1U << (s.order & 15);
	}
	/* Which maps the whole folio. */
	if (pmd_bits && fetched(flags).number & pmd_bits) {
		level = PMD;
		pages = 0;
	}
	if (IS_NONE(vma)) {
		e = met_within(ctx, bracket, s.ts);
		mm = e ? e->mm : 0;
		if (WITH_WHERE && e)
			vma = known(e->more);
	} else {
		mm = told_mm(vma, page);
	}
	emit(page.number, &s, pages, level | bits, take_stack(ctx), mm, vma, address);
	return 0;
}

/* A change of map counts, or a queueing: one record, before it happens. */
static __always_inline int on_point(void *ctx, struct given page, struct given vma,
				    struct given nr, u8 level, struct given address)
{
	return point(ctx, page, vma, nr, level, known(0), 0, address, 0, 0);
}

/* The same, where bits of an argument say that it is a PMD. */
static __always_inline int on_point_by_flags(void *ctx, struct given page,
					     struct given vma, struct given nr,
					     struct given flags, u64 pmd_bits,
					     struct given address)
{
	return point(ctx, page, vma, nr, PTE, flags, pmd_bits, address, 0, 0);
}

/* An inlined update, at its instruction: a register holds the page. */
static __always_inline int on_site(void *ctx, u64 page, u32 nr, u8 level,
				   u8 need, int bracket)
{
	return point(ctx, known(page), known(0), known(nr), level, known(0), 0, known(0),
		     need, bracket);
}

/*
 * The call of an inline function that the compiler emitted, and that copies so many PTE mappings.
 * If it refuses, on_copy_refused() takes them back: its probe is the one after this one.
 */
static __always_inline int on_copy(void *ctx, u64 page, u32 nr, int bracket)
{
	struct entry e = { .page = page, .more = nr };
	struct seen s;
	u64 key;
	u8 bits = 0;

	if (!watch(known(page), known(0), &s, &bits))
		return 0;
	key = entry_key(PROBE);
	keep(&key, &e);
	return point(ctx, known(page), known(0), known(nr), PTE, known(0), 0, known(0), 0,
		     bracket);
}

static __always_inline int on_copy_refused(void *ctx, s32 result, int bracket)
{
	u64 key = entry_key(PROBE - 1);
	struct entry *e = entries.lookup(&key), was;

	if (!e)
		return 0;
	was = *e;
	entries.delete(&key);
	if (!result)
		return 0;
	return point(ctx, known(was.page), known(0), known(was.more), PTE, known(0), 0,
		     known(0), 0, bracket);
}

/*
 * Entry of a function whose return matters.  pmd: where to look whether it changed; owner: the
 * vma that is mapped when it returns, or 0: then what vma maps is changed.  address: of the PMD.
 */
static __always_inline int enter(void *ctx, struct given page, struct given vma,
				 u64 pmd, u8 level, struct given owner, struct given address,
				 int bracket)
{
	struct entry e = { .more = pmd };
	struct seen s;
	u64 key;
	u8 bits = 0;

	page = fetched(page);
	if (!watch(page, vma, &s, &bits))
		return 0;
	met_within(ctx, bracket, s.ts);
	if (WITH_WHERE) {
		/* Some callers name any address that the PMD maps. */
		u64 at = fetched(address).number & PMD_MASK;

		if (IS_NONE(owner))
			emit_place(page.number, &s, mm_of(vma, page), vma, at);
		else
			e.more = at;
	}
	emit_alone(page.number, &s, 0, level | bits, take_stack(ctx));
	key = entry_key(PROBE);
	e.page = page.number;
	e.mm = told_mm(owner, page);
	keep(&key, &e);
	return 0;
}

static __always_inline int on_enter(void *ctx, struct given page, struct given vma)
{
	return enter(ctx, page, vma, 0, PTE, known(0), known(0), 0);
}

/* The page that a huge PMD maps, or 0.  Read without its lock, as all is here. */
static __always_inline u64 pmd_page(u64 pmd)
{
	u64 v = 0, zero = 0, pfn, page;

	if (bpf_probe_read_kernel(&v, 8, (void *)pmd))
		return 0;
	pfn = huge_pmd_pfn(v);
	if (!pfn)
		return 0;
	page = PAGE(pfn);
	/* The huge zero page has no map count. */
	if (HUGE_ZERO && !bpf_probe_read_kernel(&zero, 8, (void *)HUGE_ZERO) && page == zero)
		return 0;
	return page;
}

static __always_inline int on_pmd_enter(void *ctx, u64 pmd, struct given vma,
					u64 folio, struct given owner,
					struct given address, int bracket)
{
	u64 page = pmd_page(pmd);

	/* A caller that names a folio leaves any other one alone. */
	if (!page || (folio && folio != page))
		return 0;
	return enter(ctx, known(page), vma, pmd, PMD, owner, address, bracket);
}

/* Return of a function entered through enter(); the counters as they are now. */
static __always_inline int on_return(void *ctx, s32 result, u8 level, int pmd_tells)
{
	u64 key = entry_key(ENTRY);
	struct entry *e = entries.lookup(&key), was;
	struct seen s;

	if (!e)
		return 0;
	was = *e;
	entries.delete(&key);
	/* A function without result: 0 where the PMD no longer maps the page. */
	if (pmd_tells)
		result = pmd_page(was.more) == was.page;
	look(known(was.page), &s);
	emit(was.page, &s, 0, level, result, was.mm, known(0), known(was.more));
	return 0;
}

/* A reader looks at a page without a reference: only a watched page is of interest. */
static __always_inline int on_read(void *ctx, struct given page, int bracket)
{
	struct entry e = {};
	struct frame *f;
	struct seen s;
	u64 pfn, key;
	u8 bits = 0, state;

	page = fetched(page);
	pfn = PFN(page.number);
	f = frame_of(pfn);
	if (!f)
		return 0;
	state = *state_of(f, pfn);
	/* The recorder reads too, for its snapshots: not a reader of interest. */
	if (state == UNWATCHED || bpf_get_current_pid_tgid() >> 32 == SELF)
		return 0;
	if (bracket) {
		key = entry_key(ENTRY);
		if (!entries.lookup(&key))
			return 0;
	}
	look(page, &s);
	if (state == FREED) {
		/* Being torn down perhaps; long after, it is just a free page. */
		if (s.ts - f->freed_ts > FREED_READ_NS)
			return 0;
		bits = BIT_FREED;
	}
	emit_alone(page.number, &s, 1, bits, take_stack(ctx));
	e.page = page.number;
	key = entry_key(PROBE);
	keep(&key, &e);
	return 0;
}

/*
 * A reader that walks page tables asks for a page's map count.  It holds their lock, which keeps
 * mapped what an entry maps: of interest is a page that nothing maps, as behind a migration entry.
 */
static __always_inline int on_ask(void *ctx, struct given page)
{
	u64 key = entry_key(ENTRY);
	struct seen s;

	page = fetched(page);
	if (!is_watched(PFN(page.number)) || !entries.lookup(&key))
		return 0;
	look(page, &s);
	if (s.bits & BIT_UNREAD || s.mapcount >= 0 || s.entire >= 0)
		return 0;
	met_within(ctx, 1, s.ts);
	emit_alone(page.number, &s, 1, 0, take_stack(ctx));
	return 0;
}

/* A function that is noted whoever calls it. */
static __always_inline int on_once(void *ctx)
{
	return emit_bracket(PROBE, take_stack(ctx), bpf_ktime_get_ns());
}

/*
 * A bracket around work on many pages.  deferred: it is told of only once something watched is met
 * in it.  fork comes here for each mapping, of which most have nothing to tell.
 */
static __always_inline int on_bracket_enter(void *ctx, struct given vma,
					    struct given owner, int anybody, int deferred)
{
	u64 key = entry_key(PROBE);
	struct entry e = { .mm = told_mm(owner, known(0)) };

	if (WITH_WHERE)
		e.more = fetched(owner).number;
	if (anybody ? bpf_get_current_pid_tgid() >> 32 != SELF : wanted(vma, known(0)))
		e.page = deferred && !((struct control *)CONTROL)->brackets ? DEFERRED : TOLD;
	/* A stranger's work may be on watched pages. */
	if (!e.page && !e.mm)
		return 0;
	keep(&key, &e);
	return e.page == TOLD ? emit_bracket(PROBE, take_stack(ctx), bpf_ktime_get_ns()) : 0;
}

static __always_inline int on_bracket_return(void *ctx, s32 result)
{
	u64 key = entry_key(ENTRY);
	struct entry *e = entries.lookup(&key);
	u64 told;

	if (!e)
		return 0;
	told = e->page;
	entries.delete(&key);
	return told == TOLD ? emit_bracket(PROBE, result, bpf_ktime_get_ns()) : 0;
}

static __always_inline int on_alloc(void *ctx, u64 page, u32 order,
				    u32 migratetype)
{
	u64 pfn = PFN(page);
	struct frame *f;
	struct seen s;
	int want;

	if (!page)
		return 0;
	f = frame_of(pfn);
	/* Folios for user space are movable; slabs, stacks and page tables are not. */
	want = order >= MIN_ORDER && migratetype == MIGRATE_MOVABLE && wanted(known(0), known(0));
	if (!f) {
		if (want)
			__sync_fetch_and_add(&((struct control *)CONTROL)->outside, 1);
		return 0;
	}
	if (want)
		set_state(f, pfn, order, WATCHED);
	else if (f->any)
		set_state(f, pfn, order, UNWATCHED);
	if (*state_of(f, pfn) == UNWATCHED)
		return 0;
	look(known(page), &s);
	emit_alone(page, &s, 1U << (order & 15), PTE, NO_STACK);
	return 0;
}

static __always_inline int on_free(void *ctx, u64 page, u32 order)
{
	u64 pfn = PFN(page);
	struct frame *f = frame_of(pfn);
	struct seen s;
	u8 state;

	if (!f || !f->any)
		return 0;
	state = *state_of(f, pfn);
	if (state == UNWATCHED)
		return 0;
	look(known(page), &s);
	emit_alone(page, &s, 1U << (order & 15), state == FREED ? BIT_FREED : 0, NO_STACK);
	f->freed_ts = s.ts;
	set_state(f, pfn, order, FREED);
	return 0;
}

#ifdef WITH_SECOND_PROGRAMS
/*
 * Did the kernel skip perf's program of this very event?  It does while a program of a kprobe or of
 * perf runs on this CPU, and says so in a variable.  nth: of the second programs; what each makes
 * up for is counted.
 */
static __always_inline int was_skipped(u32 nth)
{
	u32 *active = bpf_this_cpu_ptr((void *)PROG_ACTIVE);

	if (!*active)
		return 0;
	__sync_fetch_and_add(&((struct control *)CONTROL)->made_up[nth], 1);
	return 1;
}

/* The same by a second program: its records are those of the first, where that was skipped. */
static __always_inline int on_alloc_instead(void *ctx, u32 nth, u64 page, u32 order,
					    u32 migratetype)
{
	return was_skipped(nth) ? on_alloc(ctx, page, order, migratetype) : 0;
}

static __always_inline int on_free_instead(void *ctx, u32 nth, u64 page, u32 order)
{
	return was_skipped(nth) ? on_free(ctx, page, order) : 0;
}
#endif

/* Records that carry text. */
static __always_inline struct record *begin_text(u32 kind, u64 pfn)
{
	struct record *r = begin(kind, LOST_TEXT, pfn, bpf_ktime_get_ns());

	if (r)
		__builtin_memset(r->text, 0, TEXT_SIZE);
	return r;
}

/* comm: 0 for the name that the task has. */
static __always_inline int on_task(void *ctx, u32 kind, u64 task, u64 comm)
{
	u32 tid = 0, pid = 0, parent = bpf_get_current_pid_tgid() >> 32;
	struct record *r;

	bpf_probe_read_kernel(&tid, 4, (void *)(task + OFF_TASK_PID));
	bpf_probe_read_kernel(&pid, 4, (void *)(task + OFF_TASK_TGID));
	if (kind == TASK_NEW && tid == pid && *followed(parent))
		follow(task, pid);
	/* exec names the task after it has given it an address space of its own. */
	if (kind == TASK_RENAME && *followed(pid))
		follow(task, pid);
	if (kind == TASK_EXIT && tid == pid)
		*followed(pid) = 0;
	r = begin_text(kind, (u64)pid << 32 | tid);
	if (!r)
		return 0;
	bpf_probe_read_kernel(r->named.comm, 16, (void *)(comm ? comm : task + OFF_TASK_COMM));
	if (WITH_WHERE)
		bpf_probe_read_kernel(&r->named.mm, 8, (void *)(task + OFF_TASK_MM));
	submit(r);
	return 0;
}

/*
 * mremap() moves page-table entries, and no function of the rmap is told.  Where from and where
 * to is known at the entry, how much was moved at the return.
 */
static __always_inline int on_move_enter(void *ctx, u64 vma, u64 from, u64 to)
{
	u64 key = entry_key(PROBE);
	struct entry e = { .page = from, .more = to, .mm = mm_of(known(vma), known(0)) };

	keep(&key, &e);
	return 0;
}

#ifdef OFF_MOVE_OLD
/* The same, where a structure has the arguments. */
static __always_inline int on_move_enter_by(void *ctx, u64 control)
{
	u64 vma = 0, from = 0, to = 0;

	bpf_probe_read_kernel(&vma, 8, (void *)(control + OFF_MOVE_OLD));
	bpf_probe_read_kernel(&from, 8, (void *)(control + OFF_MOVE_OLD_ADDR));
	bpf_probe_read_kernel(&to, 8, (void *)(control + OFF_MOVE_NEW_ADDR));
	return on_move_enter(ctx, vma, from, to);
}
#endif

static __always_inline int on_move_return(void *ctx, u64 bytes)
{
	u64 key = entry_key(ENTRY);
	struct entry *e = entries.lookup(&key);
	struct record *r;

	if (!e)
		return 0;
	r = bytes ? begin_text(MOVED, 0) : 0;
	if (r) {
		r->moved.mm = e->mm;
		r->moved.from = e->page;
		r->moved.to = e->more;
		r->moved.bytes = bytes;
		submit(r);
	}
	entries.delete(&key);
	return 0;
}

/* The last reference to an address space is gone: its struct may become another's. */
static __always_inline int on_mm_free(void *ctx, u64 mm)
{
	if (FILTER_TASKS)
		mms.delete(&mm);
	return 0;
}

/*
 * A workload names a moment by writing "mapcount: NAME" to trace_marker.  It is stopped
 * there, so that the recorder can read the kernel's counters at rest, and continued.
 */
static __always_inline int on_mark(void *ctx, u64 file, u64 text, u64 size)
{
	u64 f_op = 0;
	char buf[64] = {};
	struct record *r;
	struct control *c = (struct control *)CONTROL;
	u32 slot;

	bpf_probe_read_kernel(&f_op, 8, (void *)(file + OFF_FILE_F_OP));
	if (f_op != TRACE_MARKER_OPS || size <= MARK_PREFIX_SIZE)
		return 0;
	if (size >= sizeof(buf))
		size = sizeof(buf) - 1;
	/* The mask only tells the verifier what the line above did. */
	if (bpf_probe_read_user(buf, size & 63, (void *)text))
		return 0;
	if (FIELD(u64, buf, 0) != MARK_PREFIX)
		return 0;
	if (!wanted(known(0), known(0)))
		return 0;
	slot = c->marks % MARK_SLOTS;
	c->tid[slot] = bpf_get_current_pid_tgid();
	__builtin_memcpy(c->name[slot], buf + MARK_PREFIX_SIZE, TEXT_SIZE);
	/* Stop first: the recorder continues the task once it has seen the count. */
	bpf_send_signal(SIGSTOP);
	r = begin_text(MARK_NAMED, 0);
	if (r) {
		__builtin_memcpy(r->text, buf + MARK_PREFIX_SIZE, TEXT_SIZE);
		submit(r);
	}
	c->marks++;
	return 0;
}

#endif
