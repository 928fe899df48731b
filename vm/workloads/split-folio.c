// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Huge folios that are split: by debugfs, whole or to smaller folios, and by memory pressure, which
 * splits those that are partially mapped.
 */
#include "story.h"

static void act(char command)
{
	if (command == 'u')
		must(munmap(place(1) + 256 * PAGE, 128 * PAGE), "munmap in the child");
}

static void by_debugfs(void)
{
	static const char path[] = "/sys/kernel/debug/split_huge_pages";
	struct child child;
	char line[80];

	map_huge(place(0));
	split_folios(place(0), HUGE);
	mark("split_pmd_mapped");
	map_huge(place(1));
	child = child_start(act);
	child_do(&child, 'u');
	mark("shared");
	split_folios(place(1), HUGE);
	mark("split_shared");
	child_exit(&child);
	mark("child_gone");
	must(munmap(place(0), HUGE) || munmap(place(1), HUGE), "munmap");

	map_huge(place(2));
	snprintf(line, sizeof(line), "%d,%#lx,%#lx,4", getpid(), (unsigned long)place(2),
		 (unsigned long)place(2) + HUGE);
	if (put(path, line))
		note("split_to_order_4", strerror(errno));
	mark("split_to_order_4");
	must(munmap(place(2) + 40 * PAGE, 100 * PAGE), "munmap");
	mark("unmapped_part");
	map_huge(place(3));
	snprintf(line, sizeof(line), "%d,%#lx,%#lx,2,100", getpid(), (unsigned long)place(3),
		 (unsigned long)place(3) + HUGE);
	if (put(path, line))
		note("split_uneven", strerror(errno));
	mark("split_uneven");
	must(munmap(place(2), HUGE) || munmap(place(3), HUGE), "munmap");
	mark("debugfs_gone");
}

static void by_pressure(void)
{
	map_huge(place(4));
	map_huge(place(5));
	write_pages(place(4), 0, PAGES);
	must(munmap(place(4) + 64 * PAGE, 64 * PAGE), "munmap");
	mark("partial");
	/* Asks every shrinker for all it has, the one of partially mapped folios included. */
	must(put("/proc/sys/vm/drop_caches", "2"), "drop_caches");
	mark("shrunk");
	must(munmap(place(4), HUGE), "munmap");
	/* A huge page of zeroes: newer kernels split it under pressure, and drop the zeroes. */
	ask_huge(place(5), HUGE);
	must(put("/proc/sys/vm/drop_caches", "2"), "drop_caches");
	mark("shrunk_zeroes");
	must(munmap(place(5), HUGE), "munmap");
	mark("pressure_gone");
}

int main(void)
{
	by_debugfs();
	by_pressure();
	return 0;
}
