// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages of the hugetlb pool: private and shared, forked, copied on write, migrated, with shared
 * page tables, of 2 MiB and, where the processor has them, of 1 GiB.
 */
#include "story.h"

#define HUGEPAGES "/sys/kernel/mm/hugepages/hugepages-"
#define GIGA (512 * HUGE)

static char *shared, *private;
static int file;

static void act(char command)
{
	if (command == 'w')
		private[0] = 2;
	else if (command == 't')
		shared[0] = 2;
	else if (command == 'u')
		must(munmap(private + HUGE, HUGE), "munmap in the child");
}

static char *map_pool(char *at, size_t size, int flags, int fd)
{
	must(mmap(at, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0) != at,
	     "mmap of hugetlb pages");
	return at;
}

static void anonymous(void)
{
	struct child child;

	private = map_pool(place(0), 3 * HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	for (int n = 0; n < 3; n++)
		private[n * HUGE] = 1;
	mark("faulted");
	child = child_start(act);
	mark("forked");
	child_do(&child, 'w');
	mark("child_copied");
	private[0] = 3;
	mark("parent_wrote");
	child_do(&child, 'u');
	mark("child_unmapped");
	private[2 * HUGE] = 3;
	mark("parent_copied");
	must(madvise(private + HUGE, HUGE, MADV_DONTNEED) && errno != EINVAL, "MADV_DONTNEED");
	mark("dropped");
	child_exit(&child);
	mark("child_gone");
	must(munmap(private, 3 * HUGE), "munmap");
	mark("anonymous_gone");
}

static void of_file(void)
{
	struct child child;

	file = memfd_create("hugetlb", MFD_CLOEXEC | MFD_HUGETLB);
	must(file < 0 || ftruncate(file, 2 * HUGE), "memfd_create");
	shared = map_pool(place(1), 2 * HUGE, MAP_SHARED, file);
	shared[0] = 1;
	shared[HUGE] = 1;
	/* A private mapping of the file copies what it writes. */
	private = map_pool(place(2), 2 * HUGE, MAP_PRIVATE, file);
	(void)*(volatile char *)private;
	mark("file_mapped");
	child = child_start(act);
	mark("file_forked");
	child_do(&child, 't');
	mark("file_child");
	private[0] = 3;
	mark("file_copied");
	child_exit(&child);
	mark("file_child_gone");
	if (madvise(shared + HUGE, HUGE, MADV_SOFT_OFFLINE))
		note("file_soft_offline", strerror(errno));
	mark("file_soft_offline");
	must(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE), "fallocate");
	mark("file_punched");
	must(munmap(shared, 2 * HUGE) || munmap(private, 2 * HUGE), "munmap");
	close(file);
	mark("file_gone");
}

/* A mapping of a whole GiB: two processes share one page table, and one mapping, of it. */
static void shared_tables(void)
{
	struct child child;

	file = memfd_create("tables", MFD_CLOEXEC | MFD_HUGETLB);
	must(file < 0 || ftruncate(file, GIGA), "memfd_create");
	shared = map_pool((char *)0x710000000000UL, GIGA, MAP_SHARED | MAP_NORESERVE, file);
	shared[0] = 1;
	shared[HUGE] = 1;
	mark("tables_mapped");
	child = child_start(act);
	child_do(&child, 't');
	mark("tables_shared");
	/* A part of the GiB goes: the tables are unshared. */
	must(munmap(shared + GIGA / 2, GIGA / 2), "munmap");
	mark("tables_unshared");
	shared[0] = 3;
	mark("tables_touched");
	child_exit(&child);
	must(munmap(shared, GIGA / 2), "munmap");
	close(file);
	mark("tables_gone");
}

static void giga(void)
{
	struct child child;

	if (put(HUGEPAGES "1048576kB/nr_hugepages", "1") ||
	    get(HUGEPAGES "1048576kB/nr_hugepages") < 1) {
		note("giga_faulted", "no page of 1 GiB: the processor or the free memory lacks it");
		return;
	}
	/* 30 << MAP_HUGE_SHIFT: pages of 1 GiB. */
	shared = map_pool((char *)0x720000000000UL, GIGA,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | 30 << 26, -1);
	shared[0] = 1;
	mark("giga_faulted");
	child = child_start(act);
	child_do(&child, 't');
	mark("giga_shared");
	child_exit(&child);
	mark("giga_child_gone");
	must(munmap(shared, GIGA), "munmap");
	mark("giga_unmapped");
	must(put(HUGEPAGES "1048576kB/nr_hugepages", "0"), "nr_hugepages");
	mark("giga_gone");
}

int main(void)
{
	if (access("/sys/kernel/mm/hugepages", F_OK))
		skip("the kernel has no hugetlb pages");
	if (put(HUGEPAGES "2048kB/nr_hugepages", "12") ||
	    get(HUGEPAGES "2048kB/nr_hugepages") < 12)
		skip("no hugetlb pages of 2 MiB: free some memory");
	mark("pool");
	anonymous();
	of_file();
	shared_tables();
	must(put(HUGEPAGES "2048kB/nr_hugepages", "0"), "nr_hugepages");
	mark("pool_gone");
	giga();
	return 0;
}
