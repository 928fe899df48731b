# SPDX-License-Identifier: GPL-2.0-or-later
"""Which ring a CPU writes into: its own, or where it came online too late another one's."""

import io
from dataclasses import replace

import pytest

from probes import kernel, loader
from probes.compiled import Map
from probes.loader import Filters, Program
from probes.maps import Shape
from tests.unit.probes.programs import compiled

RING, ARRAY_OF_MAPS = 27, 12


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", (0,)), ("0-3\n", (0, 1, 2, 3)), ("0,2-3,7\n", (0, 2, 3, 7))]
)
def test_online_cpus_when_some_are_not(monkeypatch, text, cpus):
    # GIVEN what the kernel tells of its CPUs THEN those that are online are known
    monkeypatch.setattr("builtins.open", lambda path: io.StringIO(text))
    assert kernel.online_cpus() == cpus


def test_ring_when_a_cpu_comes_online_later():
    # GIVEN eight CPUs, of which three are online
    shape = Shape(cpus=8, online=(0, 2, 5), sections=(0,), ring_bytes=4096, probes=1)
    # THEN each of these has its own, and every other one of them
    assert [shape.ring_of(cpu) for cpu in (0, 2, 5)] == [0, 1, 2]
    assert all(0 <= shape.ring_of(cpu) < 3 for cpu in range(8))
    assert shape.all_ring_bytes == 3 * 4096


def test_maps_when_each_cpu_has_a_ring(monkeypatch):
    # GIVEN a machine of which two of three CPUs are online
    made, put = [], {}

    def create(*what):
        made.append(what)
        return 100 + len(made)

    monkeypatch.setattr(loader.syscalls, "create_map", create)
    monkeypatch.setattr(loader.syscalls, "update", lambda fd, key, value: put.update({key: value}))
    program = Program.__new__(Program)
    program.shape = Shape(cpus=3, online=(0, 2), sections=(0,), ring_bytes=8192, probes=1)
    program._maps, program._rings = {}, []
    maps = (Map("rings", ARRAY_OF_MAPS, 4, 4, 1, 0), Map("ring", RING, 0, 0, 4096, 0))
    program._make_maps(replace(compiled(), maps=maps), Filters())
    # THEN there are two rings, and a map that has one for each CPU
    assert made == [
        (RING, 0, 0, 8192, 0, "ring", 0),
        (RING, 0, 0, 8192, 0, "ring", 0),
        (ARRAY_OF_MAPS, 4, 4, 3, 0, "rings", 101),
    ]
    assert [int.from_bytes(put[cpu.to_bytes(4, "little")], "little") for cpu in range(3)] == [
        101, 102, 102,
    ]  # fmt: skip
    assert program.rings == (101, 102)
