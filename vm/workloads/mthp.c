// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Anonymous folios smaller than a huge page, one region for each order from 2 on: faulted, forked,
 * copied, partially unmapped, moved, split, swapped.
 */
#include "story.h"

#define SIZES "/sys/kernel/mm/transparent_hugepage/hugepages-"

static int orders;
static char *moved;

static void act(char command)
{
	for (int n = 0; n < orders; n++) {
		if (command == 'w')
			write_pages(place(n), 2, 6);
		else if (command == 'u')
			must(munmap(place(n) + 8 * PAGE, PAGE << (n + 1)), "munmap in the child");
		else if (command == 'p')
			must(mprotect(place(n) + PAGE, 2 * PAGE, PROT_READ), "mprotect");
	}
}

static int set(int order, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), SIZES "%lukB/enabled", PAGE / 1024 << order);
	return put(path, text);
}

static void map_all(void)
{
	for (int order = 2; 1UL << order < PAGES; order++) {
		char *at = place(order - 2);

		if (set(order, "always"))
			skip("no folios of %lu KiB for anonymous memory", PAGE / 1024 << order);
		map_anon(at, HUGE);
		for (unsigned long page = 0; page < PAGES; page += 1UL << order)
			write_pages(at, page, page + 1);
		must(set(order, "never"), "hugepages-*/enabled");
		/* What is copied or filled again below is of order 0. */
		must(madvise(at, HUGE, MADV_NOHUGEPAGE), "madvise");
		orders++;
	}
}

static void for_all(void (*step)(char *at, unsigned long pages), const char *name)
{
	for (int n = 0; n < orders; n++)
		step(place(n), 4UL << n);
	mark(name);
}

static void drop(char *at, unsigned long pages)
{
	must(madvise(at + 3 * PAGE, pages * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
}

static void fill(char *at, unsigned long pages)
{
	write_pages(at, 3, 3 + pages);
}

static void move(char *at, unsigned long pages)
{
	char *to = moved + (at - place(0));

	(void)pages;
	must(mremap(at + 300 * PAGE, 100 * PAGE, 100 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) !=
	     to, "mremap");
}

static void split(char *at, unsigned long pages)
{
	(void)pages;
	split_folios(at, 128 * PAGE);
}

static void free_lazily(char *at, unsigned long pages)
{
	/* Short of the hole that the move has left. */
	must(madvise(at + 240 * PAGE, (pages < 64 ? pages / 2 : 32) * PAGE, MADV_FREE), "MADV_FREE");
}

static void page_out(char *at, unsigned long pages)
{
	(void)pages;
	must(madvise(at + 128 * PAGE, 100 * PAGE, MADV_PAGEOUT), "MADV_PAGEOUT");
}

static void fill_all(char *at, unsigned long pages)
{
	(void)pages;
	write_pages(at, 128, 228);
}

int main(void)
{
	struct child child;
	const char *failed;

	need_huge_pages();
	if (access(SIZES "64kB/enabled", W_OK))
		skip("the kernel gives anonymous memory no folios but of 2 MiB");
	moved = place(20);
	map_all();
	mark("faulted");
	child = child_start(act);
	mark("forked");
	child_do(&child, 'w');
	mark("child_copied");
	child_do(&child, 'u');
	mark("child_unmapped");
	child_do(&child, 'p');
	for_all(drop, "parent_dropped");
	for_all(fill, "parent_filled");
	for_all(move, "parent_moved");
	for_all(split, "parent_split");
	child_exit(&child);
	mark("child_gone");
	for_all(free_lazily, "freed_lazily");
	failed = swap_on();
	if (failed) {
		note("paged_out", failed);
	} else {
		for_all(page_out, "paged_out");
		for_all(fill_all, "paged_in");
	}
	must(put("/proc/sys/vm/drop_caches", "2"), "drop_caches");
	mark("shrunk");
	for (int n = 0; n < orders; n++)
		must(munmap(place(n), HUGE), "munmap");
	mark("unmapped");
	return 0;
}
