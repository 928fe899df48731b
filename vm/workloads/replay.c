// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One program of the hunt, and what the kernel says of its pages when it is over.
 *
 *	cc -o replay replay.c && ./replay	(as root, on a machine that may crash)
 *
 * The operations of PROGRAM are done one after the other, each by one of some processes. Then each
 * page that these processes map is looked up: so many of their page tables map it as
 * /proc/kpagecount must say, where it is one, bit 56 of /proc/PID/pagemap must be set, and the most
 * of a mapping is its mapmax in /proc/PID/numa_maps. (Of a kernel without CONFIG_PAGE_MAPCOUNT the
 * answers say nothing: they are of the whole folio.) With an argument a mark of that name is made
 * instead, for a recorder that looks itself.
 * Exit status: 0 nothing is wrong, 1 something is, 2 it could not be run.
 */
#include "workers.h"

static const struct step {
	int worker;
	struct operation operation; /* kind, region, first page, pages, slot of a fork's child */
} steps[] = {
	/* PROGRAM */
	{0, {MAP, 0, 0, 512, 0}},
};

/* Where a worker maps a page. */
struct sight {
	unsigned long pfn, address, count;
	int slot, exclusive;
};

#define PLACES (2 * REGIONS)
/* So many wrong pages are written out. */
#define MOST 10

static struct sight sights[WORKERS * PLACES * PAGES];
static size_t seen;

static int by_pfn(const void *left, const void *right)
{
	const struct sight *a = left, *b = right;

	return (a->pfn > b->pfn) - (a->pfn < b->pfn);
}

/* The word of a page or pfn in a file of such; 0 where there is none. */
static uint64_t word(const char *path, unsigned long index)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t value = 0;

	if (fd < 0 || pread(fd, &value, 8, index * 8) != 8)
		value = 0;
	if (fd >= 0)
		close(fd);
	return value;
}

static void look(int slot)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", workers[slot].pid);
	for (int at = 0; at < PLACES; at++) {
		char *start = place(at < REGIONS ? at : at - REGIONS + SPARE);

		for (unsigned long page = 0; page < PAGES; page++) {
			unsigned long address = (unsigned long)start + page * PAGE;
			uint64_t entry = word(path, address / PAGE);
			unsigned long pfn = entry & ((1UL << 55) - 1);

			/* The zero pages and KSM's are not counted. */
			if (entry >> 63 && !(word("/proc/kpageflags", pfn) & (1UL << 24 | 1UL << 21)))
				sights[seen++] = (struct sight){pfn, address, 0, slot, entry >> 56 & 1};
		}
	}
}

/* Of the mapping of a worker that lies there: is its mapmax what is told? */
static int wrong_most(int slot, unsigned long start, unsigned long end, unsigned long told)
{
	unsigned long most = 0;

	for (size_t at = 0; at < seen; at++)
		if (sights[at].slot == slot && sights[at].address >= start &&
		    sights[at].address < end && sights[at].count > most)
			most = sights[at].count;
	if (!most || most == told)
		return 0;
	printf("mapping at %#lx of worker %d: a page is mapped %lu times, mapmax is %lu\n", start,
	       slot, most, told);
	return 1;
}

static int wrong_mappings(int slot)
{
	unsigned long start, before = 0, told = 0;
	char path[64], line[512];
	int wrong = 0;
	FILE *from;

	snprintf(path, sizeof(path), "/proc/%d/numa_maps", workers[slot].pid);
	from = fopen(path, "re");
	while (from && fgets(line, sizeof(line), from)) {
		const char *most = strstr(line, " mapmax=");

		if (sscanf(line, "%lx ", &start) != 1)
			continue;
		wrong += wrong_most(slot, before, start, told);
		before = start;
		/* One is left out. */
		told = most ? strtoul(most + strlen(" mapmax="), NULL, 10) : 1;
	}
	if (from)
		fclose(from);
	return wrong + (from ? wrong_most(slot, before, ~0UL, told) : 0);
}

static int wrong_pages(void)
{
	int wrong = 0;

	for (int slot = 0; slot < WORKERS; slot++)
		if (workers[slot].pid)
			look(slot);
	qsort(sights, seen, sizeof(*sights), by_pfn);
	for (size_t first = 0, end; first < seen; first = end) {
		unsigned long pfn = sights[first].pfn;
		uint64_t count = word("/proc/kpagecount", pfn);

		for (end = first; end < seen && sights[end].pfn == pfn; end++)
			;
		if (count != end - first && wrong++ < MOST)
			printf("pfn %#lx: mapped %zu times, kpagecount is %lu\n", pfn,
			       end - first, (unsigned long)count);
		for (size_t at = first; at < end; at++) {
			sights[at].count = end - first;
			if (sights[at].exclusive != (end - first == 1) && wrong++ < MOST)
				printf("pfn %#lx at %#lx of worker %d: mapped %zu times, bit 56 is "
				       "%d\n", pfn, sights[at].address, sights[at].slot,
				       end - first, sights[at].exclusive);
		}
	}
	for (int slot = 0; slot < WORKERS; slot++)
		if (workers[slot].pid)
			wrong += wrong_mappings(slot);
	printf("%zu mapped pages looked up, %d answers are wrong\n", seen, wrong);
	return wrong;
}

static uint64_t taint(void)
{
	unsigned long flags = 0;
	FILE *from = fopen("/proc/sys/kernel/tainted", "re");

	if (!from || fscanf(from, "%lu", &flags) != 1)
		die(2, "/proc/sys/kernel/tainted");
	fclose(from);
	return flags;
}

int main(int argc, char **argv)
{
	uint64_t before = taint();
	const char *failed;
	int wrong = 0;

	for (size_t at = 0; at < sizeof(steps) / sizeof(*steps); at++)
		swap |= steps[at].operation.kind == PAGEOUT;
	failed = swap ? swap_on() : 0;
	if (failed)
		die(2, "%s", failed);
	prepare();
	begin();
	for (size_t at = 0; at < sizeof(steps) / sizeof(*steps); at++)
		perform(steps[at].worker, &steps[at].operation);
	if (argc > 1)
		mark(argv[1]);
	else
		wrong = wrong_pages();
	finish();
	/* A bad page (32), an oops (128) or a warning (512), perhaps when all was freed. */
	if (taint() & ~before & (32 | 128 | 512)) {
		printf("the kernel complained: see dmesg\n");
		wrong++;
	}
	return argc == 1 && wrong;
}
