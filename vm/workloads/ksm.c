// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Equal pages that KSM merges into one, in one process and shared with another; a write and
 * KSM itself break them again.
 */
#include "story.h"

#define KSM "/sys/kernel/mm/ksm/"

static long wanted;

static void act(char command)
{
	if (command == 'w')
		write_pages(place(0), 0, 8);
}

/* Pages from first to end get the same content as their counterparts in every other region. */
static void fill_equal(char *at, unsigned long first, unsigned long end)
{
	for (unsigned long page = first; page < end; page++)
		memset(at + page * PAGE, 1 + page / 8, PAGE);
}

static int merged(void)
{
	return get(KSM "pages_sharing") >= wanted;
}

static int unmerged(void)
{
	return get(KSM "pages_sharing") == 0;
}

/* Rounds until so many pages share another; then KSM rests, and what is merged stays so. */
static int merge(long pages)
{
	int failed;

	wanted = pages;
	must(put(KSM "pages_to_scan", "4096"), KSM "pages_to_scan");
	put(KSM "advisor_mode", "none");
	must(put(KSM "sleep_millisecs", "1"), KSM "sleep_millisecs");
	must(put(KSM "run", "1"), KSM "run");
	failed = wait_until(merged, 10);
	must(put(KSM "run", "0"), KSM "run");
	return failed;
}

int main(void)
{
	struct child child;

	if (access(KSM "run", W_OK))
		skip("the kernel has no KSM");
	/* No trees per node, no shortcut for pages of zeroes, no skipping of what did not merge. */
	put(KSM "smart_scan", "0");
	for (int n = 0; n < 2; n++) {
		map_huge(place(n));
		write_pages(place(n), 0, PAGES);
		fill_equal(place(n), 0, 64);
		must(madvise(place(n), HUGE, MADV_MERGEABLE), "MADV_MERGEABLE");
	}
	mark("equal");
	if (merge(120))
		note("merged", "KSM merged fewer pages than expected");
	mark("merged");
	child = child_start(act);
	mark("forked");
	child_do(&child, 'w');
	mark("child_broke");
	write_pages(place(0), 4, 16);
	mark("parent_broke");
	must(munmap(place(1) + 32 * PAGE, 8 * PAGE), "munmap");
	mark("unmapped_part");
	fill_equal(place(0), 0, 16);
	if (merge(110))
		note("merged_again", "KSM merged fewer pages than expected");
	mark("merged_again");
	child_exit(&child);
	mark("child_gone");
	must(put(KSM "run", "2"), KSM "run");
	if (wait_until(unmerged, 5))
		note("unmerged", "pages are still shared");
	must(put(KSM "run", "0"), KSM "run");
	mark("unmerged");
	must(munmap(place(0), HUGE), "munmap");
	mark("gone");
	return 0;
}
