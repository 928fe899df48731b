// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random programs of everything that changes a map count, over several processes and huge pages.
 *
 * usage: fuzz [-n] [FIRST [COUNT [OPERATIONS [EVERY]]]]
 * -n prints the programs and runs nothing. Else it is for guests: it makes swap of its own, drops
 * caches, splits huge pages and takes pages out of use. Runs the programs of the seeds FIRST to
 * FIRST + COUNT - 1, each of so many operations, with a mark after EVERY of them. A program depends on its seed alone, never on what its operations
 * brought about: the first N operations of a seed are the same in every run, so a failure can be
 * made shorter by asking for fewer. Marks are named seed-SEED-OPERATIONS.
 */
#include "story.h"
#include "workers.h"

/* How often each is drawn. */
static const int weights[KINDS] = {
	[MAP] = 10, [TOUCH] = 16, [READ] = 8, [FORK] = 8, [END] = 5, [UNMAP] = 8, [PROTECT] = 8,
	[UNPROTECT] = 4, [DROP] = 8, [FREE] = 4, [PAGEOUT] = 5, [COLLAPSE] = 4, [SPLIT] = 3,
	[MOVE] = 4, [MOVE_BACK] = 2, [PUNCH] = 3, [LOCK] = 2, [SOFT] = 1, [SHRINK] = 1,
};

/* splitmix64: the same numbers from the same seed everywhere. */
static uint64_t state;
static int dry;

static unsigned int draw(unsigned int below)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % below;
}

static struct operation draw_operation(void)
{
	struct operation op = {0};
	int total = 0, pick;

	for (int kind = 0; kind < KINDS; kind++)
		total += weights[kind];
	pick = draw(total);
	while (pick >= weights[op.kind])
		pick -= weights[op.kind++];
	op.region = draw(REGIONS);
	/* Wholes, halves, single pages and anything between. */
	switch (draw(4)) {
	case 0:
		op.count = PAGES;
		break;
	case 1:
		op.first = draw(2) * PAGES / 2;
		op.count = PAGES / 2;
		break;
	case 2:
		op.first = draw(PAGES);
		op.count = 1;
		break;
	default:
		op.first = draw(PAGES);
		op.count = 1 + draw(PAGES - op.first);
	}
	return op;
}

static int pick_worker(int living)
{
	int number = 0, slots[WORKERS];

	for (int slot = 0; slot < WORKERS; slot++)
		if ((workers[slot].pid != 0) == living)
			slots[number++] = slot;
	/* Drawn in any case, so that the numbers that follow do not depend on it. */
	return number ? slots[draw(1000) % number] : (draw(1000), -1);
}

/* What becomes of the workers when nothing is run. */
static void pretend(int slot, const struct operation *op)
{
	if (op->kind == FORK)
		workers[op->slot].pid = 1;
	if (op->kind == END)
		workers[slot].pid = 0;
	if (!living())
		workers[0].pid = 1;
}

static void step(unsigned long number)
{
	struct operation op = draw_operation();
	int slot = pick_worker(1), vacant = pick_worker(0), idle = 0;

	if (op.kind == FORK) {
		op.slot = vacant;
		idle = vacant < 0;
	}
	/* Somebody stays. */
	if (op.kind == END)
		idle = vacant >= 0 && slot == 0;
	if (dry) {
		printf("%4lu worker %d: %s region %d pages %d+%d", number, slot, names[op.kind],
		       op.region, op.first, op.count);
		if (op.kind == FORK)
			printf(" to worker %d", op.slot);
		puts(idle ? " (left out)" : "");
	}
	if (idle)
		return;
	if (dry)
		pretend(slot, &op);
	else
		perform(slot, &op);
}

static void program(unsigned long seed, unsigned long operations, unsigned long every)
{
	char name[64];

	state = seed;
	if (dry) {
		memset(workers, 0, sizeof(workers));
		workers[0].pid = 1;
	} else {
		begin();
	}
	for (int region = 0; region < REGIONS && !dry; region++)
		perform(0, &(struct operation){.kind = MAP, .region = region});
	for (unsigned long done = 1; done <= operations; done++) {
		step(done);
		if (done % every == 0 || done == operations) {
			snprintf(name, sizeof(name), "seed-%lu-%lu", seed, done);
			if (dry)
				puts(name);
			else
				mark(name);
		}
	}
	if (!dry)
		finish();
}

int main(int argc, char **argv)
{
	unsigned long first, count, operations, every;

	if (argc > 1 && !strcmp(argv[1], "-n")) {
		dry = 1;
		argc--;
		argv++;
	}
	first = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	count = argc > 2 ? strtoul(argv[2], NULL, 0) : 4;
	operations = argc > 3 ? strtoul(argv[3], NULL, 0) : 40;
	every = argc > 4 ? strtoul(argv[4], NULL, 0) : 5;

	if (!count || !operations || !every)
		die(2, "usage: fuzz [-n] [FIRST [COUNT [OPERATIONS [EVERY]]]]");
	if (!dry) {
		const char *failed;

		need_huge_pages();
		failed = swap_on();
		swap = !failed;
		if (failed)
			note("pageout", failed);
		prepare();
	}
	for (unsigned long seed = first; seed < first + count; seed++)
		program(seed, operations, every);
	return 0;
}
