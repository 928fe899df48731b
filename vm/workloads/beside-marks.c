// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Marks at random times, while other processes move, copy and unmap huge pages: what changes no
 * map count (mremap) or changes many (fork, exit, munmap) must not get between the counts that a
 * snapshot reads and the page tables that it walks. Arguments: seed, marks.
 */
#include "story.h"

#include <signal.h>
#include <sys/prctl.h>

/* A huge page wanders between four places. */
static void move(void)
{
	char *at = place(0);

	map_huge(at);
	for (int n = 1;; n = (n + 1) % 4) {
		must(mremap(at, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, place(n)) != place(n),
		     "mremap");
		at = place(n);
	}
}

/* The same with some of its pages, mapped by PTEs. */
static void move_pages(void)
{
	char *at = place(4);

	map_huge(at);
	for (int n = 1;; n = (n + 1) % 4) {
		must(mremap(at, 100 * PAGE, 100 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			    place(4 + n)) == MAP_FAILED, "mremap of pages");
		at = place(4 + n);
	}
}

/* Children come and go, some with children of their own. */
static void copy(void)
{
	map_huge(place(8));
	for (;;) {
		pid_t pid = fork();

		must(pid < 0, "fork");
		if (pid == 0) {
			if (fork() == 0)
				write_pages(place(8), 0, 2);
			wait(NULL);
			_exit(0);
		}
		must(waitpid(pid, NULL, 0) != pid, "waitpid");
	}
}

/* A new huge page each time, that goes in parts. */
static void drop(void)
{
	for (;;) {
		map_huge(place(12));
		must(munmap(place(12), 64 * PAGE), "munmap");
		must(munmap(place(12) + 64 * PAGE, HUGE - 64 * PAGE), "munmap");
	}
}

int main(int argc, char **argv)
{
	void (*const works[])(void) = { move, move_pages, copy, drop };
	enum { WORKS = sizeof(works) / sizeof(works[0]) };
	int marks = argc > 2 ? atoi(argv[2]) : 20;
	pid_t pids[WORKS];
	char name[32];

	need_huge_pages();
	srandom(argc > 1 ? atoi(argv[1]) : 1);
	for (int i = 0; i < WORKS; i++) {
		pids[i] = fork();
		must(pids[i] < 0, "fork");
		if (pids[i] == 0) {
			must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
			works[i]();
			_exit(1);
		}
	}
	for (int n = 0; n < marks; n++) {
		usleep(random() % 300000);
		snprintf(name, sizeof(name), "random_%d", n);
		mark(name);
		/* A worker that has met an error is one no more. */
		for (int i = 0; i < WORKS; i++)
			must(waitpid(pids[i], NULL, WNOHANG) != 0, "a worker ended");
	}
	for (int i = 0; i < WORKS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	return 0;
}
