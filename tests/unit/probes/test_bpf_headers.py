# SPDX-License-Identifier: GPL-2.0-or-later
"""The BPF side as an editor sees it, and as a compiler for this machine does."""

import re
import subprocess
from pathlib import Path

import pytest

import probes.source
from probes.layout import Layout
from probes.maps import MAX_TASKS
from probes.plan import Plan
from probes.probe import FENTRY, RAW_TRACEPOINT, Probe, argument, constant, given, known, number
from tests.unit.probes.test_source import FIELDS, TASK

BPF = Path(probes.source.__file__).parent / "bpf"
HEADERS = sorted(path.name for path in BPF.glob("*.h"))
#: Of an era that has everything at once: so each part of the text is looked at.
ALL_FIELDS = {"entire": 84, "nr_mapped": 88, "large": 80, "total": 88, "order": 64, "dtor": 80}
ALL_FIELDS |= {"mm_id": 104, "mm_id_mapcount": 96, "index": 32, "pincount": 92}
ALL_TASK = TASK | {"mm_id": 8, "vm_start": 0, "vm_pgoff": 120}
ALL_TASK |= {"move_old": 0, "move_old_addr": 16, "move_new_addr": 32}
ALL_BITS = {
    **{"head": 6, "double_map": 9, "hugetlb_flag": 8, "hugetlb_dtor": 2},
    **{"hugetlb_type": 0xF4 << 24, "hugetlb_type_mask": 0xFF << 24},
    **{"reserved": 13, "foll_get": 2, "foll_pin": 0x80000},
}


def check(text, *options):
    """What gcc says of C text that lies beside the headers."""
    return subprocess.run(
        ["gcc", "-x", "c", "-fsyntax-only", "-Wall", "-Wno-unknown-pragmas",
         "-Wno-unused-function", "-Wno-unused-variable", *options, "-"],
        input=text, cwd=BPF, capture_output=True, text=True,
    ).stderr  # fmt: skip


def program():
    """The text for an era that has everything, with one stub."""
    layout = Layout("btf", 64, 0, {**FIELDS, **ALL_FIELDS}, ALL_BITS, True, ALL_TASK)
    values = (given(0), given(1), known(1), constant("PTE"), given(4))
    probe = Probe(0, "some_function", FENTRY, 0, "on_point", values, "map", "point", "rmap")
    values = (number(0), argument(0), argument(1))
    second = Probe(
        1, "some", RAW_TRACEPOINT, 0, "on_free_instead", values, "free", "point", "life", instead=0
    )
    return probes.source.source(Plan([probe, second]), layout)


@pytest.mark.parametrize("name", HEADERS)
def test_header_when_it_is_looked_at_alone(name):
    # GIVEN one file of the BPF side THEN a compiler that knows nothing else has no complaint
    assert check(f'#include "{name}"\n') == ""


def test_program_when_it_is_whole():
    # GIVEN the text that BCC gets, with what BCC adds to it
    text = program().replace("#include <uapi/linux/ptrace.h>", "")
    types = re.sub("(?s)/[*] Constants of the recorder.*#endif", "#endif", read("editor.h"))
    # THEN a compiler has no complaint
    assert check(types + text) == ""
    # AND it has one where the two sides do not have the same record
    other = re.sub(r"#define RECORD_SIZE .*", "#define RECORD_SIZE (72)", types + text)
    assert "probes/events.py has another record" in check(other)


def test_constants_when_the_recorder_gives_others():
    # GIVEN the constants that the recorder puts before the text
    before = program().split("// SPDX")[0]
    given = set(re.findall(r"^#define ([A-Z_]+) ", before, re.M))
    # THEN the editor's header stands for the same ones
    stand_in = read("editor.h").split("/* Constants of the recorder")[1]
    assert set(re.findall(r"^#define ([A-Z_]+) ", stand_in, re.M)) == given


def test_maps_when_bcc_reads_their_values_as_text():
    # GIVEN the arrays that values of maps have, and how long each is
    text = program()
    numbers = dict(re.findall(r"^#define ([A-Z_]+) (\(.*\))", text, re.M))
    arrays = [
        (kind, name, value_of(size, numbers))
        for name in re.findall(r"BPF_F_TABLE\(\"array\", u32, struct (\w+),", text)
        for body in re.findall(rf"^struct {name} {{(.*?)^}}", text, re.M | re.S)
        for kind, name, size in re.findall(r"^\t(\w+) (\w+)\[([A-Z_]+)\];", body, re.M)
    ]
    assert {("u64", "state", 64), ("u8", "followed", MAX_TASKS)} <= set(arrays)
    # THEN only of bytes there are many: BCC compiles code for each element of any other array
    assert [each for each in arrays if each[0] != "u8" and each[2] > 64] == []


def value_of(text, numbers):
    """Of an expression of constants."""
    while re.search("[A-Z]", text):
        text = re.sub("[A-Z_]+", lambda at: numbers[at[0]], text)
    return eval(text)


def read(name):
    return (BPF / name).read_text()
