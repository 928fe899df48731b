// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Small pages that become huge ones: by MADV_COLLAPSE and by khugepaged, anonymous, shared with
 * another process, and of a memory file.
 */
#include "story.h"

#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"

static char *file, *watched;
static const char *watched_key;

static void act(char command)
{
	if (command == 't')
		write_pages(file, 0, 48);
	else if (command == 'r')
		write_pages(file, 100, 101);
}

/* A huge page that was split into small ones: khugepaged has something to do. */
static void map_split(char *at)
{
	map_huge(at);
	write_pages(at, 0, PAGES);
	split_folios(at, HUGE);
}

static int is_huge(void)
{
	return smaps_kib(watched, watched_key) == (long)(HUGE / 1024);
}

/* Lets khugepaged work until a region is one huge page. */
static int scan(char *at, const char *key)
{
	int failed;

	watched = at;
	watched_key = key;
	ask_huge(at, HUGE);
	must(put(KHUGEPAGED "pages_to_scan", "65536"), KHUGEPAGED "pages_to_scan");
	must(put(KHUGEPAGED "alloc_sleep_millisecs", "10"), KHUGEPAGED "alloc_sleep_millisecs");
	must(put(KHUGEPAGED "scan_sleep_millisecs", "10"), KHUGEPAGED "scan_sleep_millisecs");
	failed = wait_until(is_huge, 8);
	must(put(KHUGEPAGED "scan_sleep_millisecs", "3600000"), "scan_sleep_millisecs");
	must(madvise(at, HUGE, MADV_NOHUGEPAGE), "madvise");
	usleep(50000); /* khugepaged finishes its round */
	return failed;
}

static void anonymous(void)
{
	struct child child;

	map_split(place(0));
	map_split(place(1));
	map_split(place(2));
	mark("split");
	/* Holes are filled with zeroes. */
	must(madvise(place(0) + 16 * PAGE, 16 * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	ask_huge(place(0), HUGE);
	if (madvise(place(0), HUGE, MADV_COLLAPSE))
		note("collapsed", strerror(errno));
	else
		mark("collapsed");
	child = child_start(act);
	ask_huge(place(1), HUGE);
	/* On most kernels only a region with at least one writable page is collapsed. */
	write_pages(place(1), 0, 1);
	if (madvise(place(1), HUGE, MADV_COLLAPSE))
		note("collapsed_shared", strerror(errno));
	else
		mark("collapsed_shared");
	child_exit(&child);
	mark("child_gone");
	write_pages(place(2), 0, 1);
	if (scan(place(2), "AnonHugePages:"))
		note("khugepaged", "khugepaged left the region alone");
	mark("khugepaged");
	must(munmap(place(0), HUGE) || munmap(place(1), HUGE) || munmap(place(2), HUGE), "munmap");
	mark("anonymous_gone");
}

static void memory_file(void)
{
	struct child child;
	int fd = memfd_create("collapse", MFD_CLOEXEC);

	file = place(3);
	must(fd < 0 || ftruncate(fd, HUGE), "memfd_create");
	must(mmap(file, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) !=
	     file, "mmap");
	ask_huge(file, HUGE);
	write_pages(file, 0, PAGES);
	if (smaps_kib(file, "ShmemPmdMapped:") != (long)(HUGE / 1024))
		die(NO_HUGE_PAGE, "the kernel gave no huge page: write advise to "
		    "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	/* A hole splits the folio; filled again, it is 512 small pages. */
	must(madvise(file, HUGE, MADV_NOHUGEPAGE), "madvise");
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 32 * PAGE), "fallocate");
	write_pages(file, 0, PAGES);
	child = child_start(act);
	child_do(&child, 't');
	mark("file_split");
	ask_huge(file, HUGE);
	if (madvise(file, HUGE, MADV_COLLAPSE))
		note("file_collapsed", strerror(errno));
	else
		mark("file_collapsed");
	child_do(&child, 'r');
	mark("file_touched");
	if (scan(file, "ShmemPmdMapped:"))
		note("file_khugepaged", "khugepaged left the file alone");
	write_pages(file, 0, 1);
	mark("file_khugepaged");
	child_do(&child, 'r');
	mark("file_touched_again");
	child_exit(&child);
	must(munmap(file, HUGE), "munmap");
	mark("file_unmapped");
	close(fd);
	mark("file_gone");
}

int main(void)
{
	anonymous();
	memory_file();
	return 0;
}
