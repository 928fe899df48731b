# SPDX-License-Identifier: GPL-2.0-or-later
"""The structs of the system calls, as the kernel's headers lay them out."""

import ctypes

import pytest

from probes import syscalls
from probes.arch import here


class BpfProgLoad(ctypes.Structure):
    """The member of union bpf_attr for BPF_PROG_LOAD, by its declaration in linux/bpf.h."""

    _fields_ = [
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("func_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("line_info_cnt", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    ]


class BpfTestRun(ctypes.Structure):
    """The member of union bpf_attr for BPF_PROG_TEST_RUN, by its declaration in linux/bpf.h."""

    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
    ]


class PerfEventAttr(ctypes.Structure):
    """struct perf_event_attr up to config2, by its declaration in linux/perf_event.h."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("bits", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
    ]


@pytest.fixture
def calls(monkeypatch):
    """What would have been asked of the kernel: (number, arguments)."""
    made = []

    def call(number, *arguments):
        made.append((number, arguments))
        return 7

    monkeypatch.setattr(syscalls, "_call", call)
    return made


def test_load_when_a_program_is_for_fentry(calls):
    # GIVEN a program of three instructions for fentry of a function with a BTF id
    hook = (syscalls.TRACE_FENTRY, 4711)
    fd = syscalls.load_program(syscalls.PROG_TRACING, bytes(24), "GPL", "probe_3", hook)
    # THEN the kernel is asked for just that
    ((number, (command, attributes, size)),) = calls
    assert (fd, number, command.value, size.value) == (7, here().BPF, 5, ctypes.sizeof(BpfProgLoad))
    asked = BpfProgLoad.from_buffer(attributes)
    assert (asked.prog_type, asked.insn_cnt, asked.prog_name) == (26, 3, b"probe_3")
    assert (asked.expected_attach_type, asked.attach_btf_id) == (24, 4711)
    assert (asked.log_level, asked.kern_version, asked.prog_btf_fd, asked.func_info) == (0,) * 4


def test_kprobe_when_on_an_instruction(calls, monkeypatch, tmp_path):
    # GIVEN a kernel whose kprobes have a type of perf events
    (tmp_path / "type").write_text("6\n")
    monkeypatch.setattr(syscalls, "KPROBE_DEVICE", str(tmp_path))
    controls = []
    monkeypatch.setattr(syscalls.fcntl, "ioctl", lambda *call: controls.append(call))
    # WHEN a program is attached
    assert syscalls.attach_kprobe(11, "copy_page_range", 0x77) == 7
    # THEN the event says where, and gets the program before it is switched on
    ((number, (attributes, *where)),) = calls
    asked = PerfEventAttr.from_buffer(attributes)
    assert number == here().PERF_EVENT_OPEN
    assert (asked.type, asked.size, asked.config) == (6, ctypes.sizeof(PerfEventAttr), 0)
    assert asked.config2 == 0x77
    assert [one.value for one in where] == [-1, 0, -1, 8]
    assert controls == [(7, 0x40042408, 11), (7, 0x2400, 0)]


def test_load_when_the_verifier_refuses(monkeypatch):
    # GIVEN a kernel whose verifier says why it refuses a program
    def call(number, command, attributes, size):
        asked = BpfProgLoad.from_buffer(attributes)
        if asked.log_level:
            said = b"0: (79) r1 = *(u64 *)(r1 +0)\nR1 invalid mem access\nprocessed 1 insns\n\0"
            ctypes.memmove(asked.log_buf, said, len(said))
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(syscalls, "_call", call)
    # THEN the error has its last word
    with pytest.raises(OSError, match="Permission denied: R1 invalid mem access"):
        syscalls.load_program(syscalls.PROG_KPROBE, bytes(8), "GPL", "probe_0")


@pytest.mark.parametrize("arguments", [(), (0xFFFFEA0000000000, 64)])
def test_run_when_a_program_is_run_at_once(monkeypatch, arguments):
    # GIVEN a kernel that runs a program and writes what it returned into the request
    asked = []

    def call(number, command, attributes, size):
        request = BpfTestRun.from_buffer(attributes)
        words = ctypes.string_at(request.ctx_in, request.ctx_size_in) if request.ctx_in else b""
        asked.append((number, command.value, size.value, request.prog_fd, words))
        others = ("data_size_in", "data_in", "data_out", "repeat", "ctx_out", "flags", "cpu")
        assert not any(getattr(request, name) for name in others)  # -EINVAL for a raw tracepoint
        request.retval = 0xFFFFFFF2
        return 0

    monkeypatch.setattr(syscalls, "_call", call)
    # WHEN one is run THEN it gets its arguments as a tracepoint would give them
    assert syscalls.run(9, *arguments) == -14
    words = b"".join(word.to_bytes(8, "little") for word in arguments)
    assert asked == [(here().BPF, 10, ctypes.sizeof(BpfTestRun), 9, words)]


@pytest.mark.parametrize("refuses", [False, True])
def test_fetches_when_the_kernel_may_know_no_such_add(monkeypatch, refuses):
    # GIVEN a kernel that takes, or refuses, an add that fetches
    asked, closed = [], []

    def call(number, command, attributes, size):
        load = BpfProgLoad.from_buffer(attributes)
        asked.append(ctypes.string_at(load.insns, 8 * load.insn_cnt))
        if refuses:
            raise OSError(22, "Invalid argument")
        return 7

    monkeypatch.setattr(syscalls, "_call", call)
    monkeypatch.setattr(syscalls.os, "close", closed.append)
    # WHEN it is asked THEN the answer is that, and nothing stays open
    assert syscalls.fetches() is not refuses
    assert closed == ([] if refuses else [7])
    # AND what it was given is that add, on the stack: BPF_STX | BPF_ATOMIC | BPF_DW, BPF_FETCH
    assert asked[0][16:24] == bytes.fromhex("db1af8ff01000000")
