# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of pagemap, numa_maps and smaps: as the kernel writes them, and as it reads back."""

import array
import ctypes
import mmap
import os

from analysis.truth import AREA as AREA_READ
from analysis.truth import RUN as RUN_READ
from probes.pagetables import PRESENT, Vma, walk
from probes.published import AREA, RUN, SUMS, Published, figures, largest_counts, runs_of

EXCLUSIVE = 1 << 56
PAGE = mmap.PAGESIZE
NUMA_MAPS = """\
55d0c0de0000 default file=/tmp/mapmax=77 mapped=3 mapmax=12 N0=3 kernelpagesize_kB=4
700000000000 default anon=512 dirty=512 N0=512 kernelpagesize_kB=4
7ffc00000000 prefer:0 stack anon=2 dirty=2 mapmax=3 N0=2 kernelpagesize_kB=4
"""
SMAPS = """\
700000000000-700000200000 rw-p 00000000 00:00 0
Size:               2048 kB
Rss:                2048 kB
Pss:                1024 kB
Pss_Dirty:          1024 kB
Shared_Clean:          4 kB
Shared_Dirty:       2040 kB
Private_Clean:         0 kB
Private_Dirty:         4 kB
AnonHugePages:      2048 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
VmFlags: rd wr mr mw me ac sd
7f0000000000-7f0000001000 r--s 00000000 00:2f 7      /tmp/Rss: 9 kB
Rss:                   4 kB
Pss:                   2 kB
"""


def entries_of(*entries):
    return array.array("Q", entries)


def test_runs_when_pages_follow_each_other():
    # GIVEN three pages in a row, one with another bit, a hole, a swapped page, a far page
    entries = entries_of(
        PRESENT | 0x400, PRESENT | 0x401, PRESENT | 0x402, PRESENT | EXCLUSIVE | 0x403,
        0, 1 << 62 | 0x404, PRESENT | 0x410,
    )  # fmt: skip
    # WHEN they are put into runs THEN these begin where an entry is not the one before plus one
    assert list(runs_of({2}, 0x10000, entries, 0x1000)) == [
        (0x10000, 3, PRESENT | 0x400),
        (0x13000, 1, PRESENT | EXCLUSIVE | 0x403),
        (0x16000, 1, PRESENT | 0x410),
    ]


def test_runs_when_a_frame_ends():
    # GIVEN pages in a row over the end of a frame, into one that is not watched and out of it
    entries = entries_of(*(PRESENT | pfn for pfn in range(0x3FE, 0x602)))
    # THEN each run lies in a watched frame
    assert list(runs_of({1, 3}, 0, entries, PAGE)) == [
        (0, 2, PRESENT | 0x3FE),
        (514 * PAGE, 2, PRESENT | 0x600),
    ]


def test_largest_counts_when_a_file_is_named_like_one():
    # GIVEN numa_maps THEN a mapping without a mapmax is not there, and a name is no number
    assert largest_counts(NUMA_MAPS) == {0x55D0C0DE0000: 12, 0x7FFC00000000: 3}


def test_figures_when_a_file_is_named_like_one():
    # GIVEN smaps THEN clean and dirty are one sum
    assert figures(SMAPS) == {
        (0x700000000000, 0x700000200000): [2048, 1024, 2044, 4, 2048],
        (0x7F0000000000, 0x7F0000001000): [4, 2, 0, 0, 0],
    }


def test_layout_when_it_is_read_back():
    # GIVEN the two definitions of the layout THEN they have the same size and the same order
    assert (RUN.size, AREA.size) == (RUN_READ.itemsize, AREA_READ.itemsize)
    assert RUN_READ.names == ("pid", "pages", "address", "entry")
    assert len(AREA_READ.names) == 4 + len(SUMS)


def test_published_when_this_process_is_asked():
    # GIVEN two touched pages of this process
    area = mmap.mmap(-1, 2 * PAGE)
    area[0] = area[PAGE] = 1
    published = Published()
    # WHEN everything that its page tables map is added
    for vma, address, entries in walk(os.getpid()):
        frames = {(entry & ((1 << 55) - 1)) // 512 for entry in entries}
        published.add(os.getpid(), vma, list(runs_of(frames, address, entries, PAGE)))
    published.end(os.getpid(), os.getpid())
    # THEN the payload holds what its description says, and the kernel told of each mapping
    about, payload = published.about(), published.payload()
    size = about["runs"] * RUN.size
    assert len(payload) == size + about["areas"] * AREA.size
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    ours = [one for one in AREA.iter_unpack(payload[size:]) if one[1] <= start < one[2]]
    assert [(pid, rss >= 8) for pid, _, _, _, rss, *_ in ours] == [(os.getpid(), True)]


def test_published_when_the_task_has_ended():
    # GIVEN a child that was added and is gone
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    published = Published()
    published.add(child, Vma(0, PAGE, "rw-p", 0, 0, ""), [(0, 1, PRESENT | 0x400)])
    # WHEN its files are asked THEN what was walked is kept, and there is nothing more
    published.end(child, child)
    about = published.about()
    assert (about["runs"], about["areas"]) == (1, 0)
