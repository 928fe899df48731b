// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * forks TASKS MARKS: so many tasks fork, each with a huge page of its own that its child splits, until
 * there were so many marks, two seconds apart.
 */
#include "../../vm/workloads/basics.h"
#include <sys/wait.h>

/* Shared by all tasks: there were enough marks. */
static volatile int *ended;

static void forks(void)
{
	char *area = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *huge = (char *)(((unsigned long)area + HUGE - 1) & ~(HUGE - 1));

	must(area == MAP_FAILED, "mmap");
	must(madvise(huge, HUGE, MADV_HUGEPAGE), "madvise");
	*huge = 1;
	while (!*ended) {
		pid_t child = fork();

		must(child < 0, "fork");
		if (!child) {
			huge[PAGE] = 2;
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	int tasks = argc == 3 ? atoi(argv[1]) : 0, marks = argc == 3 ? atoi(argv[2]) : 0;
	int status, failed = 0;

	if (!tasks || !marks)
		die(2, "usage: forks TASKS MARKS");
	ended = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(ended == MAP_FAILED, "mmap");
	for (int task = 0; task < tasks; task++) {
		pid_t child = fork();

		must(child < 0, "fork");
		if (!child) {
			/* Or the one that forks and marks hardly ran beside a hundred others. */
			must(nice(10) < 0, "nice");
			forks();
			_exit(0);
		}
	}
	for (; marks; marks--) {
		sleep(2);
		mark("while they fork");
	}
	*ended = 1;
	while (wait(&status) > 0)
		failed |= status;
	return failed ? 1 : 0;
}
