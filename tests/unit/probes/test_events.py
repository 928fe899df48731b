# SPDX-License-Identifier: GPL-2.0-or-later
"""The record: Python's declaration against the C one that the kernel side compiles."""

import re
from pathlib import Path

import probes
from probes import events

C_TYPES = {"u64": "Q", "u32": "I", "u16": "H", "u8": "B", "s32": "i"}
BPF = Path(probes.__file__).parent / "bpf"


def test_record_fields_when_compared_with_the_c_struct():
    # GIVEN the C declaration of the record
    text = (BPF / "record.h").read_text()
    struct = re.search(r"struct record \{(.*?)\n\};", text, re.S).group(1)

    # WHEN its members are read in order, leaving out the text that shares their place
    members = re.findall(r"^\s*(u64|u32|u16|u8|s32) (\w+);", struct, re.M)

    # THEN names, types and order are those of events.FIELDS
    assert [(name, C_TYPES[kind]) for kind, name in members] == [
        (name, code) for name, code, _, _ in events.FIELDS
    ]


def test_text_offset_when_compared_with_the_fields_before_it():
    # GIVEN the fields before the union, which the text overlays
    before = sum(int(code[-1]) for name, _, code, _ in events.FIELDS[:7])

    # THEN the text begins right behind them and fills the record
    assert before == events.TEXT_OFFSET
    assert events.TEXT_OFFSET + events.TEXT_SIZE == events.RECORD_SIZE


def test_numpy_and_struct_codes_when_compared():
    # GIVEN both codes of every field
    # THEN they have the same size
    sizes = {"Q": 8, "I": 4, "H": 2, "B": 1, "i": 4}
    for name, code, numpy_code, _ in events.FIELDS:
        assert sizes[code] == int(numpy_code[-1]), name
