// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Huge pages that go to swap and come back: as a whole, in parts, shared by two processes, by a
 * read, by a write, and by swapoff.
 */
#include "story.h"

#include <sys/swap.h>

static char *shared;

static void read_pages(char *at, unsigned long first, unsigned long end)
{
	for (unsigned long page = first; page < end; page++)
		(void)*(volatile char *)(at + page * PAGE);
}

static void act(char command)
{
	if (command == 'r')
		read_pages(shared, 0, 128);
	else if (command == 'w')
		write_pages(shared, 64, 96);
	else if (command == 'o')
		must(madvise(shared, HUGE, MADV_PAGEOUT), "MADV_PAGEOUT in the child");
}

int main(void)
{
	char *whole = place(0), *part = place(1);
	struct child child;
	const char *failed;

	failed = swap_on();
	if (failed)
		skip("%s", failed);
	map_huge(whole);
	map_huge(part);
	write_pages(whole, 0, PAGES);
	write_pages(part, 0, PAGES);
	mark("faulted");
	if (madvise(whole, HUGE, MADV_PAGEOUT))
		skip("MADV_PAGEOUT: %s", strerror(errno));
	mark("out_whole");
	must(madvise(part + 64 * PAGE, 128 * PAGE, MADV_PAGEOUT), "MADV_PAGEOUT");
	mark("out_part");
	read_pages(whole, 0, 64);
	mark("in_read");
	write_pages(whole, 32, 256);
	write_pages(part, 0, PAGES);
	mark("in_written");

	shared = place(2);
	map_huge(shared);
	write_pages(shared, 0, PAGES);
	must(mprotect(shared + PAGE, PAGE, PROT_READ), "mprotect");
	child = child_start(act);
	mark("shared");
	must(madvise(shared, 256 * PAGE, MADV_PAGEOUT), "MADV_PAGEOUT");
	child_do(&child, 'o');
	mark("out_shared");
	child_do(&child, 'r');
	mark("in_child");
	read_pages(shared, 0, PAGES);
	mark("in_parent");
	child_do(&child, 'w');
	mark("copied");
	must(munmap(part, HUGE), "munmap");
	mark("unmapped");
	must(madvise(shared, HUGE, MADV_PAGEOUT), "MADV_PAGEOUT");
	mark("out_again");
	if (swapoff("/dev/zram0"))
		note("swapoff", strerror(errno));
	mark("swapoff");
	child_exit(&child);
	mark("child_gone");
	return 0;
}
