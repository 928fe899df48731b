// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Helpers that the workloads share: marks, child processes that obey one command at a time, and
 * a 2 MiB region at a fixed address.
 *
 * At a mark the recorder stops the writer and reads every counter. So that these reads are of a
 * folio at rest, a child acts only between a command and its answer, and the parent marks only
 * when it has every answer.
 */
#ifndef STORY_H
#define STORY_H

#include "basics.h"

#include <sys/wait.h>

/* The exit status when the kernel gave no huge page: the story cannot be told, nothing is wrong. */
#define NO_HUGE_PAGE 3

/* The exit status when the kernel or the guest lacks what the story is about (as in automake). */
#define SKIPPED 77

struct child {
	pid_t pid;
	int command, answer;
};

/* Forks a child that calls act() for every command byte and waits, touching nothing, between. */
static struct child child_start(void (*act)(char))
{
	int down[2], up[2];
	struct child child;
	char byte;

	if (pipe(down) || pipe(up))
		die(1, "pipe: %s", strerror(errno));
	fflush(NULL);
	child.pid = fork();
	if (child.pid < 0)
		die(1, "fork: %s", strerror(errno));
	if (child.pid == 0) {
		close(down[1]);
		close(up[0]);
		/* The end of the pipe, if the parent dies, ends the child as well. */
		do {
			if (write(up[1], "", 1) != 1 || read(down[0], &byte, 1) != 1)
				_exit(1);
			if (byte != 'q')
				act(byte);
		} while (byte != 'q');
		_exit(0);
	}
	close(down[0]);
	close(up[1]);
	child.command = down[1];
	child.answer = up[0];
	if (read(child.answer, &byte, 1) != 1)
		die(1, "a child died at once");
	return child;
}

static void child_do(struct child *child, char what)
{
	char byte;

	if (write(child->command, &what, 1) != 1 || read(child->answer, &byte, 1) != 1)
		die(1, "a child died at command '%c'", what);
}

/* The mm is torn down before wait(2) returns, so its mappings are gone by then. */
static void child_exit(struct child *child)
{
	int status;

	if (write(child->command, "q", 1) != 1 || waitpid(child->pid, &status, 0) != child->pid ||
	    status != 0)
		die(1, "a child did not end well");
	close(child->command);
	close(child->answer);
}

/*
 * The size in KiB of one line of /proc/self/smaps, for the mapping that starts at address. A kernel
 * without CONFIG_PROC_PAGE_MONITOR has no such file: there a mapping is taken for the huge page
 * that it should be, if the machine has one of that kind, and the trace shows what it was.
 */
static long smaps_kib(const void *address, const char *key)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512], start[32];
	long kib = -1;
	int all = !file && errno == ENOENT, inside = all;

	if (all)
		file = fopen("/proc/meminfo", "r");
	if (!file)
		die(1, "/proc/%s: %s", all ? "meminfo" : "self/smaps", strerror(errno));
	snprintf(start, sizeof(start), "%lx-", (unsigned long)address);
	while (kib < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, start, strlen(start)))
			inside = 1;
		else if (inside && !strncmp(line, key, strlen(key)))
			kib = atol(line + strlen(key));
	}
	fclose(file);
	if (all)
		return kib > 0 ? (long)(HUGE / 1024) : 0;
	return kib;
}

/* Tells the lab: a line of a file in the folder that it keeps for this run, if it keeps one. */
static void fact(const char *name, const char *format, ...)
{
	const char *folder = getenv("MAPCOUNT_FACTS");
	char path[512];
	va_list args;
	FILE *file;

	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "ae");
	if (!file)
		die(1, "%s: %s", path, strerror(errno));
	va_start(args, format);
	vfprintf(file, format, args);
	va_end(args);
	fprintf(file, "\n");
	if (fclose(file))
		die(1, "%s: %s", path, strerror(errno));
}

/* The whole story cannot be told here. */
static void skip(const char *format, ...)
{
	char why[256];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	fact("skipped", "%s", why);
	fprintf(stderr, "skip: %s\n", why);
	exit(SKIPPED);
}

/* One step of it cannot. */
static void note(const char *step, const char *why)
{
	fact("left-out", "step %s not on this kernel: %s", step, why);
	fprintf(stderr, "note: step %s not on this kernel: %s\n", step, why);
}

#ifndef THP_FOLDER /* tests name another one */
#define THP_FOLDER "/sys/kernel/mm/transparent_hugepage"
#endif

/* A story about huge pages is none without CONFIG_TRANSPARENT_HUGEPAGE, as with PREEMPT_RT. */
static void need_huge_pages(void)
{
	if (access(THP_FOLDER, F_OK))
		skip("the kernel has no transparent huge pages");
}

/* Asks for huge pages in a mapping. */
static void ask_huge(void *at, size_t size)
{
	need_huge_pages();
	must(madvise(at, size, MADV_HUGEPAGE), "madvise");
}

/* The number in one of the kernel's files, or -1. */
static long get(const char *path)
{
	FILE *file = fopen(path, "re");
	long number = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%ld", &number) != 1)
		number = -1;
	fclose(file);
	return number;
}

/* Writes to some pages: a byte that differs from page to page, so that KSM sees no twins. */
static void write_pages(char *at, unsigned long first, unsigned long end)
{
	for (unsigned long page = first; page < end; page++)
		*(volatile unsigned long *)(at + page * PAGE) = (unsigned long)at + page;
}

static void map_anon(char *at, size_t size)
{
	must(mmap(at, size, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at, "mmap");
}

/* Maps one anonymous huge page, and keeps khugepaged away from it. */
static void map_huge(char *at)
{
	map_anon(at, HUGE);
	ask_huge(at, HUGE);
	at[0] = 1;
	if (smaps_kib(at, "AnonHugePages:") != (long)(HUGE / 1024))
		die(NO_HUGE_PAGE, "the kernel gave no huge page: free some memory and allow "
		    "/sys/kernel/mm/transparent_hugepage/enabled");
	must(madvise(at, HUGE, MADV_NOHUGEPAGE), "madvise");
}

#define SPLIT_HUGE_PAGES "/sys/kernel/debug/split_huge_pages"

/* Whether the kernel splits folios when it is told to; where not, the step is left out. */
static int can_split(const char *step)
{
	if (access(SPLIT_HUGE_PAGES, F_OK) == 0)
		return 1;
	note(step, "no debugfs");
	return 0;
}

/* Splits the folios of this process's mapping. */
static void split_folios(char *at, size_t size)
{
	char line[64];

	snprintf(line, sizeof(line), "%d,0x%lx,0x%lx", getpid(), (unsigned long)at,
		 (unsigned long)at + size);
	/* Kernels before 5.13 only know how to split every huge page there is. */
	if (put(SPLIT_HUGE_PAGES, line))
		must(put(SPLIT_HUGE_PAGES, "1"), "debugfs split_huge_pages");
}

/* The page frame behind an address, or 0. */
static unsigned long frame_at(const void *address)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	must(fd < 0, "/proc/self/pagemap");
	if (pread(fd, &entry, 8, (unsigned long)address / PAGE * 8) != 8 || !(entry >> 63))
		entry = 0;
	close(fd);
	return entry & ((1UL << 55) - 1);
}

/* Waits until condition() holds; -1 if it does not within some seconds. */
static int wait_until(int (*condition)(void), double seconds)
{
	for (double waited = 0; waited < seconds; waited += 0.02) {
		if (condition())
			return 0;
		usleep(20000);
	}
	return -1;
}

#endif
