// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * forks TASKS SECONDS: so many tasks fork for so long, each with a huge page of its own that its
 * child splits; every two seconds there is a mark.
 */
#include "../../vm/workloads/basics.h"
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void forks(double end)
{
	char *area = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *huge = (char *)(((unsigned long)area + HUGE - 1) & ~(HUGE - 1));

	must(area == MAP_FAILED, "mmap");
	must(madvise(huge, HUGE, MADV_HUGEPAGE), "madvise");
	*huge = 1;
	while (now() < end) {
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
	int tasks = argc == 3 ? atoi(argv[1]) : 0, status, failed = 0;
	double end = now() + (argc == 3 ? atof(argv[2]) : 0);

	if (!tasks)
		die(2, "usage: forks TASKS SECONDS");
	for (int task = 0; task < tasks; task++) {
		pid_t child = fork();

		must(child < 0, "fork");
		if (!child) {
			forks(end);
			_exit(0);
		}
	}
	while (now() < end) {
		sleep(2);
		mark("while they fork");
	}
	while (wait(&status) > 0)
		failed |= status;
	return failed ? 1 : 0;
}
