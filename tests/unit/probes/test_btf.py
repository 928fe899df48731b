# SPDX-License-Identifier: GPL-2.0-or-later
"""The reading of BTF, by libbpf, of types that are made up here."""

import ctypes
import struct

import pytest

from probes.btf import Btf
from probes.errors import ProbeError

ENUM, ENUM64 = 6, 19


def section(kind, size, values, words):
    """BTF with one enum, "pagetype", of these values."""
    names = b"\0pagetype\0"
    members = b""
    for name, value in values.items():
        members += struct.pack("<I", len(names))
        members += struct.pack("<I" if words == 1 else "<Q", value % (1 << 32 * words))
        names += name.encode() + b"\0"
    types = struct.pack("<III", 1, kind << 24 | len(values), size) + members
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    return head + types + names


class Made(Btf):
    """Types that were made up instead of the running kernel's."""

    def __init__(self, raw):
        self._raw = raw
        super().__init__()

    def _of_kernel(self):
        make = self._lib.btf__new
        make.restype = ctypes.c_void_p
        return ctypes.c_void_p(make(self._raw, len(self._raw)))


@pytest.fixture(autouse=True)
def libbpf():
    try:
        Btf._load_library()
    except ProbeError as error:
        pytest.skip(str(error))


def test_enumerators_when_the_enum_has_32_bits():
    raw = section(ENUM, 4, {"PGTY_hugetlb": 0xF4}, words=1)
    assert Made(raw).enumerators("pagetype") == {"PGTY_hugetlb": 0xF4}


def test_enumerators_when_the_enum_has_64_bits():
    # GIVEN an enum that has to hold 0x80000000 and a negative value, as that of 6.11
    values = {"PG_hugetlb": 0x04000000, "PAGE_TYPE_BASE": 0x80000000, "RESERVE": -65536}
    found = Made(section(ENUM64, 8, values, words=2)).enumerators("pagetype")
    # THEN its values are whole
    assert found == {**values, "RESERVE": 2**64 - 65536}


def test_enumerators_when_there_is_no_such_enum():
    assert Made(section(ENUM, 4, {}, words=1)).enumerators("pageflags") == {}
