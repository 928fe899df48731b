# SPDX-License-Identifier: GPL-2.0-or-later
"""zlib's CRC-32, made by the library of this machine that needs the fewest instructions for it.

zlib looks sums up in tables, some four instructions for each byte.  liblzma (from 5.6.0 on) and
libgcrypt multiply without carries where the processor can: less than a tenth of that.  Which of
them there is depends on the distribution, so neither is required; one is used once its sum of a
sample was zlib's.
"""

from __future__ import annotations

import ctypes
import functools
import zlib
from typing import Callable, Union

from probes.buffers import place_of

Payload = Union[bytes, bytearray, memoryview]
_Sum = Callable[[bytes, Payload], int]

#: Shorter texts are summed before the address of one is found.
SHORT = 4096
_LZMA_FAST = 50060000  # 5.6.0
_GCRY_MD_CRC32 = 302


class _Part(ctypes.Structure):
    """gcry_buffer_t: one of the texts that gcry_md_hash_buffers() sums as if they were one."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("off", ctypes.c_size_t),
        ("len", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
    ]


def crc32(head: bytes, payload: Payload) -> int:
    """The sum of both, as if they were one."""
    size = payload.nbytes if isinstance(payload, memoryview) else len(payload)
    return (_by_zlib if size < SHORT else _fastest())(head, payload)


def _by_zlib(head: bytes, payload: Payload) -> int:
    return zlib.crc32(payload, zlib.crc32(head))


@functools.lru_cache(maxsize=None)
def _fastest() -> _Sum:
    head, payload = b"sample", memoryview(bytes(range(256)) * 17)
    for make in (_lzma, _gcrypt):
        try:
            found = make()
            if found(head, payload) == _by_zlib(head, payload):
                return found
        except (OSError, AttributeError, ValueError):
            continue  # it is not there, or another version of it
    return _by_zlib


def _lzma() -> _Sum:
    library = ctypes.CDLL("liblzma.so.5")
    if library.lzma_version_number() < _LZMA_FAST:
        raise ValueError("it uses tables")
    function = library.lzma_crc32
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32]
    function.restype = ctypes.c_uint32

    def crc(head: bytes, payload: Payload) -> int:
        before = zlib.crc32(head)
        with place_of(payload) as (address, size):
            return int(function(address, size, before))

    return crc


def _gcrypt() -> _Sum:
    library = ctypes.CDLL("libgcrypt.so.20")
    library.gcry_check_version(None)  # which sets the library up
    function = library.gcry_md_hash_buffers
    number, pointer = ctypes.c_int, ctypes.c_void_p
    function.argtypes = [number, ctypes.c_uint, pointer, pointer, number]

    def crc(head: bytes, payload: Payload) -> int:
        digest = ctypes.create_string_buffer(4)
        text = ctypes.create_string_buffer(head, len(head))

        with place_of(payload) as (address, size):
            parts = (_Part * 2)(
                _Part(len(head), 0, len(head), ctypes.addressof(text)),
                _Part(size, 0, size, address),
            )
            failed = function(_GCRY_MD_CRC32, 0, digest, parts, 2)
        if failed:
            raise ValueError("it may not be used (FIPS mode)")
        return int.from_bytes(digest.raw, "big")

    return crc
