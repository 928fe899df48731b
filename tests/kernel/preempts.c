// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * preempts PRIORITY SECONDS: on each CPU a task maps, touches and unmaps pages without a pause, by
 * SCHED_FIFO with that priority or (0) as an ordinary task, and one of a higher priority does
 * the same each time that a timer wakes it: inside of whatever the first does in the kernel.
 */
#include "../../vm/workloads/basics.h"
#include <sched.h>
#include <sys/wait.h>
#include <time.h>

#define AREA (16 * PAGE)
/* How long the task of the higher priority sleeps: no multiple of what the other one does. */
#define SLEEP_NS 73000

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void touch(void)
{
	char *area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(area == MAP_FAILED, "mmap");
	for (unsigned long at = 0; at < AREA; at += PAGE)
		area[at] = 1;
	must(munmap(area, AREA), "munmap");
}

static void work(int cpu, int priority, long pause, double end)
{
	struct sched_param fifo = { .sched_priority = priority };
	struct timespec t = { .tv_nsec = pause };
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET(cpu, &only);
	must(sched_setaffinity(0, sizeof(only), &only), "sched_setaffinity");
	if (priority)
		must(sched_setscheduler(0, SCHED_FIFO, &fifo), "sched_setscheduler");
	while (now() < end) {
		touch();
		if (pause)
			nanosleep(&t, NULL);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int priority = argc == 3 ? atoi(argv[1]) : -1, status, failed = 0;
	double end = now() + (argc == 3 ? atof(argv[2]) : 0);

	if (priority < 0)
		die(2, "usage: preempts PRIORITY SECONDS");
	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		for (int above = 0; above < 2; above++) {
			pid_t child = fork();

			must(child < 0, "fork");
			if (!child)
				work(cpu, priority + above, above ? SLEEP_NS : 0, end);
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	return failed ? 1 : 0;
}
