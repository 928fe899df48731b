// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Several processes at once on the same two huge pages, one anonymous and one of a file: faults,
 * copies on write, dropped and protected parts, forks. Nothing is ordered between two marks, so
 * that CPUs meet inside the kernel's map-count functions; at a mark everybody rests.
 *
 * usage: storm [SEED [ROUNDS [OPERATIONS]]]
 */
#include "story.h"

#define CHILDREN 4

static unsigned long state, operations = 60;
static char *anon, *file;
static int fd;

/* xorshift64: small numbers from a seed. */
static unsigned long pick(unsigned long below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

static void fork_and_touch(char *at, unsigned long first, unsigned long end)
{
	pid_t pid = fork();
	int status;

	must(pid < 0, "fork");
	if (pid == 0) {
		write_pages(at, first, end);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) != pid || status, "a grandchild");
}

static void one_operation(void)
{
	char *at = pick(2) ? anon : file;
	unsigned long first = pick(PAGES), end = first + 1 + pick(PAGES - first);
	char *from = at + first * PAGE;
	size_t size = (end - first) * PAGE;

	switch (pick(6)) {
	case 0:
		write_pages(at, first, end);
		break;
	case 1:
		for (unsigned long page = first; page < end; page++)
			(void)*(volatile char *)(at + page * PAGE);
		break;
	case 2:
		must(madvise(from, size, MADV_DONTNEED), "MADV_DONTNEED");
		break;
	case 3:
		must(mprotect(from, size, PROT_READ) ||
		     mprotect(at, HUGE, PROT_READ | PROT_WRITE), "mprotect");
		break;
	case 4:
		fork_and_touch(at, first, end);
		break;
	default:
		must(munmap(file, HUGE) ||
		     mmap(file, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
			  fd, 0) != file, "mmap again");
	}
}

static void act(char command)
{
	(void)command;
	for (unsigned long done = 0; done < operations; done++)
		one_operation();
}

static void round_of(unsigned long seed)
{
	struct child children[CHILDREN];
	char name[32], byte;

	anon = place(0);
	file = place(1);
	map_huge(anon);
	fd = memfd_create("storm", MFD_CLOEXEC);
	must(fd < 0 || ftruncate(fd, HUGE), "memfd_create");
	must(mmap(file, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) !=
	     file, "mmap");
	ask_huge(file, HUGE);
	write_pages(file, 0, 1);
	for (int i = 0; i < CHILDREN; i++) {
		state = seed * CHILDREN + i + 1;
		children[i] = child_start(act);
	}
	/* All of them at once; the answers come when each has done its part. */
	for (int i = 0; i < CHILDREN; i++)
		must(write(children[i].command, "s", 1) != 1, "a child");
	for (int i = 0; i < CHILDREN; i++)
		must(read(children[i].answer, &byte, 1) != 1, "a child died");
	snprintf(name, sizeof(name), "storm-%lu", seed);
	mark(name);
	for (int i = 0; i < CHILDREN; i++)
		child_exit(&children[i]);
	snprintf(name, sizeof(name), "calm-%lu", seed);
	mark(name);
	must(munmap(anon, HUGE) || munmap(file, HUGE) || close(fd), "munmap");
}

int main(int argc, char **argv)
{
	unsigned long seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 4;

	if (argc > 3)
		operations = strtoul(argv[3], NULL, 0);
	for (unsigned long done = 0; done < rounds; done++)
		round_of(seed + done);
	mark("gone");
	return 0;
}
