# SPDX-License-Identifier: GPL-2.0-or-later
"""The watch set: which memory it covers, and which of its pages are watched."""

import pytest

from probes.errors import ProbeError
from probes.maps import FRAME_BYTES, FRAME_PAGES, NO_FRAMES, SECTION_FRAMES, SECTIONS
from probes.watchset import WatchSet, memory_ranges, sections_of, table

SECTION_PAGES = SECTION_FRAMES * FRAME_PAGES
GIB = 1 << 30
#: Of a machine with a hole below 4 GiB, a persistent DIMM, and memory of a CXL device.
IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-7fffffff : System RAM
  01000000-01ffffff : Kernel code
c0000000-febfffff : PCI Bus 0000:00
100000000-13fffffff : System RAM
240000000-27fffffff : Persistent Memory
  240000000-27fffffff : namespace0.0
1080000000-10bfffffff : CXL Window 0
  1080000000-10bfffffff : dax0.0
    1080000000-10bfffffff : System RAM (kmem)
"""


@pytest.fixture
def iomem(tmp_path):
    path = tmp_path / "iomem"
    path.write_text(IOMEM)
    return str(path)


def blocks(tmp_path, states):
    """Memory blocks of 128 MiB with their states, as sysfs shows them."""
    folder = tmp_path / "memory"
    for number, state in states.items():
        (folder / f"memory{number}").mkdir(parents=True)
        (folder / f"memory{number}" / "state").write_text(state + "\n")
    (folder / "power").mkdir()
    (folder / "block_size_bytes").write_text("8000000\n")
    return str(folder)


def test_sections_when_memory_has_holes(iomem, tmp_path):
    # GIVEN a machine whose memory has holes WHEN its sections are asked for
    sections = sections_of(memory_ranges(iomem, str(tmp_path / "none")))
    # THEN they are those that hold memory, of whatever kind
    assert sections == (0, 1, 4, 9, 66)


def test_sections_when_memory_waits_to_be_put_online(iomem, tmp_path):
    # GIVEN a block that is online, where memory is, and one that is not, at 32 GiB
    folder = blocks(tmp_path, {0: "online", 32 * 8: "offline"})
    # THEN there is room for the latter
    assert 32 in sections_of(memory_ranges(iomem, folder))


def test_sections_when_memory_lies_past_the_table():
    # GIVEN memory where no machine has it yet THEN it has no section, as has none that comes late
    end = SECTIONS * SECTION_PAGES
    assert sections_of([(end - 1, end + 1)]) == (SECTIONS - 1,)


def test_memory_when_the_kernel_hides_addresses(tmp_path):
    # GIVEN /proc/iomem as any user sees it
    path = tmp_path / "iomem"
    path.write_text("00000000-00000000 : System RAM\n")
    # THEN the error says what to do
    with pytest.raises(ProbeError, match="run as root"):
        memory_ranges(str(path))


def test_table_when_programs_look_into_it():
    # GIVEN three sections WHEN a program asks for the place of a frame
    words = memoryview(table((0, 4, 66))).cast("I")
    # THEN it is where the recorder has it, and past the last one where there is no memory
    assert (words[0], words[4], words[66]) == (0, SECTION_FRAMES, 2 * SECTION_FRAMES)
    assert {words[at] for at in range(SECTIONS) if at not in (0, 4, 66)} == {NO_FRAMES}
    assert NO_FRAMES + SECTION_FRAMES < 1 << 32


def test_cost_when_the_machine_is_large():
    # GIVEN 4 TiB in two halves, at 0 and at 32 TiB
    pages = 2 << 40 >> 12
    ranges = [(0, pages - 1), (32 << 40 >> 12, (34 << 40 >> 12) - 1)]
    # THEN the watch set costs as much as that memory needs, and nothing for the hole
    frames = len(sections_of(ranges)) * SECTION_FRAMES
    assert frames * FRAME_BYTES == 4096 * SECTION_FRAMES * FRAME_BYTES


def watch_set(states, sections=(0,)):
    """A watch set with some states by (place of the frame, page)."""
    frames = bytearray(FRAME_BYTES * SECTION_FRAMES * len(sections))
    for (place, page), state in states.items():
        frames[place * FRAME_BYTES + page] = state
        frames[place * FRAME_BYTES + FRAME_PAGES + 8] = 1
    return WatchSet(memoryview(frames), sections)


def test_watched_when_some_pages_are():
    # GIVEN a watched page in frame 0, a pinned one in 3, a freed one in 5
    # THEN the first two are taken: a freed page is nobody's
    assert watch_set({(0, 0): 1, (3, 511): 3, (5, 7): 2}).watched() == [0, 3 * FRAME_PAGES]


def test_watched_when_none_is():
    assert watch_set({}).watched() == []


def test_watched_when_memory_begins_high():
    # GIVEN frames of two sections, of which the second is the fifth GiB of memory
    watched = watch_set({(1, 0): 1, (SECTION_FRAMES + 2, 7): 1}, (1, 4)).watched()
    # THEN their pages are where the memory is
    assert watched == [SECTION_PAGES + FRAME_PAGES, 4 * SECTION_PAGES + 2 * FRAME_PAGES]


def test_pin_when_pages_are_asked_for():
    # GIVEN pages at the end of a frame and the start of the next, in a section with others before
    pins = watch_set({}, (1, 4))
    first = 4 * SECTION_PAGES + FRAME_PAGES - 1
    # WHEN they are pinned THEN their frames are watched, and no other
    pins.pin(first, first + 1)
    assert pins.watched() == [4 * SECTION_PAGES, 4 * SECTION_PAGES + FRAME_PAGES]


@pytest.mark.parametrize("pfn", [0, 2 * SECTION_PAGES, 5 * SECTION_PAGES])
def test_pin_when_there_is_no_memory(pfn):
    # GIVEN a page before, between and behind all memory THEN it cannot be watched
    with pytest.raises(ProbeError, match=f"no memory at pfn {pfn:#x}"):
        watch_set({}, (1, 4)).pin(pfn, pfn)
