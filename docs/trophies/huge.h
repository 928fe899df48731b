/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the reproducers share: one huge page, and a child that drops some pages of it. */
#ifndef HUGE_H
#define HUGE_H

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 512UL
#define HUGE (PAGE * PAGES)
/* The exit status where the kernel gave no huge page: nothing can be said. */
#define NO_HUGE_PAGE 77

/* A number in KiB from /proc/self/smaps, of the mapping that starts at address. */
static inline long smaps_kib(const void *address, const char *key)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512], start[32];
	long kib = -1;
	int inside = 0;

	if (!file)
		err(2, "/proc/self/smaps");
	snprintf(start, sizeof(start), "%lx-", (unsigned long)address);
	while (kib < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, start, strlen(start)))
			inside = 1;
		else if (inside && !strncmp(line, key, strlen(key)))
			kib = atol(line + strlen(key));
	}
	fclose(file);
	return kib;
}

/* Maps a huge page at a fixed place; fd is that of a file, or -1 for anonymous memory. */
static inline char *huge_page(int fd, const char *key)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	char *at = mmap((void *)0x700000000000UL, HUGE, PROT_READ | PROT_WRITE,
			flags | MAP_FIXED_NOREPLACE, fd, 0);

	if (at == MAP_FAILED)
		err(2, "mmap");
	if (madvise(at, HUGE, MADV_HUGEPAGE))
		err(2, "MADV_HUGEPAGE");
	memset(at, 1, HUGE);
	if (smaps_kib(at, key) != (long)(HUGE / 1024)) {
		fprintf(stderr, "no huge page: is transparent_hugepage/enabled madvise or always?\n");
		exit(NO_HUGE_PAGE);
	}
	return at;
}

/* Forks a child that drops some pages (or none) and then waits to be killed. */
static inline pid_t child_drops(char *at, unsigned long first, unsigned long pages)
{
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe(ready))
		err(2, "pipe");
	pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pages && madvise(at + first * PAGE, pages * PAGE, MADV_DONTNEED))
			err(2, "MADV_DONTNEED");
		if (write(ready[1], "", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		errx(2, "the child died");
	close(ready[0]);
	return pid;
}

static inline void child_ends(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#endif
