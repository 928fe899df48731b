// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The load of the benchmarks: 4 MiB touched and unmapped in 4 KiB pages, again and again.
 * Each page is mapped once and unmapped once.
 *
 * Usage: touch ROUNDS [SECONDS]; prints how many pages it touched, in how many ns, and how many
 * with those before the time ran.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define BYTES (4UL << 20)
#define PAGE 4096UL

static unsigned long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

static void touch(void)
{
	char *area = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED || madvise(area, BYTES, MADV_NOHUGEPAGE)) {
		perror("touch");
		exit(1);
	}
	for (unsigned long at = 0; at < BYTES; at += PAGE)
		area[at] = 1;
	munmap(area, BYTES);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 1, done = 0, start;
	unsigned long limit = argc > 2 ? strtoul(argv[2], NULL, 0) * 1000000000UL : 0;

	touch(); /* the page tables' pages are there now */
	start = now();
	while (limit ? now() - start < limit : done < rounds) {
		touch();
		done++;
	}
	start = now() - start;
	printf("%lu %lu %lu\n", done * (BYTES / PAGE), start, (done + 1) * (BYTES / PAGE));
	return 0;
}
