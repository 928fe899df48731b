// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One anonymous huge page that this process maps by a PMD all the time, while one child after
 * the other drops some of its pages: the pages' map counts then differ. /proc must tell of each
 * page its own count. exclusive-2025.toml has the counts at every mark.
 *
 * Since commit eb16876971ea ("fs/proc/task_mmu: remove per-page mapcount dependency for
 * PM_MMAP_EXCLUSIVE (CONFIG_NO_PAGE_MAPCOUNT)") (in v6.15) bit 56 of /proc/PID/pagemap is, for all
 * pages, the answer of the first; as it was before 2c1f057e5be6 ("fs/proc/task_mmu: properly
 * detect PM_MMAP_EXCLUSIVE per page of PMD-mapped THPs") (in v6.11).
 */
#include "story.h"

/* Each command is a child's: it drops the first page, the sixth, or all but the first. */
static void act(char command)
{
	unsigned long first = command == 'f' ? 0 : command == 's' ? 5 : 1;
	unsigned long pages = command == 'r' ? PAGES - 1 : 1;

	must(madvise(place(0) + first * PAGE, pages * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
}

int main(void)
{
	struct child child;

	map_huge(place(0));
	/* No page may stay zero: since 6.12 a split would map the zero page instead. */
	write_pages(place(0), 0, PAGES);
	mark("faulted");

	child = child_start(act);
	mark("forked");
	child_do(&child, 'f');
	mark("first_dropped");
	child_exit(&child);
	mark("first_gone");

	child = child_start(act);
	mark("forked_again");
	child_do(&child, 's');
	mark("sixth_dropped");
	child_exit(&child);
	mark("second_gone");

	child = child_start(act);
	mark("forked_last");
	child_do(&child, 'r');
	mark("rest_dropped");
	child_exit(&child);
	mark("third_gone");

	must(munmap(place(0), HUGE), "munmap");
	mark("freed");
	return 0;
}
