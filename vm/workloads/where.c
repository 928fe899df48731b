// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where huge pages are mapped: by a parent and its child, moved to addresses that are no multiple
 * of their size, dropped in part, and twice in one process. places/where.toml says which process
 * maps what at every mark.
 */
#include "story.h"

static char *const region = (char *)0x700000000000UL;

static void move(char *from, unsigned long pages, char *to)
{
	must(mremap(from, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to,
	     "mremap");
}

/* Commands: 'm' moves the second half of the huge page, 'd' drops 16 pages of the first. */
static void act(char command)
{
	if (command == 'm')
		move(region + 256 * PAGE, 256, place(4) + PAGE);
	else if (command == 'd')
		must(munmap(region + 16 * PAGE, 16 * PAGE), "munmap in the child");
}

/* Maps the file, and touches all of it: a read would map the pages around it as well. */
static void map_file(int fd, char *at)
{
	must(mmap(at, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) != at,
	     "mmap of the file");
	ask_huge(at, HUGE);
	write_pages(at, 0, PAGES);
}

int main(void)
{
	int fd = memfd_create("where", MFD_CLOEXEC);
	struct child child;

	must(fd < 0, "memfd_create");
	must(ftruncate(fd, HUGE), "ftruncate");
	map_huge(region);
	write_pages(region, 0, PAGES);
	mark("faulted");

	child = child_start(act);
	mark("forked");
	child_do(&child, 'm');
	mark("child_moved");
	child_do(&child, 'd');
	mark("child_dropped");
	move(region, PAGES, place(8) + PAGE);
	mark("parent_moved");

	map_file(fd, place(12));
	if (smaps_kib(place(12), "ShmemPmdMapped:") != (long)(HUGE / 1024))
		die(NO_HUGE_PAGE, "the kernel gave no huge page: free some memory and write advise "
		    "to /sys/kernel/mm/transparent_hugepage/shmem_enabled");
	mark("file_mapped");
	map_file(fd, place(16) + 8 * PAGE);
	mark("file_twice");

	child_exit(&child);
	mark("child_gone");
	must(munmap(place(8) + PAGE, HUGE), "munmap");
	must(munmap(place(12), HUGE) || munmap(place(16) + 8 * PAGE, HUGE), "munmap of the file");
	close(fd);
	mark("freed");
	return 0;
}
