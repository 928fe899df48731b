# SPDX-License-Identifier: GPL-2.0-or-later
"""Which processes share an address space."""

import array
import errno
import os
import subprocess
import threading

import pytest

from probes import spaces
from probes.errors import ProbeError
from probes.pagetables import Vma
from probes.published import Published
from probes.snapshot import _mappers


def test_kcmp_when_threads_share_and_processes_do_not():
    # GIVEN a thread of this process, and another process
    process = subprocess.Popen(["sleep", "60"])
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        # THEN the kernel says that the thread shares this address space, and the process not
        assert spaces.kcmp_vm(os.getpid(), thread.native_id) == 0
        assert spaces.kcmp_vm(os.getpid(), process.pid) != 0
        assert sorted(spaces.address_spaces([process.pid, os.getpid()])) == sorted(
            [[process.pid], [os.getpid()]]
        )
    finally:
        done.set()
        thread.join()
        process.kill()
        process.wait()


def test_address_spaces_when_a_process_has_ended():
    # GIVEN a process that ended and was not waited for
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # THEN it has none
    assert spaces.address_spaces([process.pid]) == []
    process.wait()


@pytest.fixture
def shared(monkeypatch):
    """Processes 11 and 13 share an address space, 12 has its own."""
    mm = {11: 5, 12: 3, 13: 5}
    monkeypatch.setattr(spaces, "living_thread", lambda pid: pid)
    monkeypatch.setattr(spaces, "kcmp_vm", lambda a, b: (mm[a] > mm[b]) - (mm[a] < mm[b]))


def test_address_spaces_when_two_processes_share_one(shared):
    assert spaces.address_spaces([11, 12, 13]) == [[12], [11, 13]]


class FakeKcore:
    """A ring of task_structs: tasks at 16, mm at 40, tgid at 32."""

    OFFSETS = {"tasks": 16, "mm": 40, "tgid": 32, "pid": 36}

    def __init__(self, *tasks, broken=False):
        self.memory = {}
        addresses = [0x1000 * (n + 1) for n in range(len(tasks))]
        for n, (tgid, mm) in enumerate(tasks):
            following = 0xDEAD000 if broken and n else addresses[(n + 1) % len(tasks)]
            data = bytearray(48)
            data[16:24] = (following + 16).to_bytes(8, "little")
            data[32:36] = tgid.to_bytes(4, "little")
            data[36:40] = b"\xff" * 4
            data[40:48] = mm.to_bytes(8, "little")
            self.memory[addresses[n]] = bytes(data)

    def read(self, address, size):
        for start, data in self.memory.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        raise ProbeError(f"nothing at {address:#x}")


@pytest.fixture
def no_kcmp(monkeypatch):
    """A kernel without CONFIG_KCMP."""

    def refuse(first, second):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(spaces, "living_thread", lambda pid: pid)
    monkeypatch.setattr(spaces, "kcmp_vm", refuse)


def test_address_spaces_when_the_kernel_has_no_kcmp(no_kcmp):
    # GIVEN the kernel's list of tasks: the idle task, a kernel thread, and three processes
    tasks = [(0, 0), (2, 0), (11, 0x50), (12, 0x30), (13, 0x50)]
    listed = spaces.TaskList(FakeKcore(*tasks), FakeKcore.OFFSETS, 0x1000)
    # THEN it tells who shares an address space
    assert spaces.address_spaces([11, 12, 13], listed) == [[12], [11, 13]]


@pytest.mark.parametrize("broken", [False, True])
def test_address_spaces_when_the_list_does_not_tell(no_kcmp, broken):
    # GIVEN a list that lacks a process's address space, or leads nowhere
    kcore = FakeKcore((0, 0), (11, 0x50), (12, 0x50 if broken else 0), broken=broken)
    listed = spaces.TaskList(kcore, FakeKcore.OFFSETS, 0x1000)
    # THEN it is not known who shares one
    with pytest.raises(OSError):
        spaces.address_spaces([11, 12], listed)


def entries_of(monkeypatch, walked):
    """Each walk finds one page of frame 2, and is written down."""

    def walk(tid):
        walked.append(tid)
        yield Vma(0, 4096, "rw-p", 0, 0, ""), 0, array.array("Q", [1 << 63 | 1024])

    monkeypatch.setattr("probes.snapshot.walk", walk)
    monkeypatch.setattr("probes.snapshot.living_thread", lambda pid: pid)


def test_mappers_when_two_processes_share_an_address_space(shared, monkeypatch):
    # GIVEN three processes, two of which share an address space
    walked = []
    entries_of(monkeypatch, walked)
    # WHEN their page tables are walked
    mms, found = _mappers([1024], [11, 12, 13], Published())
    # THEN what is shared was walked once, and the trace says through whom, and in which mapping the
    # page lies
    assert walked == [12, 11]
    assert found[0] == 2
    assert [mm["tasks"] for mm in mms] == [[12], [11, 13]]
    assert all(mm["vmas"] == [(0, 4096, "rw-p", "")] for mm in mms)


def test_mappers_when_the_kernel_does_not_tell_who_shares(no_kcmp):
    # GIVEN a kernel without CONFIG_KCMP, and no list of its tasks
    # THEN nothing is counted, and the trace says why
    mms, found = _mappers([1024], [11, 12], Published())
    assert not any(found)
    assert all("Function not implemented" in mm["torn"] for mm in mms)
