// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What one process, and then two, can do to parts of anonymous huge pages: protect, unmap, drop,
 * move, lock, free lazily, copy on write. No table: `mapcount verify` holds every mark against the
 * kernel's own counters.
 */
#include "story.h"

static char *cow;

static void act(char command)
{
	if (command == 'w')
		write_pages(cow, 0, 1);
	else if (command == 'W')
		write_pages(cow, 0, 32);
}

static void parts(void)
{
	char *a = place(0), *b = place(1);

	map_huge(a);
	map_huge(b);
	mark("faulted");
	must(mprotect(a + 100 * PAGE, 10 * PAGE, PROT_READ), "mprotect");
	mark("protected_part");
	must(mprotect(b, HUGE, PROT_READ), "mprotect");
	must(mprotect(b, HUGE, PROT_READ | PROT_WRITE), "mprotect");
	mark("protected_whole");
	must(munmap(b + 256 * PAGE, 256 * PAGE), "munmap");
	mark("unmapped_half");
	must(madvise(a + 8 * PAGE, 8 * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	mark("dropped_part");
	write_pages(a, 0, 32);
	mark("filled_again");
	must(madvise(a, HUGE, MADV_DONTNEED), "MADV_DONTNEED");
	mark("dropped_whole");
	must(munmap(a, HUGE) || munmap(b, HUGE), "munmap");
	mark("parts_gone");
}

static void moves(void)
{
	char *a = place(2), *b = place(3), *c = place(4);

	map_huge(a);
	must(mremap(a, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, b) != b, "mremap");
	mark("moved_aligned");
	must(mremap(b, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, c + PAGE) != c + PAGE, "mremap");
	mark("moved_unaligned");
	must(mremap(c + PAGE, HUGE, HUGE / 2, 0) != c + PAGE, "mremap");
	mark("shrunk");
	must(munmap(c + PAGE, HUGE / 2), "munmap");
	map_huge(a);
	if (mremap(a, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, b) == b) {
		mark("moved_dontunmap");
		must(munmap(b, HUGE), "munmap");
	} else {
		note("moved_dontunmap", strerror(errno));
	}
	must(munmap(a, HUGE), "munmap");
	mark("moves_gone");
}

static void lazily(void)
{
	char *a = place(5), *b = place(6);

	map_huge(a);
	map_huge(b);
	must(madvise(a, HUGE, MADV_FREE), "MADV_FREE");
	mark("freed_whole");
	must(madvise(b, 64 * PAGE, MADV_FREE), "MADV_FREE");
	mark("freed_part");
	/* Lazily freed pages need no swap to go. */
	if (madvise(a, HUGE, MADV_PAGEOUT) || madvise(b, 32 * PAGE, MADV_PAGEOUT))
		note("freed_reclaimed", strerror(errno));
	else
		mark("freed_reclaimed");
	must(munmap(a, HUGE) || munmap(b, HUGE), "munmap");
	mark("lazy_gone");
}

static void locks(void)
{
	char *a = place(7);

	map_huge(a);
	must(mlock(a, HUGE), "mlock");
	mark("locked");
	must(munlock(a + 16 * PAGE, 16 * PAGE), "munlock");
	mark("unlocked_part");
	must(munlock(a, HUGE), "munlock");
	if (madvise(a, HUGE, MADV_COLD))
		note("cold", strerror(errno));
	mark("unlocked");
	must(munmap(a, HUGE), "munmap");
	mark("locks_gone");
}

static void copies(void)
{
	struct child child;

	cow = place(8);
	map_huge(cow);
	child = child_start(act);
	mark("shared");
	child_do(&child, 'w');
	mark("child_wrote");
	write_pages(cow, 0, 1);
	mark("both_wrote");
	child_do(&child, 'W');
	mark("child_wrote_more");
	write_pages(cow, 16, 64);
	mark("parent_wrote_more");
	child_exit(&child);
	mark("child_gone");
	write_pages(cow, 0, PAGES);
	mark("reused");
	must(munmap(cow, HUGE), "munmap");
	mark("copies_gone");
	/* An unsplit huge page that is the writer's alone again is reused as a whole. */
	map_huge(cow);
	child = child_start(act);
	child_exit(&child);
	write_pages(cow, 0, 1);
	mark("reused_whole");
}

int main(void)
{
	parts();
	moves();
	lazily();
	locks();
	copies();
	return 0;
}
