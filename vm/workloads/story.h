// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Helpers that the workloads share: marks, child processes that obey one command at a time, and
 * a 2 MiB region at a fixed address.
 *
 * At a mark the recorder stops the writer and reads every counter. So that these reads are of a
 * folio at rest, a child acts only between a command and its answer, and the parent marks only
 * when it has every answer.
 */
#ifndef STORY_H
#define STORY_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 512UL
#define HUGE (PAGE * PAGES)

/* The exit status when the kernel gave no huge page: the story cannot be told, nothing is wrong. */
#define NO_HUGE_PAGE 3

static void die(int status, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "error: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(status);
}

/* Puts a named mark into the kernel's trace buffer, from where a recorder picks it up. */
static void mark(const char *name)
{
	static int fd = -2;
	char line[64];
	int length = snprintf(line, sizeof(line), "mapcount: %s\n", name);

	if (fd == -2) {
		fd = open("/sys/kernel/tracing/trace_marker", O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			fprintf(stderr, "note: no marks (trace_marker: %s): run as root with "
				"tracefs mounted to have them\n", strerror(errno));
	}
	/* One write(2), so that the line cannot be torn. */
	if (fd >= 0 && write(fd, line, length) != length)
		die(1, "trace_marker: %s", strerror(errno));
}

struct child {
	pid_t pid;
	int command, answer;
};

/* Forks a child that calls act() for every command byte and waits, touching nothing, between. */
static struct child child_start(void (*act)(char))
{
	int down[2], up[2];
	struct child child;
	char byte;

	if (pipe(down) || pipe(up))
		die(1, "pipe: %s", strerror(errno));
	fflush(NULL);
	child.pid = fork();
	if (child.pid < 0)
		die(1, "fork: %s", strerror(errno));
	if (child.pid == 0) {
		close(down[1]);
		close(up[0]);
		/* The end of the pipe, if the parent dies, ends the child as well. */
		do {
			if (write(up[1], "", 1) != 1 || read(down[0], &byte, 1) != 1)
				_exit(1);
			if (byte != 'q')
				act(byte);
		} while (byte != 'q');
		_exit(0);
	}
	close(down[0]);
	close(up[1]);
	child.command = down[1];
	child.answer = up[0];
	if (read(child.answer, &byte, 1) != 1)
		die(1, "a child died at once");
	return child;
}

static void child_do(struct child *child, char what)
{
	char byte;

	if (write(child->command, &what, 1) != 1 || read(child->answer, &byte, 1) != 1)
		die(1, "a child died at command '%c'", what);
}

/* The mm is torn down before wait(2) returns, so its mappings are gone by then. */
static void child_exit(struct child *child)
{
	int status;

	if (write(child->command, "q", 1) != 1 || waitpid(child->pid, &status, 0) != child->pid ||
	    status != 0)
		die(1, "a child did not end well");
	close(child->command);
	close(child->answer);
}

/* The size in KiB of one line of /proc/self/smaps, for the mapping that starts at address. */
static long smaps_kib(const void *address, const char *key)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512], start[32];
	long kib = -1;
	int inside = 0;

	if (!file)
		die(1, "/proc/self/smaps: %s", strerror(errno));
	snprintf(start, sizeof(start), "%lx-", (unsigned long)address);
	while (kib < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, start, strlen(start)))
			inside = 1;
		else if (inside && !strncmp(line, key, strlen(key)))
			kib = atol(line + strlen(key));
	}
	fclose(file);
	return kib;
}

static void must(int failed, const char *what)
{
	if (failed)
		die(1, "%s: %s", what, strerror(errno));
}

#endif
