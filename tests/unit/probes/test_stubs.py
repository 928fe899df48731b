# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions that probes share."""

from dataclasses import replace

import pytest

from probes import stubs, x86_64
from probes.probe import FENTRY, KPROBE, Probe, constant, given, number, register

SITE = Probe(
    *(41, "copy_page_range", KPROBE, 8, "on_site"),
    *((register("r15"), number(1), constant("PTE"), number(0), number(1)), "dup", "point", "dup"),
    entry=7,
)


def site(id_, **what):
    """The same probe with another id, and differences."""
    return replace(SITE, id=id_, **what)


def test_function_when_probes_differ_in_what_the_loader_knows():
    # GIVEN three updates in two functions, in two brackets
    probes = [SITE, site(42, offset=20), site(50, function="copy_pmd_range", op="map", entry=9)]
    # THEN one function serves them all, which names none of their ids
    assert stubs.names(probes, x86_64) == dict.fromkeys((41, 42, 50), "probe_41")
    assert stubs.lines(probes, x86_64) == [
        "/* copy_page_range (dup, point), copy_pmd_range (map, point) */",
        "int probe_41(struct pt_regs *ctx) { return on_site(ctx, ctx->r15, 1, PTE, 0, 1); }",
    ]


@pytest.mark.parametrize(
    "what",
    [
        {"handler": "on_point"},
        {"values": (register("r15 - 48"), *SITE.values[1:])},
        {"values": (register("dx"), *SITE.values[1:])},
        {"values": (*SITE.values[:-1], number(0))},
        {"attach": FENTRY, "values": (given(0),)},
    ],
)
def test_function_when_probes_differ_in_what_is_compiled(what):
    # GIVEN two probes of which the compiler makes something else
    probes = [SITE, site(42, **what)]
    # THEN each has a function of its own
    assert stubs.names(probes, x86_64) == {41: "probe_41", 42: "probe_42"}
    assert len(stubs.lines(probes, x86_64)) == 4
