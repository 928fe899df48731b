// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bit 56 of /proc/PID/pagemap ("page exclusively mapped") of a huge page that is mapped by a PMD,
 * some pages of which a child has dropped. No privilege is needed; root also sees kpagecount.
 *
 *	cc -o t1 t1-exclusive.c && ./t1
 *
 * Exit status: 0 all answers are right, 1 one is wrong, 77 the kernel gave no huge page.
 */
#include "huge.h"

#include <fcntl.h>
#include <stdint.h>

static void read_at(const char *path, unsigned long index, uint64_t *values, size_t number)
{
	int fd = open(path, O_RDONLY);

	memset(values, 0, number * 8);
	if (fd < 0 || pread(fd, values, number * 8, index * 8) != (ssize_t)(number * 8))
		values[0] = 0;
	if (fd >= 0)
		close(fd);
}

static int wrong_after(char *at, unsigned long first, unsigned long pages)
{
	/* What the child keeps is mapped twice, what it dropped once: by this process. */
	unsigned long set = 0, once = 0, wrong = 0;
	uint64_t entries[PAGES], counts[PAGES];
	pid_t child = child_drops(at, first, pages);

	read_at("/proc/self/pagemap", (unsigned long)at / PAGE, entries, PAGES);
	read_at("/proc/kpagecount", entries[0] & ((1UL << 55) - 1), counts, PAGES);
	for (unsigned long page = 0; page < PAGES; page++) {
		int bit = entries[page] >> 56 & 1, right = page >= first && page < first + pages;

		set += bit;
		once += counts[page] == 1;
		wrong += bit != right;
	}
	printf("child dropped %3lu from page %lu: bit 56 is set for %3lu pages, right is %3lu; "
	       "wrong for %3lu", pages, first, set, pages, wrong);
	if (counts[0])
		printf("; by kpagecount %lu are mapped once", once);
	printf("; still a PMD mapping: %s\n",
	       smaps_kib(at, "AnonHugePages:") == (long)(HUGE / 1024) ? "yes" : "no");
	child_ends(child);
	return wrong != 0;
}

int main(void)
{
	char *at = huge_page(-1, "AnonHugePages:");
	int wrong = 0;

	wrong |= wrong_after(at, 0, 1);
	wrong |= wrong_after(at, 5, 1);
	wrong |= wrong_after(at, 1, PAGES - 1);
	return wrong;
}
