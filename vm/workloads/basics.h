/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every program of the lab needs: sizes, errors, marks, the kernel's settings, swap. */
#ifndef BASICS_H
#define BASICS_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The lab gives others where the kernel has other pages (vm/build.py). */
#ifndef PAGE
#define PAGE 4096UL
#define PAGES 512UL
#endif
#define HUGE (PAGE * PAGES)

/* Newer than the C library of some hosts. */
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

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

static void must(int failed, const char *what)
{
	if (failed)
		die(1, "%s: %s", what, strerror(errno));
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

/* Writes one of the kernel's settings; -1 with errno where that fails. */
static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), saved, failed;

	if (fd < 0)
		return -1;
	failed = write(fd, text, strlen(text)) < 0;
	saved = errno;
	close(fd);
	errno = saved;
	return failed ? -1 : 0;
}

/* The 2 MiB region number n: far enough apart that the kernel merges no two. */
static char *place(int n)
{
	return (char *)0x700000000000UL + n * 4 * HUGE;
}

/*
 * Makes sure that there is swap, in compressed memory.  Returns 0, or what failed.  A new device may
 * still be open in udev, which wants to know what it has: its reset is tried for two seconds.
 */
static const char *swap_on(void)
{
	static const char *const failed[] = {
		0, "no swap: there is no zram", "no swap: zram0 is in use",
		"no swap: zram0 takes no size", "no swap: mkswap failed",
		"no swap: swapon failed", "no swap: there is no shell",
	};
	FILE *file = fopen("/proc/swaps", "re");
	char line[256];
	int lines = 0, status;

	while (file && fgets(line, sizeof(line), file))
		lines++;
	if (file)
		fclose(file);
	if (lines > 1)
		return 0;
	status = system("PATH=/usr/sbin:/sbin:/usr/bin:/bin; exec 2>/dev/null >&2; tries=20; "
			"modprobe zram num_devices=1; cd /sys/block/zram0 || exit 1; "
			"until echo 1 >reset; do "
			"tries=$((tries - 1)); [ $tries -gt 0 ] || exit 2; sleep 0.1; done; "
			"echo 256M >disksize || exit 3; mkswap /dev/zram0 || exit 4; "
			"swapon /dev/zram0 || exit 5");
	return failed[WIFEXITED(status) && WEXITSTATUS(status) <= 5 ? WEXITSTATUS(status) : 6];
}

#endif
