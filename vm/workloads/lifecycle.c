// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of one anonymous huge page: born, shared by three processes, mapped both ways at once,
 * partially unmapped, split, freed. lifecycle.toml says what the kernel counts at every mark.
 */
#include "story.h"

static char *const region = (char *)0x700000000000UL;

/* Commands: 's' splits this process's PMD mapping, 'u' unmaps the page in the middle. */
static void act(char command)
{
	char *middle = region + 256 * PAGE;

	if (command == 's')
		must(mprotect(middle, PAGE, PROT_READ), "mprotect in the child");
	else if (command == 'u')
		must(munmap(middle, PAGE), "munmap in the child");
}

int main(void)
{
	struct child splitter, keeper;

	must(mmap(region, HUGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != region, "mmap");
	ask_huge(region, HUGE);
	/*
	 * No page may stay zero: since 6.12 a split maps the zero page instead of such pages and
	 * frees them (try_to_map_unused_to_zeropage). One PMD maps them all, so only the first
	 * write faults.
	 */
	for (unsigned long page = 0; page < PAGES; page++)
		region[page * PAGE] = 1;
	if (smaps_kib(region, "AnonHugePages:") != (long)(HUGE / 1024))
		die(NO_HUGE_PAGE, "the kernel gave no huge page: free some memory and allow "
		    "/sys/kernel/mm/transparent_hugepage/enabled");
	/* From here on khugepaged has no business in this mapping; this changes no page table. */
	must(madvise(region, HUGE, MADV_NOHUGEPAGE), "madvise");
	mark("faulted");

	splitter = child_start(act);
	keeper = child_start(act);
	mark("forked");

	child_do(&splitter, 's');
	mark("child_split");
	child_do(&splitter, 'u');
	mark("child_unmapped");

	must(mprotect(region + 128 * PAGE, PAGE, PROT_READ), "mprotect");
	mark("parent_split");

	/* The keeper holds the last PMD mapping; it goes first, so that DoubleMap ends alone. */
	child_exit(&keeper);
	mark("first_exit");
	child_exit(&splitter);
	mark("second_exit");

	must(munmap(region + 64 * PAGE, 32 * PAGE), "munmap");
	mark("partial");
	if (can_split("folio_split")) {
		split_folios(region, HUGE);
		mark("folio_split");
	}
	must(munmap(region, HUGE), "munmap");
	mark("freed");
	return 0;
}
