# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading one program: with typed arguments where the verifier knows the types that we need."""

import mmap
import struct
from dataclasses import replace

import pytest

from probes import loader, syscalls
from probes.compiled import Function
from probes.loader import Program
from probes.maps import CONTROL_BYTES, MADE_UP_AT, MM_HINTS
from probes.probe import RAW_TRACEPOINT, Probe, number
from tests.unit.probes.programs import EXIT, compiled, load_64

#: r1 = whether arguments are typed.
TYPED = load_64(0) + EXIT


def loaded(monkeypatch, refused, constants=((0, "TYPED"),)):
    """What the kernel was asked to load until it took one, where it refuses some code."""
    tried, program = program_of(monkeypatch, refused)
    made = compiled()
    function = Function(0, TYPED, (), constants, btf_id=77)
    assert program._load_one(made, made.plan.probes[0], function, {}) == 7
    assert program.untyped == ["page_remove_rmap"] * (len(tried) - 1)
    return tried


def program_of(monkeypatch, refused=()):
    """What the kernel will be asked to load, and a Program without maps."""
    tried = []

    def load_program(type_, code, licence, name, place):
        tried.append(code)
        if code in refused:
            raise OSError(13, "Permission denied")
        return 7

    monkeypatch.setattr(syscalls, "load_program", load_program)
    program = Program.__new__(Program)
    program._maps, program.untyped = {}, []
    return tried, program


def test_load_when_probes_share_a_function(monkeypatch):
    # GIVEN instructions that two probes share, in two brackets
    tried, program = program_of(monkeypatch)
    code, constants = load_64(0) + load_64(0) + EXIT, ((0, "PROBE"), (2, "ENTRY"))
    for id_, entry in ((4, 2), (5, 3)):
        # WHEN they are loaded for each
        probe = replace(compiled().plan.probes[0], id=id_, entry=entry)
        program._load_one(compiled(), probe, Function(id_, code, (), constants), {})
    # THEN they have its id, and that of its bracket's entry
    assert tried == [load_64(4) + load_64(2) + EXIT, load_64(5) + load_64(3) + EXIT]


def test_load_when_a_program_is_a_second_one(monkeypatch):
    # GIVEN a program that makes the records of another one
    tried, program = program_of(monkeypatch)
    probe = replace(compiled().plan.probes[0], id=9, instead=4)
    # WHEN it is loaded THEN its records have the id of that one, which the trace knows
    function = Function(9, load_64(0) + EXIT, (), ((0, "PROBE"),))
    program._load_one(compiled(), probe, function, {})
    assert tried == [load_64(4) + EXIT]


def test_load_when_the_verifier_knows_the_types(monkeypatch):
    # GIVEN a kernel that takes loads through arguments THEN the program is loaded with them
    assert loaded(monkeypatch, ()) == [load_64(1) + EXIT]


def test_load_when_the_verifier_knows_other_types(monkeypatch):
    # GIVEN a kernel that refuses them WHEN the program is loaded THEN it is without them
    assert loaded(monkeypatch, (load_64(1) + EXIT,)) == [load_64(1) + EXIT, load_64(0) + EXIT]


def test_load_when_a_program_has_no_typed_arguments(monkeypatch):
    # GIVEN a program without them THEN the kernel is asked once
    assert loaded(monkeypatch, (), ()) == [TYPED]


def test_load_when_the_kernel_takes_neither(monkeypatch):
    # GIVEN a kernel that refuses both THEN its reason comes out
    with pytest.raises(OSError, match="Permission denied"):
        loaded(monkeypatch, (load_64(1) + EXIT, load_64(0) + EXIT))


def test_variable_when_a_program_looks_at_one_of_the_kernels():
    # GIVEN a program that is to look at a variable of the kernel, which has an id in BTF
    function = Function(0, load_64(0) + EXIT, (), ((0, "PROG_ACTIVE"),), btf_id=69794)
    # WHEN it is loaded THEN the kernel is told that the constant is one (BPF_PSEUDO_BTF_ID)
    code = loader.patched(function, {}, {"FETCHES": 0})
    assert code == load_64(69794, kind=3) + EXIT


def test_made_up_when_second_programs_have_counted():
    # GIVEN the mapped control, in which two second programs have counted
    program = Program.__new__(Program)
    program._control = mmap.mmap(-1, CONTROL_BYTES)
    program._control[MADE_UP_AT:] = struct.pack("<QQ", 3, 1 << 40).ljust(
        len(program._control) - MADE_UP_AT, b"\0"
    )
    # THEN each has its own count
    second = [
        Probe(9, "f", RAW_TRACEPOINT, 0, "h", (number(nth), number(7)), "free", "point", "life")
        for nth in range(2)
    ]
    assert list(map(program.made_up, second)) == [3, 1 << 40]


def test_followed_when_programs_and_recorder_set_them():
    # GIVEN the bytes of all tasks, as they are mapped
    program = Program.__new__(Program)
    program._tasks = mmap.mmap(-1, 1 << 22)
    # WHEN the recorder follows some, and a program follows a child
    for pid in (1, 4095, (1 << 22) - 1):
        program.follow_task(pid)
    program._tasks[4096] = 1
    # THEN these are the followed ones
    assert program.followed() == [1, 4095, 4096, (1 << 22) - 1]


def test_followed_mm_when_programs_ask_for_its_hint(monkeypatch):
    # GIVEN the mapped hints
    program, order = Program.__new__(Program), []
    program._maps = {"mms": 3}
    program._mm_hints = mmap.mmap(-1, MM_HINTS)
    monkeypatch.setattr(
        loader.syscalls, "update", lambda *_: order.append(bytes(program._mm_hints))
    )
    # WHEN an address space is followed
    program.follow_mm(0xFFFF888101234FC0)
    # THEN its hint is set before it is in the table, by the bits that bpf/watch.h takes
    (hints,) = order
    assert [at for at, hint in enumerate(hints) if hint] == [0x01234FC0 >> 6 & 0xFFFF]
