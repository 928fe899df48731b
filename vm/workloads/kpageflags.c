// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Readers of /proc/kpageflags alone: how wrong their answers are, and what an answer costs.
 *
 * usage: kpageflags race SECONDS   beside a process that maps and unmaps a huge page, readers on
 *                                  all CPUs but two read the flags of that page's frames over and
 *                                  over, and count answers that no page can have at any time
 *        kpageflags cost ROUNDS    the time to read a page's flags, for huge pages that are mapped
 *                                  and for all of memory (in a guest that counts instructions, the
 *                                  time is their number)
 */
#include "story.h"

#include <time.h>

/* include/uapi/linux/kernel-page-flags.h */
#define BIT(n) (1ULL << (n))
#define BUDDY BIT(10)
#define MMAP BIT(11)
#define ANON BIT(12)
#define COMPOUND_HEAD BIT(15)
#define COMPOUND_TAIL BIT(16)
#define THP BIT(22)

#define BATCH 65536UL /* words in one read, as page-types does it */
#define MANY 64UL     /* huge pages whose flags are read for the cost */
#define READERS 64

static uint64_t words[BATCH];
/* Shared by all: when to stop, the first frame of the last huge page, and what the readers saw. */
static struct {
	volatile int stop;
	volatile unsigned long frame;
	volatile unsigned long answers[READERS], wrong[READERS];
} *shared;

static void map_and_unmap(void)
{
	while (!shared->stop) {
		map_anon(place(0), HUGE);
		must(madvise(place(0), HUGE, MADV_HUGEPAGE), "madvise");
		memset(place(0), 1, HUGE);
		shared->frame = frame_at(place(0));
		must(munmap(place(0), HUGE), "munmap");
	}
}

/* A page in the buddy allocator is nobody's; a part of a huge page is a head or a tail, not both. */
static int impossible(uint64_t flags)
{
	uint64_t part = flags & (COMPOUND_HEAD | COMPOUND_TAIL);

	if (flags & BUDDY && flags & (MMAP | ANON | THP))
		return 1;
	if (flags & THP && !part)
		return 1;
	return part == (COMPOUND_HEAD | COMPOUND_TAIL);
}

static void read_flags(long reader)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	must(fd < 0, "/proc/kpageflags");
	while (!shared->stop) {
		must(pread(fd, words, PAGES * 8, shared->frame * 8) != (ssize_t)(PAGES * 8),
		     "/proc/kpageflags");
		for (unsigned long i = 0; i < PAGES; i++)
			shared->wrong[reader] += impossible(words[i]);
		shared->answers[reader] += PAGES;
	}
}

static void race(long seconds)
{
	/* One CPU is the mapper's, one that of who records it. */
	long readers = sysconf(_SC_NPROCESSORS_ONLN) - 2;
	int status;

	readers = readers < 1 ? 1 : readers > READERS ? READERS : readers;
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared == MAP_FAILED, "mmap");
	fflush(NULL);
	for (long child = 0; child <= readers; child++) {
		pid_t pid = fork();

		must(pid < 0, "fork");
		if (pid == 0) {
			if (child < readers)
				read_flags(child);
			else
				map_and_unmap();
			_exit(0);
		}
	}
	/* Told each second: the kernel may not live until the end. */
	for (long second = 0; second < seconds; second++) {
		unsigned long answers = 0, wrong = 0;

		sleep(1);
		for (long reader = 0; reader < readers; reader++) {
			answers += shared->answers[reader];
			wrong += shared->wrong[reader];
		}
		printf("{\"answers\": %lu, \"impossible\": %lu}\n", answers, wrong);
		fflush(stdout);
	}
	shared->stop = 1;
	for (long child = 0; child <= readers; child++)
		must(wait(&status) < 0, "wait");
}

/* The time in ns for the flags of count pages from a frame on. */
static double time_to_read(int fd, unsigned long frame, unsigned long count)
{
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	must(pread(fd, words, count * 8, frame * 8) != (ssize_t)(count * 8), "/proc/kpageflags");
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec);
}

static void cost(long rounds)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	unsigned long frames[MANY], all = 0;
	double huge = 0, every = 0;

	must(fd < 0, "/proc/kpageflags");
	memset(words, 0, sizeof(words)); /* no page fault while the time runs */
	for (unsigned long n = 0; n < MANY; n++) {
		map_huge(place(n));
		frames[n] = frame_at(place(n));
	}
	for (long round = 0; round < rounds; round++) {
		for (unsigned long n = 0; n < MANY; n++)
			huge += time_to_read(fd, frames[n], PAGES);
		/* The first GiB: there is memory behind all of it, but for the holes of a PC. */
		for (unsigned long frame = 0; frame < 4 * BATCH; frame += BATCH)
			every += time_to_read(fd, frame, BATCH);
		all += 4 * BATCH;
	}
	printf("{\"huge\": %.2f, \"every\": %.2f}\n", huge / (rounds * MANY * PAGES), every / all);
}

int main(int argc, char **argv)
{
	double number = argc == 3 ? atof(argv[2]) : 0;

	if (number >= 1 && !strcmp(argv[1], "race"))
		race((long)number);
	else if (number >= 1 && !strcmp(argv[1], "cost"))
		cost((long)number);
	else
		die(2, "usage: kpageflags race SECONDS | cost ROUNDS");
	return 0;
}
