// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Huge pages of which a part is unmapped and the rest keeps all of their memory: one stays so, one
 * is split, one cannot be split for its pages are in a pipe, and one is kept by a page of a child.
 *
 * A mark's name ends with how many such folios there are by the kernel's own counter, or -1 before
 * 6.12: "dropped 3".  How much is kept at each mark is in tests/kernel/test_waste.py.
 */
#include "story.h"

#include <sys/uio.h>

#define PARTIALLY_MAPPED \
	"/sys/kernel/mm/transparent_hugepage/hugepages-%lukB/stats/nr_anon_partially_mapped"

static void tell(const char *name)
{
	char path[128], text[48];

	snprintf(path, sizeof(path), PARTIALLY_MAPPED, HUGE / 1024);
	snprintf(text, sizeof(text), "%s %ld", name, get(path));
	mark(text);
}

/* The child unmaps all of a huge page but one page. */
static void act(char command)
{
	(void)command;
	must(munmap(place(3), 7 * PAGE) || munmap(place(3) + 8 * PAGE, HUGE - 8 * PAGE),
	     "munmap in the child");
}

/* The kernel splits what only one process maps where a part of it is to be reclaimed first. */
static void split_for_cold(char *at)
{
	must(madvise(at, 8 * PAGE, MADV_COLD), "MADV_COLD");
}

int main(void)
{
	struct iovec span = {place(2) + 200 * PAGE, 3 * PAGE};
	char taken[3 * PAGE];
	struct child child;
	int pipes[2];

	for (int n = 0; n < 4; n++)
		map_huge(place(n));
	/* The child is to have the last one alone. */
	must(madvise(place(0), HUGE, MADV_DONTFORK) || madvise(place(1), HUGE, MADV_DONTFORK) ||
	     madvise(place(2), HUGE, MADV_DONTFORK), "MADV_DONTFORK");
	tell("whole");

	must(munmap(place(0) + 64 * PAGE, 32 * PAGE), "munmap");
	must(madvise(place(1), 256 * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	must(munmap(place(2), 100 * PAGE), "munmap");
	tell("dropped");

	child = child_start(act);
	child_do(&child, 'd');
	tell("child_dropped");
	must(munmap(place(3), HUGE), "munmap");
	tell("kept_by_child");

	must(pipe(pipes), "pipe");
	must(vmsplice(pipes[1], &span, 1, 0) != (ssize_t)span.iov_len, "vmsplice");
	split_for_cold(place(2) + 300 * PAGE);
	tell("split_refused");
	must(read(pipes[0], taken, sizeof(taken)) != (ssize_t)sizeof(taken), "read");
	split_for_cold(place(1) + 300 * PAGE);
	tell("split");

	child_exit(&child);
	tell("child_gone");
	must(munmap(place(0), HUGE) || munmap(place(1), HUGE) || munmap(place(2), HUGE), "munmap");
	tell("freed");
	return 0;
}
