# SPDX-License-Identifier: GPL-2.0-or-later
"""The walk of page tables, on this process's own."""

import array
import ctypes
import mmap
import os

from probes.pagetables import PRESENT, SWAPPED, frames_not_present, vmas, walk


def address_of(area):
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def present_pages():
    return {
        address + place * mmap.PAGESIZE
        for _vma, address, entries in walk(os.getpid())
        for place, entry in enumerate(entries)
        if entry & PRESENT
    }


def test_walk_when_a_page_is_touched():
    # GIVEN three pages of this process, the first and the last of them touched
    area = mmap.mmap(-1, 3 * mmap.PAGESIZE)
    area[0] = area[2 * mmap.PAGESIZE] = 1
    start = address_of(area)
    # WHEN its page tables are walked THEN these two are there, at their addresses
    mine = {page for page in present_pages() if start <= page < start + len(area)}
    assert mine == {start, start + 2 * mmap.PAGESIZE}


def test_walk_when_an_area_is_larger_than_what_is_read_at_once():
    # GIVEN 100 MiB of which the last page alone is touched
    area = mmap.mmap(-1, 100 << 20)
    area[(100 << 20) - 1] = 1
    # THEN the walk finds that page, and its stretch lies inside the area
    last = address_of(area) + (100 << 20) - mmap.PAGESIZE
    assert last in present_pages()
    for vma, address, entries in walk(os.getpid()):
        assert vma.start <= address and address + len(entries) * mmap.PAGESIZE <= vma.end


def test_vmas_when_a_file_with_spaces_in_its_name_is_mapped(tmp_path):
    # GIVEN a file with a space in its name, mapped from its second page on
    path = tmp_path / "two words"
    path.write_bytes(bytes(3 * mmap.PAGESIZE))
    with open(path, "r+b") as file:
        area = mmap.mmap(file.fileno(), mmap.PAGESIZE, offset=mmap.PAGESIZE)
    # THEN its area says so
    (vma,) = [one for one in vmas(os.getpid()) if one.path == str(path)]
    assert (vma.end - vma.start, vma.offset) == (mmap.PAGESIZE, mmap.PAGESIZE)
    assert vma.flags == "rw-s" and vma.inode == path.stat().st_ino
    area.close()


def test_frames_when_entries_name_pages_that_are_not_present():
    # GIVEN a page, one in a swap area, one that a device has (type 30), a marker's entry, a hole
    entries = [PRESENT | 0x400, SWAPPED | 0x401 << 5 | 2, SWAPPED | 0x402 << 5 | 30, 1 << 55, 0]
    # THEN the device's alone names a frame
    assert list(frames_not_present(array.array("Q", entries))) == [0x402]
    # AND without it none does
    assert list(frames_not_present(array.array("Q", entries[:2]))) == []
