// SPDX-License-Identifier: GPL-2.0-or-later
/* Blocks of memory, which go offline as a whole, and huge pages in one that has nothing else. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include "story.h"

#define MEMORY "/sys/devices/system/memory/"
#define SCOUTS ((384UL << 20) / HUGE)

/* The size of the blocks of memory that go offline, 0 where none can. */
static unsigned long block_size(void)
{
	char text[32] = {0};
	int fd = open(MEMORY "block_size_bytes", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtoul(text, NULL, 16);
}

static long block_of(const char *at)
{
	unsigned long frame = frame_at(at), size = block_size();

	return frame && size ? (long)(frame * PAGE / size) : -1;
}

/*
 * Two huge pages in a block that has nothing but huge pages of ours, so that it can go offline;
 * the others are given back. -1 where there is no such block.
 */
static int find_block(char **taken)
{
	char *const all = (char *)0x730000000000UL;
	unsigned long wanted = block_size() / HUGE, same = 0, first = 0, n;

	if (!wanted || wanted > SCOUTS / 2)
		return -1;
	map_anon(all, SCOUTS * HUGE);
	ask_huge(all, SCOUTS * HUGE);
	for (n = 0; n < SCOUTS; n++)
		all[n * HUGE] = 1;
	for (n = 0; n < SCOUTS && same < wanted; n++) {
		/* A block that is all ours was given out huge page by huge page. */
		if (n == 0 || block_of(all + n * HUGE) != block_of(all + first * HUGE)) {
			first = n;
			same = 0;
		}
		same += frame_at(all + n * HUGE) % PAGES == 0;
	}
	must(madvise(all, SCOUTS * HUGE, MADV_NOHUGEPAGE), "madvise");
	for (n = 0; n < SCOUTS; n++)
		if (same < wanted || n < first || n > first + 1)
			must(munmap(all + n * HUGE, HUGE), "munmap");
	taken[0] = all + first * HUGE;
	taken[1] = all + (first + 1) * HUGE;
	return same < wanted ? -1 : 0;
}

#endif
