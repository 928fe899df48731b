// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Huge pages of files in memory: truncated, punched, dropped, privately copied, on a tmpfs that
 * gives every file huge pages.
 */
#include "story.h"

#include <sys/mount.h>
#include <sys/stat.h>

static const char folder[] = "/run/file-thp";
static char *shared;

static void act(char command)
{
	if (command == 't')
		write_pages(shared, 0, 64);
	else if (command == 'u')
		must(munmap(shared, HUGE / 2), "munmap in the child");
}

static char *map_file(int n, int fd, int flags, size_t size)
{
	must(mmap(place(n), size, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0) !=
	     place(n), "mmap");
	return place(n);
}

static void must_be_huge(char *at)
{
	if (smaps_kib(at, "ShmemPmdMapped:") < (long)(HUGE / 1024))
		die(NO_HUGE_PAGE, "the kernel gave no huge page: free some memory and write advise "
		    "to /sys/kernel/mm/transparent_hugepage/shmem_enabled");
}

static void memory_file(void)
{
	int fd = memfd_create("file-thp", MFD_CLOEXEC);
	struct child child, copier;
	char *private;

	must(fd < 0 || ftruncate(fd, 2 * HUGE), "memfd_create");
	shared = map_file(0, fd, MAP_SHARED, 2 * HUGE);
	ask_huge(shared, 2 * HUGE);
	write_pages(shared, 0, 1);
	write_pages(shared, PAGES, PAGES + 1);
	must_be_huge(shared);
	mark("faulted");
	child = child_start(act);
	child_do(&child, 't');
	mark("child_mapped");
	child_do(&child, 'u');
	mark("child_unmapped");
	must(madvise(shared, 2 * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	mark("dropped_part");
	write_pages(shared, 0, 4);
	mark("mapped_again");
	/* A private mapping reads the file's page and copies what it writes. */
	private = map_file(2, fd, MAP_PRIVATE, 2 * HUGE);
	for (unsigned long page = 0; page < 40; page++)
		(void)*(volatile char *)(private + page * PAGE);
	mark("private_read");
	write_pages(private, 8, 48);
	mark("private_wrote");
	/* A private mapping that has copied something is forked page by page, the file's included. */
	copier = child_start(act);
	mark("private_forked");
	child_exit(&copier);
	mark("private_fork_gone");
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16 * PAGE, 16 * PAGE),
	     "fallocate");
	mark("punched_part");
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE), "fallocate");
	mark("punched_whole");
	must(ftruncate(fd, HUGE + 100 * PAGE), "ftruncate");
	mark("truncated_part");
	must(ftruncate(fd, 0), "ftruncate");
	mark("truncated_whole");
	child_exit(&child);
	must(munmap(shared, 2 * HUGE) || munmap(private, 2 * HUGE), "munmap");
	close(fd);
	mark("memory_file_gone");
}

static void tmpfs(void)
{
	static char data[HUGE];
	struct child child;
	int fd;

	mkdir(folder, 0700);
	if (mount("none", folder, "tmpfs", 0, "huge=always,size=256m")) {
		note("tmpfs", strerror(errno));
		return;
	}
	fd = open("/run/file-thp/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd < 0, "/run/file-thp/file");
	memset(data, 1, sizeof(data));
	must(write(fd, data, HUGE) != (ssize_t)HUGE || write(fd, data, HUGE) != (ssize_t)HUGE,
	     "write to tmpfs");
	shared = map_file(6, fd, MAP_SHARED, 2 * HUGE);
	/* Read: the kernel maps the pages around the one that is touched as well. */
	(void)*(volatile char *)shared;
	(void)*(volatile char *)(shared + HUGE + 8 * PAGE);
	mark("tmpfs_read");
	write_pages(shared, 0, 1);
	write_pages(shared, PAGES + 300, PAGES + 301);
	mark("tmpfs_mapped");
	child = child_start(act);
	child_do(&child, 't');
	mark("tmpfs_child");
	must(mprotect(shared, PAGE, PROT_READ), "mprotect");
	mark("tmpfs_split");
	must(unlink("/run/file-thp/file"), "unlink");
	must(ftruncate(fd, 20 * PAGE), "ftruncate");
	mark("tmpfs_truncated");
	child_exit(&child);
	must(munmap(shared, 2 * HUGE), "munmap");
	close(fd);
	must(umount(folder), "umount");
	mark("tmpfs_gone");
}

int main(void)
{
	memory_file();
	tmpfs();
	return 0;
}
