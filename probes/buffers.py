# SPDX-License-Identifier: GPL-2.0-or-later
"""The address of an object's bytes, which ctypes gives only for objects that may be written."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from typing import Iterator, Tuple, Union


class _View(ctypes.Structure):
    """Py_buffer of the interpreter."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
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


@contextlib.contextmanager
def place_of(what: Union[bytes, bytearray, memoryview, mmap.mmap]) -> Iterator[Tuple[int, int]]:
    """The address of the first byte and the number of bytes, which do not move meanwhile."""
    view = _View()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(what), ctypes.byref(view), 0)
    try:
        yield int(view.buf or 0), int(view.len)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
