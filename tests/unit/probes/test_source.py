# SPDX-License-Identifier: GPL-2.0-or-later
"""The BPF program's text: what each stub is given, and how much of a struct page is read."""

import re

import pytest

from probes import limits
from probes.layout import Layout
from probes.plan import Plan
from probes.probe import (
    FENTRY,
    FEXIT,
    KPROBE,
    KRETPROBE,
    RAW_TRACEPOINT,
    RESULT,
    Probe,
    argument,
    constant,
    given,
    known,
    number,
    register,
)
from probes.source import PATCHED, source

FIELDS = {"flags": 0, "compound_head": 8, "mapping": 24, "mapcount": 48, "refcount": 52}
TASK = {"vm_mm": 16, "tasks": 1800, "mm": 1900, "pid": 2000, "tgid": 2004, "comm": 2100, "f_op": 40}
BITS = {"head": 16, "double_map": 6, "hugetlb_dtor": 2, "hugetlb_type": None}
#: The whole folio's fields on 6.1 and on 7.2.
OLD = {"entire": 84, "nr_mapped": None, "large": None, "order": 81, "dtor": 80}
NEW = {"entire": 88, "nr_mapped": 84, "large": 80, "order": 64, "dtor": None}


#: Of a handler that looks at a page.
VALUES = (given(0), given(2), known(1), constant("PTE"))


def text_of(attach=KPROBE, handler="on_point", values=VALUES, fields=OLD, double_map=6):
    bits = {**BITS, "double_map": double_map}
    layout = Layout("btf", 64, 0, {**FIELDS, **fields}, bits, False, TASK)
    plan = Plan([Probe(0, "some_function", attach, 0, handler, values, "map", "point", "rmap")])
    return source(plan, layout)


def stub_of(text):
    return text.splitlines()[-1]


def defined(text, name):
    return int(re.search(rf"#define {name} \((\d+)\)", text).group(1))


#: For each way of attaching: values, the type of the context, and how the stub gets at them.
STUBS = [
    (KPROBE, (argument(0), argument(2)), "struct pt_regs", "ctx->di, ctx->dx"),
    (KPROBE, (register("r8 - 48"), number(-1)), "struct pt_regs", "ctx->r8 - 48, -1"),
    (KRETPROBE, (RESULT, constant("PMD")), "struct pt_regs", "ctx->ax, PMD"),
    (FENTRY, (argument(0), argument(2)), "void", "argument(ctx, 0), argument(ctx, 2)"),
    (FENTRY, (given(1), known(0)), "void", "given(ctx, 1), known(0)"),
    (
        *(KPROBE, (given(1), known(0)), "struct pt_regs"),
        "given_at(ctx, __builtin_offsetof(struct pt_regs, si)), known(0)",
    ),
    (FEXIT, (RESULT,), "void", "returned(ctx)"),
    (RAW_TRACEPOINT, (argument(1),), "struct bpf_raw_tracepoint_args", "ctx->args[1]"),
]


@pytest.mark.parametrize("attach, values, context, expressions", STUBS)
def test_stub_when_attached(attach, values, context, expressions):
    # GIVEN a probe's values WHEN its stub is written for a way of attaching
    text = text_of(attach, "f", values)
    # THEN it gives them to the handler, after its context
    assert stub_of(text) == f"int probe_0({context} *ctx) {{ return f(ctx, {expressions}); }}"
    # AND helpers that old kernels lack are asked for only where they are needed
    assert ("#define WITH_TRAMPOLINES" in text) == (attach in (FENTRY, FEXIT))


@pytest.mark.parametrize("fields, double_map, folio", [(OLD, 6, 88), (NEW, None, 96)])
def test_reads_when_the_fields_lie_elsewhere(fields, double_map, folio):
    # GIVEN the fields of two eras WHEN the program is written
    text = text_of(fields=fields, double_map=double_map)
    # THEN it reads whole words up to the last field, of a page and of a folio
    assert defined(text, "LINK_BYTES") == 16
    assert defined(text, "PAGE_BYTES") == 56
    assert defined(text, "FOLIO_BYTES") == folio


def test_order_when_it_is_larger_than_any():
    # GIVEN the program's text THEN no record of it has an order that readers take for damage
    assert defined(text_of(), "LARGEST_ORDER") == limits.ORDER
    assert "> LARGEST_ORDER)" in text_of()


def test_text_when_boot_or_recording_differ():
    # GIVEN what only the boot or the run decides WHEN the program is written
    text = text_of()
    # THEN each is a marked instruction and no number
    for name in PATCHED:
        assert re.search(rf"#define {name} PATCHED\(\d+\)", text), name


@pytest.mark.parametrize("cgroups", [True, False])
def test_text_when_the_kernel_may_have_no_cgroups(cgroups):
    # GIVEN a kernel that is built with, or without CONFIG_CGROUPS
    layout = Layout("btf", 64, 0, {**FIELDS, **OLD}, BITS, False, TASK)
    text = source(Plan([]), layout, cgroups)
    # THEN only with it the map of cgroups, and what uses it, are compiled
    assert ("#define WITH_CGROUPS (1)" in text) == cgroups
    inside = re.findall(r"#ifdef WITH_CGROUPS.*?#endif", text, re.DOTALL)
    outside = re.sub(r"#ifdef WITH_CGROUPS.*?#endif", "", text, flags=re.DOTALL)
    assert len(inside) == 2 and "cgroup." not in outside and "CGROUP_ARRAY" not in outside
