# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes/rights.py reads of pages whose rights are known, as this program made them.

Runs as root in a guest, by the Python there.  Prints a line for each case, what was read and what
was there; exits 1 if one is wrong.
"""

import ctypes
import mmap
import os
import struct

from probes.headers import find_types
from probes.kernel import Kcore, Symbols
from probes.maps import FRAME_PAGES
from probes.pagetables import PFN_MASK
from probes.published import RUN
from probes.rights import KNOWN, WRITABLE, Rights, Shared
from probes.spaces import TaskList

PAGE = mmap.PAGESIZE
HUGE = FRAME_PAGES * PAGE
LIBC = ctypes.CDLL(None, use_errno=True)
WRONG = []


class Layout:
    """The offsets that are needed."""

    task = {}


def area(size, advice):
    """The address of so much memory of its own, all of it written to."""
    found = mmap.mmap(-1, size + HUGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(found))
    at = -(-start // HUGE) * HUGE
    found.madvise(advice)
    AREAS.append(found)
    ctypes.memset(at, 1, size)
    return at


AREAS = []


def protect(address, how):
    """Change what a page may be used for."""
    assert LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), how) == 0


def pfn_of(address):
    """The pfn that pagemap names."""
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        file.seek(address // PAGE * 8)
        return struct.unpack("<Q", file.read(8))[0] & PFN_MASK


def expect(name, address, pages, wanted):
    """Hold what is read of some pages of this process against what they are."""
    told = []
    for page in range(pages):
        at = address + page * PAGE
        run = Shared(os.getpid(), 1, at, pfn_of(at))
        for _, number, _, entry in RUN.iter_unpack(READER.of([run])):
            told += ["w" if entry & WRITABLE else "r" if entry & KNOWN else "?"] * number
    good = "".join(told) == wanted
    print("ok   " if good else "WRONG", name, "".join(told), wanted, flush=True)
    if not good:
        WRONG.append(name)


def in_child(work):
    """Run something in a child."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(len(WRONG))
    assert os.waitpid(child, 0)[1] == 0, "wrong in the child"


def main():
    """All cases."""
    small = area(HUGE, mmap.MADV_NOHUGEPAGE)
    expect("written", small, 4, "wwww")
    protect(small + PAGE, mmap.PROT_READ)
    protect(small + 2 * PAGE, 0)
    expect("one read-only, one PROT_NONE", small, 4, "wrrw")
    protect(small + 2 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE)

    def writes():
        expect("the child's copies", small, 4, "rrrr")
        ctypes.memset(small + 3 * PAGE, 2, 1)
        expect("one that the child wrote", small, 4, "rrrw")

    def and_looks():
        expect("the child's huge page", huge, 4, "rrrr")
        ctypes.memset(huge + PAGE, 2, 1)
        expect("one that the child wrote", huge, 4, "rwrr")

    in_child(writes)
    expect("after the fork", small, 4, "rrrr")
    ctypes.memset(small, 3, 1)
    expect("written again", small, 4, "wrrr")
    # Another page than is there is not known.
    run = Shared(os.getpid(), 1, small, pfn_of(small) + 1)
    assert READER.of([run]) == RUN.pack(os.getpid(), 1, small, run.pfn)
    huge = area(HUGE, mmap.MADV_HUGEPAGE)
    print("pages of the huge one:", [hex(pfn_of(huge + page * PAGE)) for page in (0, 1)])
    expect("a huge page", huge, 4, "wwww")
    in_child(and_looks)
    expect("after the fork", huge, 4, "rrrr")
    return 1 if WRONG else 0


if __name__ == "__main__":
    types = find_types()
    Layout.task = {
        "pgd": types.offset("mm_struct", "pgd"),
        **{name: types.offset("task_struct", name) for name in ("tasks", "mm", "tgid")},
    }
    memory = Kcore()
    print(
        "told:", {name: memory.told().get(name) for name in ("pgtable_l5_enabled", "TCR_EL1_T1SZ")}
    )
    listed = TaskList(memory, Layout.task, Symbols().address["init_task"])
    READER = Rights(memory, Layout, listed)
    raise SystemExit(main())
