# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes on kernels that preempt themselves: none is attached so that its program is preempted."""

import ctypes
from dataclasses import replace

import pytest

from probes import preemption, stubs, syscalls, tracefs
from probes.arch import here
from probes.plan import Plan
from probes.preemption import preempts, unpreempted
from probes.probe import (
    FENTRY,
    FEXIT,
    KPROBE,
    KRETPROBE,
    KRETPROBE_MULTI,
    RAW_TRACEPOINT,
    RESULT,
    TRACEPOINT,
    Probe,
    argument,
    constant,
    event_field,
    number,
)

#: Of a kernel of 7.x; gfp_flags were 4 bytes once, and other fields lay 4 bytes before.
ALLOC = """\
name: mm_page_alloc
ID: 561
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned long pfn;	offset:8;	size:8;	signed:0;
	field:unsigned int order;	offset:16;	size:4;	signed:0;
	field:unsigned int gfp_flags;	offset:20;	size:4;	signed:0;
	field:char name[16];	offset:24;	size:16;	signed:0;
	field:int migratetype;	offset:44;	size:4;	signed:1;

print fmt: "page=%p pfn=0x%lx", REC->pfn, REC->order
"""


class Types:
    """BTF of a kernel whose tracepoints hold preemption off, or do not."""

    def __init__(self, preempted, functions=(), guard=0, rethook=False, multi=True):
        self.preempted, self.functions, self.guard = preempted, functions, guard
        self.rethook, self.multi = rethook, multi

    def size(self, struct):
        return 96 if struct == "bpf_kprobe_multi_link" and self.multi else None

    def offset(self, struct, field):
        if (struct, field) == ("fprobe", "rethook"):
            return 16 if self.rethook else None
        asked = (struct, field) == ("tp_transition_snapshot", "srcu_gp")
        return 8 if asked and self.preempted else None

    def parameters(self, function):
        return ["task"] if function in self.functions else None

    def variable_id(self, variable):
        return self.guard if variable == "bpf_prog_active" else 0

    def enumerators(self, enum):
        return {"BPF_FUNC_this_cpu_ptr": 154} if enum == "bpf_func_id" else {}


class Names:
    """The kernel's symbols, with those of data or without."""

    def __init__(self, data=True):
        self.address = {"bpf_prog_active": 0x1000} if data else {}


@pytest.fixture
def events(monkeypatch, tmp_path):
    monkeypatch.setattr(tracefs, "EVENTS", str(tmp_path))
    folder = tmp_path / "kmem" / "mm_page_alloc"
    folder.mkdir(parents=True)
    (folder / "format").write_text(ALLOC)
    (folder / "id").write_text("561\n")
    return folder


def built(monkeypatch, *options):
    monkeypatch.setattr(preemption, "built_with", lambda option: option in options)


def probe(function, attach, group, values=()):
    return Probe(0, function, attach, 0, "handler", values, "op", "point", group)


@pytest.mark.parametrize(
    ("option", "does"),
    [
        ("CONFIG_PREEMPT_LAZY", True),
        ("CONFIG_PREEMPT_RT", True),
        ("CONFIG_PREEMPT", True),
        ("CONFIG_PREEMPT_VOLUNTARY", False),
        ("CONFIG_PREEMPT_DYNAMIC", False),
    ],
)
def test_kernel_when_it_may_preempt_itself(monkeypatch, option, does):
    # GIVEN a kernel that was built with an option THEN it is known whether it preempts itself
    built(monkeypatch, option)
    assert preempts() is does


def test_kernel_when_nothing_is_known_of_it(monkeypatch):
    # GIVEN a kernel without its configuration THEN probes are the cheap ones, skips are counted
    monkeypatch.setattr(preemption, "built_with", lambda option: None)
    assert not preempts()


@pytest.mark.parametrize(
    ("attach", "group", "real_time", "held"),
    [
        (FENTRY, "rmap", False, FENTRY),
        (FENTRY, "rmap", True, KPROBE),
        (FENTRY, "split", False, KPROBE),
        (FEXIT, "dup", False, KRETPROBE_MULTI),
        (KPROBE, "dup", False, KPROBE),
        (KRETPROBE, "dup", False, KRETPROBE),
        (RAW_TRACEPOINT, "life", False, RAW_TRACEPOINT),
    ],
)
def test_probe_when_its_program_may_be_preempted(monkeypatch, attach, group, real_time, held):
    # GIVEN a probe that is attached in some way, on a kernel whose page tables' locks hold
    # preemption off, or one for real time, whose do not
    built(monkeypatch, *(["CONFIG_PREEMPT_RT"] if real_time else []))
    plan = Plan([probe("some_function", attach, group)])
    # WHEN it must not be preempted THEN it is attached in a way that sees to it
    assert unpreempted(plan, Types(True), Names()).probes[0].attach == held


def test_return_when_the_kernel_has_room_for_few_tasks_in_a_function(monkeypatch):
    # GIVEN a kernel whose return probes of several functions have room for a few tasks, uncounted
    built(monkeypatch)
    plan = Plan([probe("some_function", FEXIT, "dup")])
    # WHEN a program must not be preempted THEN a kretprobe, which counts, takes its place
    assert unpreempted(plan, Types(True, rethook=True), Names()).probes[0].attach == KRETPROBE


def test_return_when_the_kernel_attaches_one_by_one(monkeypatch):
    # GIVEN a kernel without CONFIG_FPROBE WHEN a return must not be preempted
    built(monkeypatch)
    plan = Plan([probe("some_function", FEXIT, "dup")])
    # THEN it is a kretprobe, which every kernel has
    assert unpreempted(plan, Types(True, multi=False), Names()).probes[0].attach == KRETPROBE


@pytest.mark.parametrize("preempted", [False, True])
def test_tracepoint_when_it_may_be_preempted(monkeypatch, events, preempted):
    # GIVEN a tracepoint of a kernel that holds preemption off there, or does not
    built(monkeypatch)
    raw = probe("mm_page_alloc", RAW_TRACEPOINT, "life", (argument(0), argument(1), argument(3)))
    (found,) = unpreempted(Plan([raw]), Types(preempted), Names()).probes
    # THEN perf, which does, calls the program if need be, with the fields that it has
    if not preempted:
        assert found == raw
        return
    assert found.attach == TRACEPOINT
    assert found.values == (event_field(8, 8, is_pfn=True), event_field(16, 4), event_field(44, 4))
    assert stubs.text(found, here()) == (
        "(struct trace_fields *ctx) { return handler(ctx, PAGE(ctx->words[1]), "
        "ctx->halves[4], ctx->halves[11]); }"
    )
    assert tracefs.number("kmem/mm_page_alloc") == 561


@pytest.mark.parametrize(("guard", "data"), [(0, True), (77, False), (77, True)])
def test_tracepoint_when_perf_is_skipped_in_an_interrupt(monkeypatch, events, guard, data):
    # GIVEN a tracepoint where perf calls the program, on a kernel that tells in a variable when it
    # skips it, or has none that BTF knows, or none whose address it knows itself
    built(monkeypatch)
    values = (argument(0), argument(1), argument(3))
    other = probe("copy_page_range", FENTRY, "dup")
    raw = replace(probe("mm_page_alloc", RAW_TRACEPOINT, "life", values), id=1)
    found = unpreempted(Plan([other, raw]), Types(True, guard=guard), Names(data)).probes
    # THEN a second program, which others do not keep from running, makes its records in its place
    assert [each.attach for each in found] == [KPROBE, TRACEPOINT, RAW_TRACEPOINT][
        : 2 + (guard and data)
    ]
    if guard and data:
        second = found[2]
        assert (second.id, second.instead, second.function) == (2, 1, "mm_page_alloc")
        assert second.values == (number(0), *values)
        assert stubs.text(second, here()) == (
            "(struct bpf_raw_tracepoint_args *ctx) { return handler_instead(ctx, 0, ctx->args[0], "
            "ctx->args[1], ctx->args[3]); }"
        )


@pytest.mark.parametrize(("preempted", "there"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("tracepoint", "function"),
    [
        ("task_newtask", "wake_up_new_task"),
        ("task_rename", "__set_task_comm"),
        ("sched_process_exit", "taskstats_exit"),
    ],
)
def test_tracepoint_when_its_event_has_no_task(monkeypatch, tracepoint, function, preempted, there):
    # GIVEN a tracepoint of tasks, of which perf's event has numbers alone, on a kernel that may
    # preempt there, and has a function beside it, or not
    built(monkeypatch)
    types = Types(preempted, [function] if there else [])
    raw = probe(tracepoint, RAW_TRACEPOINT, "life", (constant("TASK"), argument(0)))
    # WHEN it must not be preempted THEN the function is probed in its place, by the same arguments
    (found,) = unpreempted(Plan([raw]), types, Names()).probes
    other = preempted and there
    assert (found.function, found.attach) == (
        (function, KPROBE) if other else (tracepoint, RAW_TRACEPOINT)
    )
    assert found.values == raw.values


@pytest.mark.parametrize("lacks", ["tracefs", "a field", "a field's size"])
def test_tracepoint_when_perf_tells_nothing_of_it(monkeypatch, events, lacks):
    # GIVEN a kernel where tracefs is not mounted, or an event that lacks what is needed
    built(monkeypatch)
    text = {"a field": "name\n", "a field's size": ALLOC.replace("size:4", "size:2")}.get(lacks)
    (events / "format").write_text(text) if text else (events / "format").unlink()
    raw = probe("mm_page_alloc", RAW_TRACEPOINT, "life")
    # THEN the program is attached as elsewhere
    assert unpreempted(Plan([raw]), Types(True), Names()).probes == [raw]


def test_return_when_attached_as_one_of_several(monkeypatch):
    # GIVEN a program for returns
    made = []

    def call(number, command, attributes, size):
        words = (ctypes.c_uint32 * 6).from_buffer(attributes)
        (names,) = (ctypes.c_uint64 * 1).from_buffer(attributes, 24)
        first = ctypes.cast(names, ctypes.POINTER(ctypes.c_char_p))[0]
        made.append((number, command.value, list(words), first, size.value))
        return 9

    monkeypatch.setattr(syscalls, "_call", call)
    # WHEN it is attached THEN the kernel is asked for a link to the returns of one function
    assert syscalls.attach_return(7, "copy_page_range") == 9
    # prog_fd, target_fd, attach_type, flags, kprobe_multi.flags (BPF_F_KPROBE_MULTI_RETURN), cnt
    assert made == [(here().BPF, 28, [7, 0, 42, 0, 1, 1], b"copy_page_range", 48)]
    # AND its return value is what the function left in its register
    found = probe("copy_page_range", KRETPROBE_MULTI, "dup", (RESULT,))
    assert stubs.text(found, here()).startswith("(struct pt_regs *ctx) { return handler")
    assert f"ctx->{here().RESULT}" in stubs.text(found, here())


def test_tracepoint_when_attached_by_perf(monkeypatch):
    # GIVEN a program, and the number of an event
    events, controls = [], []

    def call(number, attributes, *where):
        events.append((number, list((ctypes.c_uint64 * 2).from_buffer(attributes))))
        return 5

    monkeypatch.setattr(syscalls, "_call", call)
    monkeypatch.setattr(syscalls.fcntl, "ioctl", lambda *asked: controls.append(asked))
    # WHEN it is attached THEN the event is of that number (PERF_TYPE_TRACEPOINT), with the program
    assert syscalls.attach_tracepoint(11, 561) == 5
    ((number, (head, config)),) = events
    assert (number, head & 0xFFFFFFFF, config) == (here().PERF_EVENT_OPEN, 2, 561)
    assert (5, 0x40042408, 11) in controls
