// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The report of 2015: a process maps and unmaps one huge page over and over while others read
 * /proc/kpageflags and /proc/kpagecount, which look at pages without holding them.
 *
 * usage: seed-2015 [SECONDS [PAGE-TYPES]]
 * Equal shares of the time go to a reader of every page frame, to readers of those frames that
 * the process has (one for each CPU that is left), and to the program PAGE-TYPES with -p, as the
 * report ran it; a double one to readers of their map counts, whose question can kill a kernel
 * that checks its page flags.
 */
#include <stdint.h>

#include "story.h"

#define MOST_READERS 16

static char *const region = (char *)0x700000000000UL;

/* Shared by all processes: when to stop and to look, and how often each went round. */
static struct {
	volatile int stop, stop_mapper;
	unsigned long mapped, read, aimed, ran;
} *shared;

static pid_t mapper;
static const char *program; /* page-types, if given */

static void map_and_unmap(void)
{
	while (!shared->stop_mapper) {
		must(mmap(region, HUGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != region,
		     "mmap");
		must(madvise(region, HUGE, MADV_HUGEPAGE), "madvise");
		memset(region, 1, HUGE);
		if (shared->mapped == 0 &&
		    smaps_kib(region, "AnonHugePages:") != (long)(HUGE / 1024)) {
			fprintf(stderr, "error: the kernel gave no huge page: free some memory\n");
			_exit(NO_HUGE_PAGE);
		}
		must(munmap(region, HUGE), "munmap");
		shared->mapped++;
	}
}

static void read_all(const char *path)
{
	static uint64_t words[65536]; /* page-types reads in batches of this size */
	int fd = open(path, O_RDONLY);
	off_t at = 0;
	ssize_t got;

	must(fd < 0, path);
	while (!shared->stop && (got = pread(fd, words, sizeof(words), at)) > 0)
		at += got;
	close(fd);
}

static void read_frames(void)
{
	while (!shared->stop) {
		read_all("/proc/kpageflags");
		read_all("/proc/kpagecount");
		shared->read++;
	}
}

/*
 * What page-types -p does, without a new program every time: looks the process's frames up in its
 * pagemap, and reads about these only. They are given back meanwhile, and mostly taken again.
 */
static void read_aimed(const char *about)
{
	uint64_t entry, words[PAGES];
	unsigned long frame;
	char path[64];
	int map, fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", mapper);
	map = open(path, O_RDONLY);
	must(map < 0, path);
	fd = open(about, O_RDONLY);
	must(fd < 0, about);
	while (!shared->stop) {
		if (pread(map, &entry, 8, (unsigned long)region / PAGE * 8) != 8 ||
		    !(entry >> 63 & 1))
			continue; /* just unmapped */
		frame = entry & ((1UL << 55) - 1);
		must(pread(fd, words, sizeof(words), frame * 8) < 0, about);
		__atomic_add_fetch(&shared->aimed, 1, __ATOMIC_RELAXED);
	}
}

static void read_aimed_flags(void)
{
	read_aimed("/proc/kpageflags");
}

static void read_aimed_counts(void)
{
	read_aimed("/proc/kpagecount");
}

/* Forks a process that runs body(), which ends when told to stop. */
static pid_t start(void (*body)(void))
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	must(pid < 0, "fork");
	if (pid == 0) {
		body();
		_exit(0);
	}
	return pid;
}

static void finish(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) != pid, "waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status))
		exit(WEXITSTATUS(status));
	if (!WIFEXITED(status))
		die(1, "a process of the workload was killed by signal %d", WTERMSIG(status));
}

static void run_page_types(void)
{
	char number[16];
	int status, null;
	pid_t pid = fork();

	must(pid < 0, "fork");
	if (pid == 0) {
		snprintf(number, sizeof(number), "%d", mapper);
		null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		execl(program, "page-types", "-p", number, (char *)NULL);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) != pid, "waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		die(1, "%s cannot be run: give the path of a page-types program", program);
	shared->ran++;
}

/* One share of the time: the mapper beside readers, of whom a CPU has one at most. */
static void phase(const char *name, void (*reader)(void), long readers, double seconds)
{
	pid_t pids[MOST_READERS];

	mark(name);
	shared->stop = shared->stop_mapper = 0;
	mapper = start(map_and_unmap);
	for (long n = 0; n < readers; n++)
		pids[n] = start(reader);
	usleep(seconds * 1e6);
	shared->stop = 1;
	for (long n = 0; n < readers; n++)
		finish(pids[n]);
	/* Only now: who reads about a process by its number must not find it gone. */
	shared->stop_mapper = 1;
	finish(mapper);
}

static void run_programs(void)
{
	while (!shared->stop)
		run_page_types();
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 10;
	long readers = sysconf(_SC_NPROCESSORS_ONLN) - 1;

	program = argc > 2 ? argv[2] : NULL;
	if (seconds <= 0)
		die(2, "usage: seed-2015 [SECONDS [PAGE-TYPES]]");
	need_huge_pages();
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared == MAP_FAILED, "mmap");

	seconds /= program ? 5 : 4;
	readers = readers < 1 ? 1 : readers > MOST_READERS ? MOST_READERS : readers;
	phase("reader", read_frames, 1, seconds);
	phase("aimed_flags", read_aimed_flags, readers, seconds);
	phase("aimed_counts", read_aimed_counts, readers, 2 * seconds);
	if (program)
		phase("page_types", run_programs, 1, seconds);
	mark("end");
	printf("rounds: %lu of mmap and munmap, %lu of reading every frame, %lu of reading the "
	       "mapped frames, %lu of page-types\n",
	       shared->mapped, shared->read, shared->aimed, shared->ran);
	return 0;
}
