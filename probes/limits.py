# SPDX-License-Identifier: GPL-2.0-or-later
"""Upper limits for the contents of a trace, documented in docs/trace-format.md.

The recorder stays below these limits and a reader checks them when it reads a block, so that
the reader's memory and time are bounded by the size of the file.
"""

#: Bytes that one packed block may unpack to.
BLOCK = 1 << 28
#: Bytes that the packed blocks of a file may unpack to, of all of it, of the records and of the
#: JSON (of which a program makes thirty times as much): so many, and so often the file's size.
UNPACKED = {"all": (1 << 26, 60), "records": (1 << 26, 32), "json": (1 << 24, 1)}
#: Lists and objects of JSON that may lie in each other.
DEPTH = 32
#: Characters of a text; a writer clips what is longer.
TEXT = 4096
#: Probes of a plan, functions that could not be probed, and counters of a folio.
PROBES, COUNTERS = 4096, 64
#: Distinct stacks of a recording, and frames of each (PERF_MAX_STACK_DEPTH is 127).
STACKS, FRAMES = 1 << 16, 256
#: Lines of a dying kernel that are kept.
LINES = 10_000
#: The largest folio: 1 GiB in pages of 4 KiB, 16 GiB in pages of 64 KiB.
ORDER = 18
#: Bytes of a page.
PAGE = 1 << 16
#: CPUs and probes have 16 bits in a record, threads those of a pid_t without its sign.
ID, TASK = (1 << 16) - 1, (1 << 31) - 1
#: Records that can be lost at a time, and any time, position, page or virtual address.
LOST, EVER = (1 << 40) - 1, (1 << 63) - 1
