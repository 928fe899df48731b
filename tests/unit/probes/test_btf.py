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


PTR, FUNC, FUNC_PROTO, INT = 2, 12, 13, 1


def whole(names, *types):
    """BTF of some types, each its fields; a name stands for its place among the names."""
    text = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    place = {name: text.index(b"\0%s\0" % name.encode()) + 1 for name in names}
    data = b"".join(struct.pack("<I", place.get(word, word)) for type_ in types for word in type_)
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(data), len(data), len(text))
    return head + data + text


@pytest.mark.parametrize(
    ("name", "value"), [("FOLL_PIN", 1 << 19), ("FOLL_GET", 2), ("FOLL_X", None)]
)
def test_enumerator_when_its_enum_has_no_name(name, value):
    # GIVEN an enum without a name, as that of the flags of get_user_pages()
    names = ("FOLL_GET", "FOLL_PIN", "pagetype")
    raw = whole(
        names,
        (0, ENUM << 24 | 2, 4, "FOLL_GET", 2, "FOLL_PIN", 1 << 19),
        # AND a type whose number looks like the name of one
        ("pagetype", INT << 24, 4, 32),
    )
    # THEN each of its values is found by name, and no other
    assert Made(raw).enumerator(name) == value


def test_returns_when_functions_differ():
    # GIVEN functions that return nothing, a pointer, a bool and an int
    names = ("f_void", "f_pointer", "f_bool", "f_int", "_Bool", "int")
    raw = whole(
        names,
        ("_Bool", INT << 24, 1, 4 << 24 | 8),
        ("int", INT << 24, 4, 1 << 24 | 32),
        (0, PTR << 24, 2),
        *((0, FUNC_PROTO << 24, type_) for type_ in (0, 3, 1, 2)),
        *((name, FUNC << 24, 4 + number) for number, name in enumerate(names[:4])),
    )
    made = Made(raw)
    # THEN each is told
    assert [made.returns(name) for name in names[:4]] == ["void", "pointer", "bool", "int"]
    assert made.returns("f_other") == ""
