# SPDX-License-Identifier: GPL-2.0-or-later
"""The vocabulary of a trace: the 64-byte record, operations, phases and flag bits.

This module is the root of the dependency graph.  ``bpf/record.h`` declares the same
struct for the kernel side; a test holds the two against each other.  Everything in a
record is RAW: what the kernel's words held at that instant.  Readers turn a raw map
count into its logical value by adding one (the kernel biases ``_mapcount``,
``_entire_mapcount`` and ``_large_mapcount`` by -1).
"""

from __future__ import annotations

import argparse
import struct
from typing import Tuple

#: One record, little-endian.  (name, struct code, numpy code, what it holds)
FIELDS = (
    ("ts", "Q", "<u8", "ns of CLOCK_MONOTONIC when the probe ran"),
    ("seq", "I", "<u4", "count of this CPU's records, dropped ones included: a gap is a loss"),
    ("cpu", "H", "<u2", "CPU that ran the probe"),
    ("probe", "H", "<u2", "id of the probe in the header's plan, or one of the marks below"),
    ("tid", "I", "<u4", "thread id (the kernel's pid)"),
    ("pid", "I", "<u4", "process id (the kernel's tgid)"),
    ("pfn", "Q", "<u8", "page frame number of the page the function was called with"),
    ("mapcount", "i", "<i4", "raw page._mapcount of that page (bias -1)"),
    ("entire", "i", "<i4", "raw whole-folio map count of its folio (bias -1)"),
    ("nr_mapped", "i", "<i4", "raw folio._nr_pages_mapped (bias 0)"),
    ("large", "i", "<i4", "raw folio._large_mapcount (bias -1)"),
    ("refcount", "i", "<i4", "raw _refcount of the head"),
    ("flags", "I", "<u4", "low 32 bits of the head's page flags"),
    ("aux", "i", "<i4", "stack id of an enter or point record, result of a return record"),
    ("nr", "H", "<u2", "pages the operation covers, from pfn on; 0: the whole folio"),
    ("order", "B", "u1", "order of the folio; 0 for a page of no folio"),
    ("bits", "B", "u1", "the BIT_ and LEVEL_ flags below"),
)

RECORD = struct.Struct("<" + "".join(code for _, code, _, _ in FIELDS))
RECORD_SIZE = 64
assert RECORD.size == RECORD_SIZE

#: A record that carries text (a mark's name, a task's comm) uses bytes 32..63 for it.
TEXT_OFFSET, TEXT_SIZE = 32, 32

#: The kernel's ring buffer puts 8 bytes before each record: u32 length, u32 page offset.
RING_HEADER_SIZE = 8
RING_BUSY, RING_DISCARD = 1 << 31, 1 << 30
SLOT_SIZE = RING_HEADER_SIZE + RECORD_SIZE

#: Values of ``probe`` from here on are not in the plan.
MARK_FIRST = 0xFF00
MARK_NAMED = 0xFF00  # text: the mark's name; a workload wrote it to trace_marker
TASK_NEW = 0xFF01  # text: comm; pfn: the new thread's tgid << 32 | tid
TASK_RENAME = 0xFF02  # text: the new comm
TASK_EXIT = 0xFF03  # text: comm
OWNER = 0xFF04  # no text: the mm that the operation of the next record maps for, see below
PLACE = 0xFF05  # no text: where the operation of the next record is, see below
MOVED = 0xFF06  # no text: page-table entries were moved, see below
MARKS = {
    MARK_NAMED: "mark",
    TASK_NEW: "task_new",
    TASK_RENAME: "task_rename",
    TASK_EXIT: "task_exit",
    OWNER: "owner",
    PLACE: "place",
    MOVED: "moved",
}

#: An owner record has the time, task and page of the record that it goes before.  In the place of
#: a counter it has what kernels with CONFIG_MM_ID know: the id of the mm (struct mm_struct).
OWNER_COLUMNS = {"mm_id": "mapcount"}

#: A place record, too.  In the place of the counters it has the address of the mm (struct
#: mm_struct), which is its name, and the virtual address of the page in it.  A record of a task has
#: the mm behind the name; the record of a move has an mm, from where to where, and how many bytes.
PLACE_WORDS = struct.Struct("<QQ16x")
NAMED_WORDS = struct.Struct("<16sQ8x")
MOVED_WORDS = struct.Struct("<QQQQ")
#: In place of an address that could not be had.
NO_ADDRESS = (1 << 64) - 1

#: A record of a pin or an unpin has in the place of counters: how many references the call is for;
#: whether they are pins (FOLL_PIN; else FOLL_GET); and the counters of pins (probes/counters.py),
#: after a pin and before an unpin (0 for a page of no folio).
PIN_OPS = ("pin", "unpin")
PIN_COLUMNS = {"references": "mapcount", "pinned": "entire"}

BIT_DOUBLE_MAP = 0x01  # PG_double_map was set in page[1] (compound_mapcount era)
BIT_ANON = 0x02  # bit 0 of the head's mapping was set
BIT_HUGETLB = 0x04  # the folio is hugetlb
BIT_FREED = 0x08  # the page had been freed and not seen allocated since
LEVEL_SHIFT = 4  # two bits: the page-table level the operation works at
LEVELS = ("pte", "pmd", "pud")
BIT_UNREAD = 0x40  # the struct page could not be read: the counters are void
BIT_TAIL = 0x80  # pfn was a tail page when the probe ran

#: ``aux`` of an enter or point record made without stacks.
NO_STACK = -(1 << 31)

#: What a probe's function does to a folio, in the order the categories have everywhere.
OPS = (
    "map",  # adds mappings
    "unmap",  # removes mappings
    "dup",  # fork's copy of a mapping
    "split_pmd",  # a PMD mapping becomes PTE mappings; the folio stays
    "split_folio",  # the folio becomes smaller folios
    "deferred_split",  # a partially mapped folio is queued for splitting
    "collapse",  # khugepaged or MADV_COLLAPSE gathers pages into a huge one
    "migrate",  # the contents move to another folio; pfn is the old one
    "alloc",  # the page allocator hands the folio out
    "free",  # the page allocator takes it back
    "read",  # a reader looks at the folio without a reference
    "fork",  # bracket: copy_page_range copies page tables, from the first watched page on
    "reader",  # bracket: a read() of /proc/kpage*, or what smaps or pagemap walk of page tables
    "oops",  # the kernel begins to report its own failure
    "mark",
    "task_new",
    "task_rename",
    "task_exit",
    "owner",  # no operation: see OWNER
    "place",  # likewise: see PLACE
    "moved",  # mremap moves page-table entries: see MOVED
    "pin",  # get_user_pages() or pin_user_pages() has taken references, see PIN_COLUMNS
    "unpin",  # pins are about to be dropped
    "unmap_to_move",  # a migration is to unmap the folio; where it still is mapped, it gives up
    "move",  # a migration is to move the folio; the return has the result
    "unmap_all",  # reclaim or memory failure is to remove all mappings, or to restore them
    "ask",  # a walk of page tables asks for the map count of a page that nothing maps
)

#: ``point``: recorded once, on entry of the function or at an instruction, before the
#: function changes anything.  ``enter`` and ``return`` bracket a function.
PHASES = ("point", "enter", "return")


#: Physical addresses have at most 52 bits: pfns are below this.
PFN_END = 1 << 40


def page_spans(text: str) -> Tuple[Tuple[int, int], ...]:
    """Page frame spans in the syntax of page-types: ``N``, ``N+M`` (M pages), ``N,M`` (up
    to M, exclusive); several separated by spaces.

    Returns (first, last) pairs.
    """
    spans = []
    for part in text.split():
        if "+" in part:
            start, count = (int(n, 0) for n in part.split("+"))
            last = start + count - 1
        elif "," in part:
            start, end = (int(n, 0) for n in part.split(","))
            last = end - 1
        else:
            start = last = int(part, 0)
        if not 0 <= start <= last < PFN_END:
            raise ValueError(part)
        spans.append((start, last))
    if not spans:
        raise ValueError(text)
    return tuple(spans)


def page_option(text: str) -> int:
    """One page frame number for argparse."""
    try:
        pfn = int(text, 0)
    except ValueError:
        pfn = -1
    if not 0 <= pfn < PFN_END:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a page frame number: write 0x12345 or 74565"
        )
    return pfn


def pages_option(text: str) -> Tuple[Tuple[int, int], ...]:
    """``page_spans`` for argparse, which shows its user what to write."""
    try:
        return page_spans(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a page span: write N, N+M (M pages) or N,M (up to M)"
        ) from None
