// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages that move: to another node (where the guest has two), out of a block of memory that goes
 * offline, out of compaction's way, and away from a page that is taken out of use.
 */
#include "blocks.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Until a block must be offline: the kernel tries for ever to move a page that will not move. */
#define PATIENCE 45

/* How often pages move while somebody reads: an even number, so that they end where they were. */
#define ROUNDS 16

static char *whole, *parts, *file;

static void act(char command)
{
	if (command == 'u')
		must(munmap(parts + 256 * PAGE, 64 * PAGE), "munmap in the child");
	else if (command == 't')
		write_pages(file, 0, 32);
}

static int is_huge(char *at, const char *key)
{
	return smaps_kib(at, key) == (long)(HUGE / 1024);
}

/*
 * One huge page mapped by PMD, one both ways, one of a file: all of them by two processes. The
 * first two are new, or taken from elsewhere.
 */
static struct child map_all(int number, int fd, char *const *taken)
{
	struct child child;

	whole = place(number);
	parts = place(number + 1);
	file = place(number + 2);
	if (taken) {
		must(mremap(taken[0], HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, whole) != whole ||
		     mremap(taken[1], HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, parts) != parts,
		     "mremap");
	} else {
		map_huge(whole);
		map_huge(parts);
	}
	must(ftruncate(fd, HUGE), "ftruncate");
	must(mmap(file, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) !=
	     file, "mmap");
	ask_huge(file, HUGE);
	write_pages(file, 0, 1);
	if (!is_huge(file, "ShmemPmdMapped:"))
		die(NO_HUGE_PAGE, "the kernel gave no huge page: write advise to "
		    "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	child = child_start(act);
	child_do(&child, 'u');
	child_do(&child, 't');
	return child;
}

static void unmap_all(struct child *child)
{
	child_exit(child);
	must(munmap(whole, HUGE) || munmap(parts, HUGE) || munmap(file, HUGE), "munmap");
}

static int move_to(char *at, unsigned long pages, int node)
{
	static void *page[PAGES];
	static int nodes[PAGES], status[PAGES];

	for (unsigned long i = 0; i < pages; i++) {
		page[i] = at + i * PAGE;
		nodes[i] = node;
	}
	/* 4 is MPOL_MF_MOVE_ALL: pages that another process maps, too. */
	if (syscall(SYS_move_pages, 0, pages, page, nodes, status, 4) < 0)
		return -1;
	return status[0] == node ? 0 : -1;
}

/* Reads again and again, until it is killed, what a walk of its parent's page tables tells. */
static pid_t reader_start(void)
{
	pid_t parent = getpid(), reader;
	static char text[1 << 15];
	char smaps[64], pagemap[64];

	fflush(NULL);
	reader = fork();
	must(reader < 0, "fork");
	if (reader)
		return reader;
	must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
	snprintf(smaps, sizeof(smaps), "/proc/%d/smaps", parent);
	snprintf(pagemap, sizeof(pagemap), "/proc/%d/pagemap", parent);
	while (getppid() == parent) {
		int fd = open(smaps, O_RDONLY | O_CLOEXEC);

		must(fd < 0, smaps);
		while (read(fd, text, sizeof(text)) > 0)
			;
		close(fd);
		fd = open(pagemap, O_RDONLY | O_CLOEXEC);
		for (int which = 0; which < 3; which++)
			must(pread(fd, text, PAGES * 8, (unsigned long)place(which) / PAGE * 8) < 0,
			     "pagemap");
		close(fd);
	}
	_exit(0);
}

/* Moves the pages to and fro while another process looks at the page tables that map them. */
static void beside_reader(void)
{
	pid_t reader;
	int status, stayed = 0;

	if (access("/proc/self/smaps", F_OK)) {
		note("moved_beside_reader", "no /proc/PID/smaps");
		return;
	}
	reader = reader_start();
	for (int round = 0; round < ROUNDS; round++) {
		stayed |= move_to(whole, 1, round % 2 == 0);
		stayed |= move_to(parts, PAGES, round % 2 == 0);
	}
	must(kill(reader, SIGKILL) || waitpid(reader, &status, 0) != reader, "the reader's end");
	if (!WIFSIGNALED(status))
		die(1, "the reader ended by itself");
	if (stayed)
		note("moved_beside_reader", "a page stayed where it was");
	mark("moved_beside_reader");
}

static void between_nodes(void)
{
	int fd = memfd_create("migrate", MFD_CLOEXEC);
	struct child child;

	must(fd < 0, "memfd_create");
	if (access("/sys/devices/system/node/node1", F_OK)) {
		note("moved_to_node", "the guest has one node: it takes two (numa=fake=2)");
		close(fd);
		return;
	}
	child = map_all(0, fd, NULL);
	mark("nodes_mapped");
	for (int node = 1; node >= 0; node--) {
		if (move_to(whole, 1, node) || move_to(parts, PAGES, node) ||
		    move_to(file, 1, node))
			note("moved_to_node", "a page stayed where it was");
		mark(node ? "moved_to_node" : "moved_back");
	}
	beside_reader();
	unmap_all(&child);
	close(fd);
	mark("nodes_gone");
}

/* A signal is all that ends the kernel's trying. */
static void impatient(int number)
{
	(void)number;
}

/* Takes the memory behind an address out of use for a moment; the kernel moves what is there. */
static int offline(const char *at, const char *name)
{
	long block = block_of(at);
	struct sigaction once = {.sa_handler = impatient};
	char path[96];
	int failed;

	if (block < 0)
		return -1;
	snprintf(path, sizeof(path), MEMORY "memory%ld/state", block);
	must(sigaction(SIGALRM, &once, NULL), "sigaction");
	alarm(PATIENCE);
	failed = put(path, "offline");
	alarm(0);
	if (failed)
		return -1;
	mark(name);
	must(put(path, "online"), "memory back online");
	return 0;
}

static void off_line(void)
{
	int fd = memfd_create("offline", MFD_CLOEXEC);
	struct child child;
	char *taken[2];

	must(fd < 0, "memfd_create");
	if (find_block(taken)) {
		note("offline_whole", "no block of memory that could go offline");
		note("offline_parts", "no block of memory that could go offline");
		note("offline_file", "no block of memory that could go offline");
		close(fd);
		return;
	}
	child = map_all(3, fd, taken);
	mark("offline_mapped");
	/* Refused where the block has memory that cannot move: then the step is none. */
	if (offline(whole, "offline_whole"))
		note("offline_whole", strerror(errno));
	if (offline(parts, "offline_parts"))
		note("offline_parts", strerror(errno));
	if (offline(file, "offline_file"))
		note("offline_file", strerror(errno));
	mark("offline_done");
	unmap_all(&child);
	close(fd);
	mark("offline_gone");
}

static void compaction(void)
{
	int fd = memfd_create("compact", MFD_CLOEXEC);
	struct child child;

	must(fd < 0, "memfd_create");
	child = map_all(6, fd, NULL);
	/* Compaction moves small pages: those of split folios, thinned out. */
	split_folios(parts, HUGE);
	for (unsigned long page = 0; page < PAGES; page += 2)
		must(madvise(parts + page * PAGE, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	mark("compact_mapped");
	must(put("/proc/sys/vm/compact_memory", "1"), "compact_memory");
	mark("compacted");
	unmap_all(&child);
	close(fd);
	mark("compact_gone");
}

static void soft_offline(void)
{
	struct child child;
	int fd = memfd_create("soft", MFD_CLOEXEC);

	must(fd < 0, "memfd_create");
	child = map_all(9, fd, NULL);
	mark("soft_mapped");
	/* It splits the folio and moves the one page. */
	if (madvise(whole + 7 * PAGE, PAGE, MADV_SOFT_OFFLINE))
		note("soft_whole", strerror(errno));
	mark("soft_whole");
	if (madvise(parts + 7 * PAGE, PAGE, MADV_SOFT_OFFLINE))
		note("soft_parts", strerror(errno));
	mark("soft_parts");
	/* Again: by now it is a page of order 0. */
	if (madvise(parts + 8 * PAGE, 2 * PAGE, MADV_SOFT_OFFLINE))
		note("soft_small", strerror(errno));
	mark("soft_small");
	unmap_all(&child);
	close(fd);
	mark("soft_gone");
}

int main(void)
{
	between_nodes();
	off_line();
	compaction();
	soft_offline();
	return 0;
}
