# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled programs as a file: what is written comes back, what is damaged does not."""

import struct

import pytest

from probes.compiled import MAGIC, Damaged, Function, Map, pack, unpack
from probes.loader import patched
from probes.make import references
from probes.source import PATCH_MARK, WRITTEN
from tests.unit.probes.programs import EXIT, compiled, load_64


def test_file_when_read_again():
    # GIVEN compiled programs WHEN they are written and read THEN they are the same
    made = compiled()
    assert unpack(pack(made)) == made


def test_file_when_any_byte_is_another():
    # GIVEN a file in which one bit is another THEN it is not taken, wherever that is
    content = pack(compiled())
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        with pytest.raises(Damaged):
            unpack(bytes(changed))


@pytest.mark.parametrize("size", [0, 5, len(MAGIC), len(MAGIC) + 32, 200])
def test_file_when_it_is_cut_off(size):
    with pytest.raises(Damaged):
        unpack(pack(compiled())[:size])


def test_file_when_of_another_format():
    # GIVEN a file of a later format THEN the reason is told from damage
    content = pack(compiled())
    with pytest.raises(Damaged, match="another format"):
        unpack(content.replace(MAGIC, MAGIC[:-1] + b"\2"))


def test_references_when_instructions_are_compiled():
    # GIVEN instructions that load a map's descriptor, a constant of ours, and another number
    number = WRITTEN.index("SELF")
    code = load_64(7, kind=1) + EXIT + load_64(PATCH_MARK << 32 | number) + load_64(0x18 << 32)
    maps = {7: Map("ring", 27, 0, 0, 4096, 0)}
    # THEN the first two are named, with the instructions' places
    assert references(code, maps) == ([(0, "ring")], [(3, "SELF")])


def test_instructions_when_patched():
    # GIVEN a program WHEN the loader has made one of its two maps
    function = compiled().functions[0]
    code = patched(function, {"ring": 9}, {"VMEMMAP": 0xFFFFEA0000000000})
    # THEN the map's descriptor and the constant are in their places, and no map stands for none
    assert code == load_64(9, kind=1) + load_64(0xFFFFEA0000000000) + load_64(0) + EXIT


@pytest.mark.parametrize("fetches", [0, 1])
def test_step_when_the_kernel_may_fetch(fetches):
    # GIVEN a program that loads the step of a CPU's numbering and adds it to a word of memory
    add = struct.pack("<BBhi", 0xDB, 0x12, 0, 0)
    function = Function(0, load_64(0) + add + add + EXIT, (), ((0, "STEP"),))
    # WHEN it is loaded into a kernel that can fetch what was there, or cannot
    code = patched(function, {}, {"STEP": 1, "FETCHES": fetches})
    # THEN this add does so, and no other one
    fetching = struct.pack("<BBhi", 0xDB, 0x12, 0, fetches)
    assert code == load_64(1) + fetching + add + EXIT
