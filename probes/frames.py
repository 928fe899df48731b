# SPDX-License-Identifier: GPL-2.0-or-later
"""Which physical page frames hold a mapping of this process (/proc/self/pagemap)."""

from __future__ import annotations

import mmap
from typing import List, Tuple

from probes.buffers import place_of

PRESENT = 1 << 63
PFN_MASK = (1 << 55) - 1


def frames_of(mapping: mmap.mmap, pages: int) -> List[Tuple[int, int]]:
    """The frames of the first ``pages`` pages of a read-only shared mapping.

    As runs (first pfn, number), in the order of the pages.  Raises OSError if the kernel does
    not show them.
    """
    # A page that was never touched has no entry.
    bytes(mapping[:: mmap.PAGESIZE])
    with place_of(mapping) as (address, _):
        first = address // mmap.PAGESIZE
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        file.seek(first * 8)
        entries = memoryview(file.read(pages * 8)).cast("Q")
    runs: List[Tuple[int, int]] = []
    for entry in entries:
        pfn = entry & PFN_MASK
        if not entry & PRESENT or not pfn:
            raise OSError("/proc/self/pagemap does not show page frames")
        if runs and sum(runs[-1]) == pfn:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((pfn, 1))
    return runs
