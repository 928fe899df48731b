// SPDX-License-Identifier: GPL-2.0-or-later
/* What the counters of a page and its folio held when a probe ran. */
#ifndef MAPCOUNT_FOLIO_H
#define MAPCOUNT_FOLIO_H

#include "given.h"

struct seen {
	u64 ts;
	s32 mapcount;
	s32 entire;
	s32 nr_mapped;
	s32 large;
	s32 refcount;
	u32 flags;
	u8 order;
	u8 bits;
	u64 head;
#ifdef OFF_MM_ID
	s32 mm_id_mapcount[2];
	u32 mm_id[2];
#endif
};

#define FIELD(type, buf, off) (*(type *)((char *)(buf) + (off)))
#define PFN(page) (((page) - VMEMMAP) / STRUCT_PAGE)
#define PAGE(pfn) (VMEMMAP + (pfn) * STRUCT_PAGE)

static __always_inline u64 head_of(u64 page, u64 link)
{
#if TAIL_HOLDS_MASK
	/*
	 * commit 8c846c879e22 ("mm: rework compound_head() for power-of-2 sizeof(struct page)")
	 * (in v7.1): a tail may hold a mask of its head's address.
	 */
	u64 m = link & ~1ULL;

	if (!(-m & (-m - 1)))
		return page & m;
#endif
	return link & ~1ULL;
}

/* What a struct page says of itself, whatever it is part of. */
struct words {
	u64 flags;
	u64 link;	/* of a tail: where its head is */
	u64 mapping;	/* of which only bit 0 is of interest */
	s32 mapcount;
	s32 refcount;
};

/* Neither head nor tail: it holds no counter but its own. */
static __always_inline int is_single(u64 flags, u64 link)
{
	return !(flags & (1ULL << PG_HEAD)) && !(link & 1);
}

/* The same of a page that was not read yet. */
static __always_inline int is_single_page(struct given page)
{
	u64 buf[LINK_BYTES / 8];

	if (IS_TYPED(page))
		return is_single(LOAD(u64, page, OFF_FLAGS),
				 load_pointer(page, OFF_COMPOUND_HEAD, page));
	return bpf_probe_read_kernel(buf, LINK_BYTES, (void *)page.number) ||
	       is_single(FIELD(u64, buf, OFF_FLAGS), FIELD(u64, buf, OFF_COMPOUND_HEAD));
}

static __always_inline void words_of(void *buf, struct words *w)
{
	w->flags = FIELD(u64, buf, OFF_FLAGS);
	w->link = FIELD(u64, buf, OFF_COMPOUND_HEAD);
	w->mapping = FIELD(u64, buf, OFF_MAPPING);
	w->mapcount = FIELD(s32, buf, OFF_MAPCOUNT);
	w->refcount = FIELD(s32, buf, OFF_REFCOUNT);
}

/* Returns 0 where the page cannot be read. */
static __always_inline int read_words(struct given page, struct words *w)
{
	u64 buf[PAGE_BYTES / 8];

	if (IS_TYPED(page)) {
		w->flags = LOAD(u64, page, OFF_FLAGS);
		w->link = load_pointer(page, OFF_COMPOUND_HEAD, page);
		w->mapping = load_pointer(page, OFF_MAPPING, page);
		w->mapcount = LOAD(s32, page, OFF_MAPCOUNT);
		w->refcount = LOAD(s32, page, OFF_REFCOUNT);
		return 1;
	}
	if (bpf_probe_read_kernel(buf, PAGE_BYTES, (void *)page.number))
		return 0;
	words_of(buf, w);
	return 1;
}

static __always_inline void look_at_head(struct words *w, struct seen *s)
{
	s->flags = w->flags;
	s->refcount = w->refcount;
	if (w->mapping & 1)
		s->bits |= BIT_ANON;
}

/*
 * Nothing is locked and no reference is held: the words may be torn between two states
 * of the folio.  They are written down as they were, with the order that the head
 * claimed in the same read: the head and the first tail, which lie side by side, hold
 * every counter of a folio.  No more words are read than have a field of interest.
 */
static __always_inline void look(struct given page, struct seen *s)
{
	u64 buf[FOLIO_BYTES / 8];
	struct words w;

	__builtin_memset(s, 0, sizeof(*s));
	s->ts = bpf_ktime_get_ns();
	s->head = page.number;
	if (!read_words(page, &w)) {
		s->bits = BIT_UNREAD;
		return;
	}
	s->mapcount = w.mapcount;
	if (is_single(w.flags, w.link)) {
		look_at_head(&w, s);
		return;
	}
	if (w.link & 1) {
		s->bits |= BIT_TAIL;
		s->head = head_of(page.number, w.link);
	}
	if (bpf_probe_read_kernel(buf, FOLIO_BYTES, (void *)s->head)) {
		s->bits |= BIT_UNREAD;
		return;
	}
	words_of(buf, &w);
	if (!(s->bits & BIT_TAIL))
		s->mapcount = w.mapcount;
	look_at_head(&w, s);
	if (!(s->flags & (1U << PG_HEAD)))
		return;
	/* Between a folio and its pages there are words that tell of neither. */
	if (FIELD(u8, buf, OFF_ORDER) > LARGEST_ORDER) {
		s->bits |= BIT_UNREAD;
		return;
	}
	s->order = FIELD(u8, buf, OFF_ORDER);
#ifdef OFF_ENTIRE
	s->entire = FIELD(s32, buf, OFF_ENTIRE);
#endif
#ifdef OFF_NR_MAPPED
	s->nr_mapped = FIELD(s32, buf, OFF_NR_MAPPED);
#endif
#ifdef OFF_TOTAL
	/* The low word of a long: enough for 2^31 mapped pages. */
	s->nr_mapped = FIELD(s32, buf, OFF_TOTAL);
#endif
#ifdef OFF_LARGE
	s->large = FIELD(s32, buf, OFF_LARGE);
#endif
#ifdef OFF_MM_ID
	for (int i = 0; i < 2; i++) {
		s->mm_id_mapcount[i] = FIELD(s32, buf, OFF_MM_ID_MAPCOUNT + 4 * i);
		s->mm_id[i] = FIELD(u32, buf, OFF_MM_ID + 4 * i);
	}
#endif
#ifdef PG_DOUBLE_MAP
	if (FIELD(u64, buf, STRUCT_PAGE + OFF_FLAGS) & (1ULL << PG_DOUBLE_MAP))
		s->bits |= BIT_DOUBLE_MAP;
#endif
	/* A kernel without hugetlb has none of these. */
#ifdef HUGETLB_DTOR
	if (FIELD(u8, buf, OFF_DTOR) == HUGETLB_DTOR)
		s->bits |= BIT_HUGETLB;
#endif
#ifdef PG_HUGETLB
	if (FIELD(u64, buf, STRUCT_PAGE + OFF_FLAGS) & (1ULL << PG_HUGETLB))
		s->bits |= BIT_HUGETLB;
#endif
#ifdef HUGETLB_TYPE
	if ((FIELD(u32, buf, OFF_MAPCOUNT) & HUGETLB_TYPE_MASK) == HUGETLB_TYPE)
		s->bits |= BIT_HUGETLB;
#endif
}

/* What an owner record has of them. */
static __always_inline void put_seen_of_owner(struct record *r, struct seen *s)
{
#ifdef OFF_MM_ID
	for (int i = 0; i < 2; i++) {
		r->owner.mm_id_mapcount[i] = s->mm_id_mapcount[i];
		r->owner.folio_mm_id[i] = s->mm_id[i];
	}
#endif
}

static __always_inline void put_seen(struct record *r, struct seen *s)
{
	r->mapcount = s->mapcount;
	r->entire = s->entire;
	r->nr_mapped = s->nr_mapped;
	r->large = s->large;
	r->refcount = s->refcount;
	r->flags = s->flags;
	r->order = s->order;
	r->bits = s->bits;
}

#endif
