// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Folios of 64 KiB that reclaim unmaps page table by page table, many pages in one go: freed
 * lazily, droppable, shared in part, written again, and with a page that a device has for itself.
 *
 * The reclaim is that of a cgroup which has these folios alone.
 */
#include "story.h"

#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define SIZE "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
#define FOLIO (64UL << 10)
#define EACH (FOLIO / PAGE)
#define FOLIOS 8

/* Newer than the headers of some hosts: since 6.11. */
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif

/* lib/test_hmm_uapi.h, as it is since 6.0. */
struct mirror { uint64_t addr, ptr, npages, cpages, faults; };
#define MIRROR_EXCLUSIVE _IOWR('H', 5, struct mirror)

static const char group[] = "/run/reclaim-batch/workload";
static char *shared;

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (put(path, text))
		skip("%s: %s", path, strerror(errno));
}

/* Whoever is born later is in it, too. */
static void enter_group(void)
{
	char path[96];

	mkdir("/run/reclaim-batch", 0700);
	/* Busy: it has been there since this was run before. */
	if (mount("none", "/run/reclaim-batch", "cgroup2", 0, NULL) && errno != EBUSY)
		skip("cgroup2: %s", strerror(errno));
	write_file("/run/reclaim-batch", "cgroup.subtree_control", "+memory");
	mkdir(group, 0700);
	snprintf(path, sizeof(path), "%s/memory.reclaim", group);
	if (access(path, W_OK))
		skip("no cgroup can be told to reclaim its memory");
	write_file(group, "cgroup.procs", "0");
}

static int is_gone(char *at, size_t size)
{
	for (size_t done = 0; done < size; done += PAGE)
		if (frame_at(at + done))
			return 0;
	return 1;
}

/* A folio that was looked at lately is spared once, so it takes some rounds. */
static void reclaim(char *at, size_t size)
{
	for (int round = 0; round < 8 && !is_gone(at, size); round++) {
		char path[96];

		snprintf(path, sizeof(path), "%s/memory.reclaim", group);
		/* Seldom is there as much to reclaim. */
		if (put(path, "1M") && errno != EAGAIN)
			die(1, "memory.reclaim: %s", strerror(errno));
	}
}

/* A mapping of so many folios of 64 KiB, all pages of which are written. */
static int map_folios(char *at, int folios, int flags)
{
	must(put(SIZE, "always"), SIZE);
	if (mmap(at, folios * FOLIO, PROT_READ | PROT_WRITE,
		 flags | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
		return -1;
	write_pages(at, 0, folios * EACH);
	must(put(SIZE, "never"), SIZE);
	return 0;
}

static void must_be_gone(char *at, size_t size, const char *step)
{
	if (!is_gone(at, size))
		fprintf(stderr, "note: %s: reclaim left some pages\n", step);
	mark(step);
}

static void lazily(void)
{
	char *at = place(0);

	must(map_folios(at, FOLIOS, MAP_PRIVATE), "mmap");
	mark("faulted");
	must(madvise(at, FOLIOS * FOLIO, MADV_FREE), "MADV_FREE");
	mark("freed_lazily");
	reclaim(at, FOLIOS * FOLIO);
	must_be_gone(at, FOLIOS * FOLIO, "reclaimed");
	must(munmap(at, FOLIOS * FOLIO), "munmap");
}

static void droppable(void)
{
	char *at = place(1);

	if (map_folios(at, FOLIOS, MAP_DROPPABLE)) {
		note("dropped", "no mappings that are droppable");
		return;
	}
	mark("droppable");
	/* So that nothing looks used. */
	must(madvise(at, FOLIOS * FOLIO, MADV_FREE), "MADV_FREE");
	/* One hole, and one page of its own rights: the pages are unmapped in several batches. */
	must(madvise(at + 3 * PAGE, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	must(mprotect(at + FOLIO + 2 * PAGE, PAGE, PROT_READ), "mprotect");
	mark("parted");
	reclaim(at, FOLIOS * FOLIO);
	must_be_gone(at, FOLIOS * FOLIO, "dropped");
	must(munmap(at, FOLIOS * FOLIO), "munmap");
}

static void act(char command)
{
	volatile unsigned long *first = (volatile unsigned long *)(shared + FOLIO / 2);

	if (command == 'c' && *first != (unsigned long)shared + EACH / 2)
		die(1, "a child sees what its parent wrote after the fork");
	if (command == 'w')
		write_pages(shared, EACH - 2, EACH);
}

/* Half of a folio is shared with a child, and written protected; reclaim finds it dirty again. */
static void half_shared(void)
{
	struct child child;

	shared = place(2);
	must(map_folios(shared, 1, MAP_PRIVATE), "mmap");
	must(madvise(shared, FOLIO / 2, MADV_DONTFORK), "MADV_DONTFORK");
	child = child_start(act);
	must(madvise(shared, FOLIO / 2, MADV_DOFORK), "MADV_DOFORK");
	mark("half_shared");
	must(madvise(shared, FOLIO, MADV_FREE), "MADV_FREE");
	write_pages(shared, 0, 1);
	mark("half_freed");
	reclaim(shared, FOLIO);
	mark("half_kept");
	*(volatile unsigned long *)(shared + FOLIO / 2) = 0;
	child_do(&child, 'c');
	child_do(&child, 'w');
	mark("half_written");
	child_exit(&child);
	must(munmap(shared, FOLIO), "munmap");
	mark("half_gone");
}

/* The last page belongs to a device: it is still mapped, but its entry is not present. */
static void exclusive(void)
{
	static char buffer[PAGE];
	char *at = place(3);
	struct mirror request = {.addr = (uintptr_t)at + FOLIO - PAGE, .ptr = (uintptr_t)buffer,
				 .npages = 1};
	int fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		note("exclusive_gone", "no device for it (CONFIG_TEST_HMM)");
		return;
	}
	if (map_folios(at, 1, MAP_DROPPABLE)) {
		note("exclusive_gone", "no mappings that are droppable");
		return;
	}
	mark("exclusive_faulted");
	must(madvise(at, FOLIO, MADV_FREE), "MADV_FREE");
	must(ioctl(fd, MIRROR_EXCLUSIVE, &request), "HMM_DMIRROR_EXCLUSIVE");
	mark("exclusive");
	reclaim(at, FOLIO);
	must_be_gone(at, FOLIO, "exclusive_gone");
	close(fd);
	must(munmap(at, FOLIO), "munmap");
	mark("exclusive_unmapped");
}

int main(void)
{
	need_huge_pages();
	if (access(SIZE, W_OK))
		skip("the kernel gives anonymous memory no folios of 64 KiB");
	enter_group();
	lazily();
	droppable();
	half_shared();
	exclusive();
	return 0;
}
