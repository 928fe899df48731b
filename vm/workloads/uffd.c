// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages that userfaultfd puts into place: copies, zeroes, pages of a file that are there already
 * (continue), and pages moved from elsewhere.
 */
#include "story.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* Newer than the headers of some hosts. */
#define MODE_MISSING 1
#define MODE_MINOR 4
#define FEATURE_MINOR_HUGETLBFS (1 << 9)
#define FEATURE_MINOR_SHMEM (1 << 10)
struct fill { uint64_t to, size, mode; int64_t done; };
struct move { uint64_t to, from, size, mode; int64_t done; };
#define CONTINUE _IOWR(0xAA, 7, struct fill)
#define MOVE _IOWR(0xAA, 5, struct move)

static char *file;

static void act(char command)
{
	if (command == 'w')
		write_pages(place(0), 0, 8);
}

/* A descriptor for faults that nobody waits for, or -1. */
static int open_uffd(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int serve(int fd, char *at, uint64_t mode)
{
	struct uffdio_register span = {.range = {(uintptr_t)at, HUGE}, .mode = mode};

	return ioctl(fd, UFFDIO_REGISTER, &span);
}

static void copies(int fd)
{
	struct child child;
	struct uffdio_copy copy = {.src = (uintptr_t)place(1)};

	map_huge(place(1));
	write_pages(place(1), 0, PAGES);
	map_huge(place(0));
	must(serve(fd, place(0), MODE_MISSING), "UFFDIO_REGISTER");
	must(madvise(place(0), 64 * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	mark("dropped");
	copy.dst = (uintptr_t)place(0);
	copy.len = 32 * PAGE;
	must(ioctl(fd, UFFDIO_COPY, &copy), "UFFDIO_COPY");
	mark("copied");
	child = child_start(act);
	child_do(&child, 'w');
	mark("child_wrote");
	child_exit(&child);
	must(munmap(place(0), HUGE), "munmap");
	mark("copies_gone");
}

static const char pool[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/* The same for a page of the hugetlb pool. */
static void copies_huge(int fd)
{
	int memory = memfd_create("uffd-huge", MFD_CLOEXEC | MFD_HUGETLB);
	struct uffdio_copy copy = {.src = (uintptr_t)place(1), .len = HUGE};
	char *at = place(5);

	put(pool, "2");
	if (memory < 0 || get(pool) < 2 || ftruncate(memory, HUGE)) {
		note("huge_copied", "no hugetlb pages of 2 MiB: free some memory");
		return;
	}
	must(mmap(at, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, memory, 0) !=
	     at, "mmap of a hugetlb page");
	must(serve(fd, at, MODE_MISSING), "UFFDIO_REGISTER of a hugetlb page");
	copy.dst = (uintptr_t)at;
	must(ioctl(fd, UFFDIO_COPY, &copy), "UFFDIO_COPY of a hugetlb page");
	mark("huge_copied");
	must(munmap(at, HUGE), "munmap");
	close(memory);
	must(put(pool, "0"), pool);
	mark("huge_gone");
}

static int move(int fd, char *to, char *from, size_t size)
{
	struct move request = {(uintptr_t)to, (uintptr_t)from, size, 0, 0};

	return ioctl(fd, MOVE, &request);
}

static void moves(int fd)
{
	char *to = place(2), *from = place(3);

	map_anon(to, HUGE);
	must(madvise(to, HUGE, MADV_NOHUGEPAGE), "madvise");
	must(serve(fd, to, MODE_MISSING), "UFFDIO_REGISTER");
	map_huge(from);
	write_pages(from, 0, PAGES);
	if (move(fd, to, from, HUGE)) {
		note("moved_whole", strerror(errno));
		return;
	}
	mark("moved_whole");
	must(munmap(to, HUGE), "munmap");
	map_anon(to, HUGE);
	must(madvise(to, HUGE, MADV_NOHUGEPAGE), "madvise");
	must(serve(fd, to, MODE_MISSING), "UFFDIO_REGISTER");
	must(munmap(from, HUGE), "munmap");
	map_huge(from);
	write_pages(from, 0, PAGES);
	if (move(fd, to + 16 * PAGE, from + 8 * PAGE, 16 * PAGE))
		note("moved_part", strerror(errno));
	mark("moved_part");
	must(munmap(to, HUGE) || munmap(from, HUGE), "munmap");
	mark("moves_gone");
}

static void continues(void)
{
	int fd = open_uffd(FEATURE_MINOR_SHMEM), memory = memfd_create("uffd", MFD_CLOEXEC);
	struct fill request = {0, 32 * PAGE, 0, 0};

	must(memory < 0 || ftruncate(memory, HUGE), "memfd_create");
	file = place(4);
	if (fd < 0) {
		note("continued", "no minor faults of memory files");
		return;
	}
	must(mmap(file, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, memory, 0) !=
	     file, "mmap");
	ask_huge(file, HUGE);
	write_pages(file, 0, 1);
	if (smaps_kib(file, "ShmemPmdMapped:") != (long)(HUGE / 1024))
		die(NO_HUGE_PAGE, "the kernel gave no huge page: write advise to "
		    "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	must(serve(fd, file, MODE_MINOR), "UFFDIO_REGISTER");
	must(madvise(file, HUGE, MADV_DONTNEED), "MADV_DONTNEED");
	mark("file_dropped");
	request.to = (uintptr_t)file + 16 * PAGE;
	if (ioctl(fd, CONTINUE, &request))
		note("continued", strerror(errno));
	mark("continued");
	must(munmap(file, HUGE), "munmap");
	close(memory);
	close(fd);
	mark("continues_gone");
}

/*
 * A private mapping of a hugetlb file goes on with the file's page, which is mapped as shared, too:
 * it stays the file's until somebody writes.
 */
static void continues_huge(void)
{
	int fd = open_uffd(FEATURE_MINOR_HUGETLBFS);
	int memory = memfd_create("uffd-huge-private", MFD_CLOEXEC | MFD_HUGETLB);
	char *shared = place(6), *private = place(7);
	struct fill request = {(uintptr_t)private, HUGE, 0, 0};

	if (fd < 0) {
		note("huge_continued", "no minor faults of hugetlb files");
		return;
	}
	put(pool, "2");
	if (memory < 0 || get(pool) < 2 || ftruncate(memory, HUGE)) {
		note("huge_continued", "no hugetlb pages of 2 MiB: free some memory");
		return;
	}
	must(mmap(shared, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, memory,
		  0) != shared, "mmap of a hugetlb page");
	shared[0] = 1;
	must(mmap(private, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, memory,
		  0) != private, "private mmap of a hugetlb page");
	must(serve(fd, private, MODE_MINOR), "UFFDIO_REGISTER of a hugetlb page");
	mark("huge_shared");
	if (ioctl(fd, CONTINUE, &request))
		note("huge_continued", strerror(errno));
	mark("huge_continued");
	must(munmap(private, HUGE), "munmap");
	mark("private_gone");
	must(munmap(shared, HUGE), "munmap");
	close(memory);
	close(fd);
	must(put(pool, "0"), pool);
	mark("huge_continues_gone");
}

int main(void)
{
	int fd = open_uffd(0);

	if (fd < 0)
		skip("userfaultfd: %s", strerror(errno));
	copies(fd);
	copies_huge(fd);
	moves(fd);
	continues();
	continues_huge();
	return 0;
}
