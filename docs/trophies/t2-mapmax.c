// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mapmax in /proc/PID/numa_maps of a huge page that is mapped by a PMD, the first page of which a
 * child has dropped. No privilege is needed, but a kernel with CONFIG_NUMA.
 *
 *	cc -o t2 t2-mapmax.c && ./t2
 *
 * Exit status: 0 all answers are right, 1 one is wrong, 77 the kernel gave no huge page.
 */
#include "huge.h"

#define MOST 3

/* The mapmax of the mapping that starts at address; the kernel does not print a mapmax of 1. */
static long mapmax(const void *address)
{
	FILE *file = fopen("/proc/self/numa_maps", "r");
	char line[1024], start[32], *found;
	long count = -1;

	if (!file)
		err(2, "/proc/self/numa_maps");
	snprintf(start, sizeof(start), "%lx ", (unsigned long)address);
	while (count < 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, start, strlen(start)))
			continue;
		printf("  %s", line);
		found = strstr(line, "mapmax=");
		count = found ? atol(found + strlen("mapmax=")) : 1;
	}
	fclose(file);
	return count;
}

static int wrong_with(char *at, int children)
{
	pid_t pids[MOST];
	long told;

	for (int n = 0; n < children; n++)
		pids[n] = child_drops(at, 0, n == 0);
	told = mapmax(at);
	printf("%d children, one dropped page 0: mapmax is %ld, the largest map count %d\n",
	       children, told, children + 1);
	for (int n = 0; n < children; n++)
		child_ends(pids[n]);
	return told != children + 1;
}

int main(void)
{
	char *at = huge_page(-1, "AnonHugePages:");
	int wrong = 0;

	wrong |= wrong_with(at, 1);
	wrong |= wrong_with(at, MOST);
	return wrong;
}
