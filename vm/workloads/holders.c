// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who holds a folio beside its mappings: pins for long (io_uring's buffers), pages in a pipe
 * (vmsplice), the batch of a CPU that keeps new pages from the LRU lists.  Splits and moves of what
 * is held fail.
 *
 * A mark's name ends with how many pins there are by /proc/vmstat, where the kernel counts them:
 * "pinned 512".  What holds what at each mark is in tests/kernel/test_holders.py.
 */
#include "blocks.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static void idle(char command)
{
	(void)command;
}

/* Pins of all processes that were not dropped. */
static long pins_now(void)
{
	FILE *file;
	char name[64];
	long number, found = 0;

	/* Adds up what each CPU has counted for itself. */
	if (put("/proc/sys/vm/stat_refresh", "1"))
		return -1;
	file = fopen("/proc/vmstat", "re");
	must(!file, "/proc/vmstat");
	while (fscanf(file, "%63s %ld", name, &number) == 2)
		found += !strcmp(name, "nr_foll_pin_acquired") ? number :
			 !strcmp(name, "nr_foll_pin_released") ? -number : 0;
	fclose(file);
	return found;
}

/* Those of the workload: what others pin, like the recorder for what it writes, soon ends. */
static long pins(void)
{
	long least = pins_now();

	for (int looks = 0; looks < 20; looks++) {
		long number;

		usleep(5000);
		number = pins_now();
		least = number < least ? number : least;
	}
	return least;
}

static void tell(const char *name)
{
	static long before = -1;
	char text[32];

	if (before < 0)
		before = pins();
	snprintf(text, sizeof(text), "%s %ld", name, pins() - before);
	mark(text);
}

static int ring_new(void)
{
	/* io_uring_params is 120 bytes; zero asks for nothing special. */
	static char params[120];

	return syscall(425 /* io_uring_setup */, 1, params);
}

/* Pins pages for as long as they are registered. */
static void ring_pin(int ring, char *at, size_t size)
{
	struct iovec span = {at, size};

	must(syscall(427 /* io_uring_register */, ring, 0 /* buffers */, &span, 1), "io_uring");
}

static void ring_unpin(int ring)
{
	must(syscall(427, ring, 1 /* unregister buffers */, NULL, 0), "io_uring");
}

/* Splits the huge page, which is mapped once, for a part of it is to be reclaimed first. */
static void split_for_cold(char *at)
{
	must(madvise(at + 8 * PAGE, 8 * PAGE, MADV_COLD), "MADV_COLD");
}

static void pinned(int ring)
{
	struct child child;

	map_huge(place(0));
	tell("mapped");
	child = child_start(idle);
	tell("shared");
	child_exit(&child);
	ring_pin(ring, place(0), HUGE);
	tell("pinned");
	split_for_cold(place(0));
	tell("split_refused");
	ring_unpin(ring);
	tell("unpinned");
	split_for_cold(place(0));
	tell("split");
	must(munmap(place(0), HUGE), "munmap");
}

static void spliced(void)
{
	int pipes[2];
	struct iovec span = {place(1), 3 * PAGE};
	char taken[3 * PAGE];

	map_huge(place(1));
	must(pipe(pipes), "pipe");
	must(vmsplice(pipes[1], &span, 1, 0) != (ssize_t)span.iov_len, "vmsplice");
	tell("spliced");
	split_for_cold(place(1));
	tell("splice_refused");
	must(read(pipes[0], taken, sizeof(taken)) != (ssize_t)sizeof(taken), "read");
	tell("drained");
	close(pipes[0]);
	close(pipes[1]);
	must(munmap(place(1), HUGE), "munmap");
}

static void impatient(int number)
{
	(void)number;
}

/* Takes a block out of use, for as long as the kernel tries: a signal is all that ends it. */
static int offline(const char *path, unsigned int seconds)
{
	struct sigaction once = {.sa_handler = impatient};
	int failed, why;

	must(sigaction(SIGALRM, &once, NULL), "sigaction");
	alarm(seconds);
	failed = put(path, "offline");
	why = errno;
	alarm(0);
	errno = why;
	return failed;
}

static int udev_is_done(void)
{
	return access("/run/udev/queue", F_OK) != 0;
}

static void offlined(int ring)
{
	char path[96], *taken[2];

	if (find_block(taken)) {
		note("offline_refused", "no block of memory that could go offline");
		return;
	}
	snprintf(path, sizeof(path), MEMORY "memory%ld/state", block_of(taken[0]));
	ring_pin(ring, taken[0], HUGE);
	tell("block_pinned");
	if (!offline(path, 5))
		die(1, "a block with a pinned page went offline");
	/* arm64 keeps the memory that it booted with (mm/mmu.c): nothing in it was tried to move. */
	if (errno == EPERM) {
		note("offline_refused", strerror(errno));
		ring_unpin(ring);
		must(munmap(taken[0], HUGE) || munmap(taken[1], HUGE), "munmap");
		return;
	}
	tell("offline_refused");
	ring_unpin(ring);
	/* Refused where the block has memory that cannot move: then the step is none. */
	if (offline(path, 45)) {
		note("offline_refused", strerror(errno));
	} else {
		/* udev hears of it and starts tasks, which map the libraries that are watched here. */
		usleep(500000);
		wait_until(udev_is_done, 10);
		tell("offline");
		must(put(path, "online"), "memory back online");
	}
	must(munmap(taken[0], HUGE) || munmap(taken[1], HUGE), "munmap");
}

/* More than a batch has room for: PAGEVEC_SIZE is 31, and was 15 before 6.9. */
#define SMALL_PAGES 64

/* A page of order 0 counts pins in its reference count. */
static void small(int ring)
{
	char *at = place(2);

	map_anon(at, SMALL_PAGES * PAGE);
	must(madvise(at, SMALL_PAGES * PAGE, MADV_NOHUGEPAGE), "madvise");
	/* Compaction begins with the batches of all CPUs. */
	if (put("/proc/sys/vm/compact_memory", "1")) {
		note("batched", strerror(errno));
		return;
	}
	write_pages(at, 0, 1);
	tell("batched");
	/* A full batch goes to the lists; compaction did not empty one on 7.2. */
	write_pages(at, 1, SMALL_PAGES);
	tell("on_list");
	ring_pin(ring, at, PAGE);
	tell("small_pinned");
	ring_unpin(ring);
	tell("small_unpinned");
}

int main(void)
{
	cpu_set_t one;
	int ring = ring_new();

	if (ring < 0)
		skip("no io_uring: %s", strerror(errno));
	/* A batch is a CPU's own. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	must(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
	pinned(ring);
	spliced();
	small(ring);
	offlined(ring);
	return 0;
}
