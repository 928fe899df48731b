// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random programs of everything that changes a map count, over several processes and huge pages.
 *
 * usage: fuzz [-n] [FIRST [COUNT [OPERATIONS [EVERY]]]]
 * -n prints the programs and runs nothing. Else it is for guests: it makes swap of its own, drops
 * caches, splits huge pages and takes pages out of use. Runs the programs of the seeds FIRST to FIRST + COUNT - 1, each of so many operations, with a
 * mark after EVERY of them. A program depends on its seed alone, never on what its operations
 * brought about: the first N operations of a seed are the same in every run, so a failure can be
 * made shorter by asking for fewer. Marks are named seed-SEED-OPERATIONS.
 */
#include "story.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define WORKERS 4
#define REGIONS 4	/* 0, 1: private memory; 2: a memory file, shared; 3: the same, private */
#define SPARE 8		/* where mremap takes parts of region n: place(n + SPARE) */

enum kind {
	MAP, TOUCH, READ, FORK, END, UNMAP, PROTECT, UNPROTECT, DROP, FREE, PAGEOUT, COLLAPSE, SPLIT,
	MOVE, MOVE_BACK, PUNCH, LOCK, SOFT, SHRINK, KINDS
};

static const char *const names[KINDS] = {
	"map", "touch", "read", "fork", "end", "unmap", "protect", "unprotect", "drop", "free",
	"pageout", "collapse", "split", "move", "move_back", "punch", "lock", "soft", "shrink",
};

/* How often each is drawn. */
static const int weights[KINDS] = {
	[MAP] = 10, [TOUCH] = 16, [READ] = 8, [FORK] = 8, [END] = 5, [UNMAP] = 8, [PROTECT] = 8,
	[UNPROTECT] = 4, [DROP] = 8, [FREE] = 4, [PAGEOUT] = 5, [COLLAPSE] = 4, [SPLIT] = 3,
	[MOVE] = 4, [MOVE_BACK] = 2, [PUNCH] = 3, [LOCK] = 2, [SOFT] = 1, [SHRINK] = 1,
};

/* What a worker is told: pages from first on, count of them, of one region. */
struct operation {
	int kind, region, first, count, slot;
};

static struct worker {
	int down[2], up[2];
	pid_t pid; /* 0: nobody is in this slot */
} workers[WORKERS];

static int file, swap, dry;
static sigjmp_buf fault;

/* splitmix64: the same numbers from the same seed everywhere. */
static uint64_t state;

static unsigned int draw(unsigned int below)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % below;
}

static void on_fault(int number)
{
	(void)number;
	siglongjmp(fault, 1);
}

/* Touches pages until one is not mapped, or may not be written. */
static void touch(char *at, int count, int write_it)
{
	if (sigsetjmp(fault, 1))
		return;
	for (int page = 0; page < count; page++) {
		if (write_it)
			*(volatile unsigned long *)(at + page * PAGE) = (unsigned long)at + page;
		else
			(void)*(volatile char *)(at + page * PAGE);
	}
}

static void map_region(int region)
{
	int flags = region < 2 ? MAP_PRIVATE | MAP_ANONYMOUS
			       : region == 2 ? MAP_SHARED : MAP_PRIVATE;
	char *at = place(region);

	must(mmap(at, HUGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, region < 2 ? -1 : file, 0) !=
	     at, "mmap");
	madvise(at, HUGE, MADV_HUGEPAGE);
	touch(at, 1, region != 3);
}

static void work(int slot);

static pid_t start(int slot)
{
	pid_t pid = dry ? 1 : fork();

	must(pid < 0, "fork");
	if (pid == 0)
		work(slot);
	return pid;
}

/* Most errors are part of the game: what is not mapped cannot be protected. */
static pid_t act(const struct operation *op)
{
	char *at = place(op->region) + op->first * PAGE;
	char *away = place(op->region + SPARE) + op->first * PAGE;
	size_t size = op->count * PAGE;

	switch (op->kind) {
	case MAP:
		map_region(op->region);
		break;
	case TOUCH:
		touch(at, op->count, 1);
		break;
	case READ:
		touch(at, op->count, 0);
		break;
	case FORK:
		return start(op->slot);
	case END:
		_exit(0);
	case UNMAP:
		munmap(at, size);
		break;
	case PROTECT:
		mprotect(at, size, PROT_READ);
		break;
	case UNPROTECT:
		mprotect(at, size, PROT_READ | PROT_WRITE);
		break;
	case DROP:
		madvise(at, size, MADV_DONTNEED);
		break;
	case FREE:
		madvise(at, size, MADV_FREE);
		break;
	case PAGEOUT:
		if (swap)
			madvise(at, size, MADV_PAGEOUT);
		break;
	case COLLAPSE:
		madvise(place(op->region), HUGE, MADV_COLLAPSE);
		break;
	case SPLIT: {
		char line[64];

		snprintf(line, sizeof(line), "%d,0x%lx,0x%lx", getpid(),
			 (unsigned long)place(op->region), (unsigned long)place(op->region) + HUGE);
		if (put("/sys/kernel/debug/split_huge_pages", line))
			put("/sys/kernel/debug/split_huge_pages", "1");
		break;
	}
	case MOVE:
		mremap(at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, away);
		break;
	case MOVE_BACK:
		mremap(away, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at);
		break;
	case PUNCH:
		fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, op->first * PAGE, size);
		break;
	case LOCK:
		mlock(at, size);
		break;
	case SOFT:
		madvise(at, PAGE, MADV_SOFT_OFFLINE);
		break;
	case SHRINK:
		put("/proc/sys/vm/drop_caches", "2");
		break;
	}
	return 0;
}

/* Obeys until told to end. All pipes are inherited: a worker knows its own by its slot. */
static void work(int slot)
{
	struct operation op;
	pid_t result;

	while (read(workers[slot].down[0], &op, sizeof(op)) == sizeof(op)) {
		result = act(&op);
		if (write(workers[slot].up[1], &result, sizeof(result)) != sizeof(result))
			break;
	}
	_exit(1);
}

static void tell(int slot, const struct operation *op)
{
	if (write(workers[slot].down[1], op, sizeof(*op)) != sizeof(*op))
		die(1, "a worker does not listen");
}

static pid_t answer(int slot)
{
	struct pollfd here = {workers[slot].up[0], POLLIN, 0};
	pid_t result;

	if (poll(&here, 1, 60000) != 1)
		die(1, "worker %d (process %d) did not answer within a minute: it was killed, or "
		    "the machine is too slow", slot, workers[slot].pid);
	if (read(workers[slot].up[0], &result, sizeof(result)) != sizeof(result))
		die(1, "a worker does not answer");
	return result;
}

/* A process may be waited for only by its parent; a pidfd tells everybody that it has ended. */
static void end(int slot)
{
	struct operation op = {.kind = END};
	int fd = dry ? -1 : (int)syscall(434 /* pidfd_open */, workers[slot].pid, 0);
	struct pollfd here = {fd, POLLIN, 0};

	if (dry) {
		workers[slot].pid = 0;
		return;
	}
	must(fd < 0, "pidfd_open");
	tell(slot, &op);
	if (poll(&here, 1, 60000) != 1)
		die(1, "worker %d did not end within a minute", slot);
	close(fd);
	workers[slot].pid = 0;
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

static void step(unsigned long number)
{
	struct operation op = draw_operation();
	int slot = pick_worker(1), vacant = pick_worker(0);

	if (op.kind == FORK)
		op.slot = vacant;
	if (dry)
		printf("%4lu worker %d: %s region %d pages %d+%d\n", number, slot, names[op.kind],
		       op.region, op.first, op.count);
	if (op.kind == FORK && vacant < 0)
		return;
	if (dry && op.kind == FORK)
		workers[vacant].pid = 1;
	if (op.kind == END) {
		/* Somebody stays. */
		if (vacant < 0 || slot != 0)
			end(slot);
		if (!workers[0].pid && pick_worker(1) < 0)
			workers[0].pid = start(0);
		return;
	}
	if (dry)
		return;
	tell(slot, &op);
	if (op.kind == FORK)
		workers[vacant].pid = answer(slot);
	else
		answer(slot);
}

static void program(unsigned long seed, unsigned long operations, unsigned long every)
{
	char name[64];

	state = seed;
	file = memfd_create("fuzz", MFD_CLOEXEC);
	must(file < 0 || ftruncate(file, HUGE), "memfd_create");
	workers[0].pid = start(0);
	for (int region = 0; region < REGIONS && !dry; region++) {
		struct operation op = {.kind = MAP, .region = region};

		tell(0, &op);
		answer(0);
	}
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
	for (int slot = 0; slot < WORKERS; slot++)
		if (workers[slot].pid)
			end(slot);
	close(file);
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
	swap = !dry && swap_on() == 0;
	if (!dry && !swap)
		note("pageout", "no swap: zram, mkswap or swapon is missing");
	/* Children of a worker that has ended become ours, and nobody has to be waited for. */
	must(prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl");
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	for (int slot = 0; slot < WORKERS; slot++)
		must(pipe2(workers[slot].down, O_CLOEXEC) || pipe2(workers[slot].up, O_CLOEXEC),
		     "pipe");
	for (unsigned long seed = first; seed < first + count; seed++)
		program(seed, operations, every);
	return 0;
}
