// SPDX-License-Identifier: GPL-2.0-or-later
/* References that get_user_pages() and pin_user_pages() take, and pins that are dropped. */
#ifndef MAPCOUNT_PINS_H
#define MAPCOUNT_PINS_H

#include "handlers.h"

#ifdef GUP_PIN

/* How a function says that it took what it was asked for. */
#define RETURNS_VOID 0		/* it always does */
#define RETURNS_POINTER 1	/* the folio, or NULL */
#define RETURNS_BOOL 2		/* of its register the low 8 bits are defined */
#define RETURNS_INT 3		/* 0, or an error */

static __always_inline int grabbed(u64 result, u32 returns)
{
	if (returns == RETURNS_POINTER)
		return result != 0;
	if (returns == RETURNS_BOOL)
		return (u8)result != 0;
	return returns == RETURNS_VOID || (u32)result == 0;
}

/* How many pins a folio has; its struct page has no such count where it is one page. */
static __always_inline s32 pincount_of(struct seen *s)
{
	s32 count = 0;

#ifdef OFF_PINCOUNT
	if ((u64)STRUCT_PAGE << s->order > OFF_PINCOUNT && !(s->bits & BIT_UNREAD))
		bpf_probe_read_kernel(&count, 4, (void *)(s->head + OFF_PINCOUNT));
#endif
	return count;
}

static __always_inline void emit_pin(u64 page, struct seen *s, u32 refs, u32 pinned,
				     s32 aux)
{
	struct record *r = begin(PROBE, PROBE, PFN(page), s->ts);

	if (!r)
		return;
	put_seen(r, s);
	/* See PIN_COLUMNS of probes/events.py. */
	r->mapcount = refs;
	r->entire = pinned;
	r->nr_mapped = pincount_of(s);
	r->nr = 0;
	r->aux = aux;
	submit(r);
}

/* What is asked for: told when it was had, with the stack of who asked. */
static __always_inline int on_grab(void *ctx, struct given page, struct given refs,
				   u32 flags)
{
	u64 pinned = (flags & GUP_PIN) != 0;
	struct entry e = {};
	struct seen s;
	u64 key;
	u8 bits = 0;

	if (!(flags & (GUP_GET | GUP_PIN)))
		return 0;
	page = fetched(page);
	if (!watch(page, known(0), &s, &bits))
		return 0;
	/* The kernel pins no page of zeroes, and says that it has. */
	if (s.flags & (1U << PG_RESERVED))
		return 0;
	e.page = page.number;
	e.more = pinned << 32 | (u32)fetched(refs).number;
	e.mm = (u32)take_stack(ctx);
	key = entry_key(PROBE);
	keep(&key, &e);
	return 0;
}

static __always_inline int on_grabbed(void *ctx, u64 result, u32 returns)
{
	u64 key = entry_key(ENTRY);
	struct entry *e = entries.lookup(&key), was;
	struct seen s;

	if (!e)
		return 0;
	was = *e;
	entries.delete(&key);
	if (!grabbed(result, returns))
		return 0;
	look(known(was.page), &s);
	emit_pin(was.page, &s, was.more, was.more >> 32, was.mm);
	return 0;
}

/* Who drops has held the folio: only a watched one is of interest. */
static __always_inline int on_unpin(void *ctx, struct given page, struct given refs,
				    u32 flags)
{
	struct seen s;

	page = fetched(page);
	if (!is_watched(PFN(page.number)))
		return 0;
	look(page, &s);
	if (s.flags & (1U << PG_RESERVED))
		return 0;
	emit_pin(page.number, &s, fetched(refs).number, (flags & GUP_PIN) != 0,
		 take_stack(ctx));
	return 0;
}

#endif
#endif
