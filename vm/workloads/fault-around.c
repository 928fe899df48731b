// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A file's huge page, the end of which is mapped by fault-around in one process while another one
 * truncates the file.
 */
#include "story.h"

#include <sys/mount.h>
#include <sys/stat.h>

/* The last pages of the folio are mapped, and the file is cut off before them. */
#define MAPPED 12
#define FIRST (PAGES - MAPPED)
#define LEFT (FIRST - 2)
/* What one fault maps at most. */
#define SPAN (16 * PAGE)
#define ROUNDS 6

static const char folder[] = "/run/fault-around";
static char *at;
static volatile int *begun;
static int sink;

static void act(char command)
{
	if (command == 'f') {
		*begun = 1;
		/* The kernel reads it, so that beyond the file's end there is an error, no signal. */
		if (write(sink, at, 1) < 0 && errno != EFAULT)
			die(1, "write: %s", strerror(errno));
	} else if (command == 'z') {
		must(madvise(at, MAPPED * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	}
}

/* The child touches the mapping, and meanwhile, or so long after, the file is truncated. */
static void touch_and_truncate(struct child *child, int fd, useconds_t pause)
{
	char byte = 'f';

	*begun = 0;
	if (write(child->command, &byte, 1) != 1)
		die(1, "the child is gone");
	while (!*begun)
		usleep(100);
	usleep(pause);
	must(ftruncate(fd, LEFT * PAGE), "ftruncate");
	if (read(child->answer, &byte, 1) != 1)
		die(1, "the child died of a fault");
}

int main(void)
{
	static char data[HUGE];
	struct child child;
	int fd, ends[2];

	mkdir(folder, 0700);
	if (mount("none", folder, "tmpfs", 0, "huge=always,size=64m"))
		skip("tmpfs with huge pages: %s", strerror(errno));
	fd = open("/run/fault-around/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd < 0 || pipe(ends), "/run/fault-around/file");
	sink = ends[1];
	memset(data, 1, sizeof(data));
	must(pwrite(fd, data, HUGE, 0) != (ssize_t)HUGE, "pwrite");
	at = place(0);
	must(mmap(at, MAPPED * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd,
		  FIRST * PAGE) != at, "mmap");
	/* Other pages in the same page table. */
	map_anon(at + 2 * SPAN, SPAN);
	must(madvise(at + 2 * SPAN, SPAN, MADV_NOHUGEPAGE), "madvise");
	write_pages(at + 2 * SPAN, 0, SPAN / PAGE);
	begun = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(begun == MAP_FAILED, "mmap");
	(void)*(volatile char *)(at + 8 * PAGE);
	mark("mapped");
	child = child_start(act);
	child_do(&child, 'f');
	mark("child_mapped");
	must(ftruncate(fd, LEFT * PAGE), "ftruncate");
	mark("truncated");
	for (int round = 0; round < ROUNDS; round++) {
		child_do(&child, 'z');
		must(ftruncate(fd, 0), "ftruncate");
		must(pwrite(fd, data, HUGE, 0) != (ssize_t)HUGE, "pwrite");
		touch_and_truncate(&child, fd, round % 2 ? 0 : 20000);
		mark("truncated_beside");
	}
	child_exit(&child);
	must(munmap(at, MAPPED * PAGE), "munmap");
	close(fd);
	must(unlink("/run/fault-around/file") || umount(folder), "umount");
	mark("file_gone");
	return 0;
}
