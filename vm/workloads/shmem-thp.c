// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of one huge page of a file in memory: what differs from an anonymous one. fork copies
 * no page table, splitting a PMD mapping drops it, and a hole in the file splits the folio.
 * shmem-thp.toml says what the kernel counts at every mark.
 */
#include "story.h"

static char *const region = (char *)0x700000000000UL;

/* Every touch is a write: a read would map the pages around it as well (fault-around). */
static void touch(unsigned long first, unsigned long end)
{
	for (unsigned long page = first; page < end; page++)
		((volatile char *)region)[page * PAGE] = 1;
}

static void act(char command)
{
	if (command == 'm')
		touch(0, 1);
	else if (command == 's')
		must(mprotect(region + 256 * PAGE, PAGE, PROT_READ), "mprotect in the child");
	else if (command == 't') {
		touch(0, 64);
		touch(300, 301);
	} else if (command == 'r')
		touch(32, 48);
}

int main(void)
{
	struct child child;
	long huge;
	int fd = memfd_create("shmem-thp", MFD_CLOEXEC);

	must(fd < 0, "memfd_create");
	must(ftruncate(fd, HUGE), "ftruncate");
	must(mmap(region, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) !=
	     region, "mmap");
	ask_huge(region, HUGE);
	touch(0, 1);
	huge = smaps_kib(region, "ShmemPmdMapped:");
	/* Without CONFIG_BASE_FULL the page cache has no room for them: an xarray's node is small. */
	if (!huge && access("/proc/self/smaps", F_OK))
		skip("the kernel gives files in memory no huge pages");
	if (huge != (long)(HUGE / 1024))
		die(NO_HUGE_PAGE, "the kernel gave no huge page: free some memory and write advise "
		    "to /sys/kernel/mm/transparent_hugepage/shmem_enabled");
	mark("faulted");

	child = child_start(act);
	mark("forked");
	child_do(&child, 'm');
	mark("child_mapped");
	child_do(&child, 's');
	mark("child_split");
	child_do(&child, 't');
	mark("child_touched");

	must(munmap(region, HUGE), "munmap");
	mark("parent_unmapped");
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 32 * PAGE), "fallocate");
	mark("punched");
	child_do(&child, 'r');
	mark("child_retouched");

	child_exit(&child);
	mark("child_exit");
	close(fd);
	mark("freed");
	return 0;
}
