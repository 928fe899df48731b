# SPDX-License-Identifier: GPL-2.0-or-later
"""Which physical page frames hold a mapping of this process (/proc/self/pagemap)."""

from __future__ import annotations

import ctypes
import mmap
from typing import List, Tuple

PRESENT = 1 << 63
PFN_MASK = (1 << 55) - 1


def frames_of(mapping: mmap.mmap, pages: int) -> List[Tuple[int, int]]:
    """The frames of the first ``pages`` pages of a read-only shared mapping.

    As runs (first pfn, number), in the order of the pages.  Raises OSError where the
    kernel does not tell them.
    """
    # A page that was never touched has no entry.
    bytes(mapping[:: mmap.PAGESIZE])
    first = _address(mapping) // mmap.PAGESIZE
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


class _Buffer(ctypes.Structure):
    """Py_buffer of the interpreter."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


def _address(mapping: mmap.mmap) -> int:
    """Where a mapping lies.  ctypes itself tells it only of what may be written."""
    found = _Buffer()
    get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
    get(ctypes.py_object(mapping), ctypes.byref(found), 0)
    release(ctypes.byref(found))
    return int(found.buf)
