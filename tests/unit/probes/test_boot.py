# SPDX-License-Identifier: GPL-2.0-or-later
"""What the boot decides, on kernels that do and do not tell the addresses of data."""

from dataclasses import replace

import pytest

from probes import aarch64, boot, memory
from probes.errors import ProbeError
from probes.kernel import Memory
from probes.plan import Plan
from probes.probe import Probe
from tests.unit.probes.programs import compiled

TEXT = 0xFFFFFFFF81000000
VMEMMAP = 0xFFFFEA0000000000
TASK, FILES, FDT, FD, FILE, OPS = (0xFFFF888000000000 + n * 0x1000 for n in range(6))
OFFSETS = {"files": 0x10, "fdt": 0x20, "fd": 0x8, "f_op": 0x28}
MARK = Probe(0, "vfs_write", "kprobe", 0, "on_mark", (), "mark", "point", "life")


class Words(Memory):
    """A kernel's memory of a few words, and texts."""

    def __init__(self, words):
        self.words = words

    def read(self, address, size):
        if address not in self.words:
            raise ProbeError(f"nothing at {address:#x}")
        found = self.words[address]
        return (found if isinstance(found, bytes) else found.to_bytes(8, "little"))[:size]

    def current(self):
        return TASK


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """A function that boots programs, with a trace_marker that the recorder can open as 5."""

    def boot_of(symbols, offsets=OFFSETS, bpf=True, texts=()):
        words = {
            TASK + OFFSETS["files"]: FILES,
            FILES + OFFSETS["fdt"]: FDT,
            FDT + OFFSETS["fd"]: FD,
            FD + 8 * 5: FILE,
            FILE + OFFSETS["f_op"]: OPS,
        }

        def bpf_memory():
            if not bpf:
                raise ProbeError("no BPF")
            return Words(words)

        monkeypatch.setattr(boot, "text_start", lambda: TEXT)
        monkeypatch.setattr(boot, "BpfMemory", bpf_memory)
        monkeypatch.setattr(memory.os, "open", lambda path, flags: 5)
        monkeypatch.setattr(memory.os, "close", lambda fd: None)
        made = compiled()
        layout = replace(made.layout, task={**made.layout.task, **offsets})
        return boot.Boot(
            replace(made, symbols={"vmemmap_base": 0x1000, **symbols}, layout=layout),
            Words({TEXT + 0x1000: VMEMMAP, **dict(texts)}),
        )

    return boot_of


def test_addresses_are_the_symbols_when_the_kernel_tells_them(opened):
    # GIVEN a kernel with the symbols of its data WHEN programs meet it
    booted = opened({"tracing_mark_fops": 0x3000, "init_task": 0x4000}, bpf=False)
    # THEN nothing else is asked
    assert booted.constants["TRACE_MARKER_OPS"] == TEXT + 0x3000
    assert booted.task == TEXT + 0x4000
    assert booted.layout.vmemmap == VMEMMAP
    assert booted.missing(Plan([MARK])) == []


def test_site_is_there_when_its_update_is_run(opened, monkeypatch):
    # GIVEN an update of arm64 at an offset in a function, and the instructions before it
    nop, branch, update = (
        word.to_bytes(4, "little") for word in (0xD503201F, 0x140000A6, 0xB820003F)
    )
    site = Probe(1, "f", "kprobe", 0x200, "on_site", (), "dup", "point", "dup", code=update.hex())
    for before, there in ((nop, True), (branch, False)):
        # WHEN another boot of the kernel is looked at, on a CPU with LSE atomics or without
        lead = nop * (aarch64.REACH - 2) + before + bytes(4)
        text = {TEXT + 0x5200 - aarch64.LEAD: lead + update}
        booted = opened({"f": 0x5000}, texts=text)
        with monkeypatch.context() as machine:
            machine.setattr(boot.arch, "here", lambda: aarch64)
            # THEN the update is where it was if the processor comes to it
            assert booted.has_site(site) == there


def test_addresses_are_found_when_the_kernel_has_no_symbols_of_data(opened):
    # GIVEN a kernel without CONFIG_KALLSYMS_ALL WHEN programs meet it
    booted = opened({})
    # THEN a mark is known by the operations of a file that we opened, a task by our own
    assert booted.constants["TRACE_MARKER_OPS"] == OPS
    assert booted.task == TASK
    assert booted.missing(Plan([MARK])) == []


@pytest.mark.parametrize("how", [{"offsets": {}}, {"bpf": False}])
def test_marks_are_missing_when_they_cannot_be_told_from_other_writes(opened, how):
    # GIVEN such a kernel whose types, or whose memory, do not tell it WHEN programs meet it
    booted = opened({}, **how)
    # THEN no write passes for a mark, and one line says what is not seen
    assert booted.constants["TRACE_MARKER_OPS"] == 0
    (missing,) = booted.missing(Plan([MARK]))
    assert "not seen: marks of the workload" in str(missing)
    # AND none where the plan has none
    assert booted.missing(Plan()) == []
