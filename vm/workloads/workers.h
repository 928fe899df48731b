/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes that do to a few huge pages what they are told: everything that changes a map count.
 *
 * Each acts only between an operation and its answer, so that between two operations nothing moves.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include "basics.h"

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

/* What a worker is told: pages from first on, count of them, of one region. */
struct operation {
	int kind, region, first, count, slot;
};

static struct worker {
	int down[2], up[2];
	pid_t pid; /* 0: nobody is in this slot */
} workers[WORKERS];

static int file, swap;
static sigjmp_buf fault;

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
	pid_t pid = fork();

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
	int fd = (int)syscall(434 /* pidfd_open */, workers[slot].pid, 0);
	struct pollfd here = {fd, POLLIN, 0};

	must(fd < 0, "pidfd_open");
	tell(slot, &op);
	if (poll(&here, 1, 60000) != 1)
		die(1, "worker %d did not end within a minute", slot);
	close(fd);
	workers[slot].pid = 0;
}

static int living(void)
{
	int number = 0;

	for (int slot = 0; slot < WORKERS; slot++)
		number += workers[slot].pid != 0;
	return number;
}

/* Has a worker do an operation; without the worker, or a free slot for its child, nothing is done. */
static void perform(int slot, const struct operation *op)
{
	pid_t result;

	if (!workers[slot].pid || (op->kind == FORK && workers[op->slot].pid))
		return;
	if (op->kind == END) {
		end(slot);
		if (!living())
			workers[0].pid = start(0);
		return;
	}
	tell(slot, op);
	result = answer(slot);
	if (op->kind == FORK)
		workers[op->slot].pid = result;
}

/* One worker in slot 0, a memory file, and nothing mapped. */
static void begin(void)
{
	file = memfd_create("fuzz", MFD_CLOEXEC);
	must(file < 0 || ftruncate(file, HUGE), "memfd_create");
	workers[0].pid = start(0);
}

static void finish(void)
{
	for (int slot = 0; slot < WORKERS; slot++)
		if (workers[slot].pid)
			end(slot);
	close(file);
}

/* Once, before begin(). */
static void prepare(void)
{
	/* Children of a worker that has ended become ours, and nobody has to be waited for. */
	must(prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl");
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	for (int slot = 0; slot < WORKERS; slot++)
		must(pipe2(workers[slot].down, O_CLOEXEC) || pipe2(workers[slot].up, O_CLOEXEC),
		     "pipe");
}

#endif
