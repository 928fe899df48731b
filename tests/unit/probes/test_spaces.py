# SPDX-License-Identifier: GPL-2.0-or-later
"""Which processes share an address space."""

import errno
import os
import subprocess
import threading

import pytest

from probes import spaces
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


def entries_of(monkeypatch, walked):
    """Each walk finds one page of frame 2, and is written down."""

    def walk(tid):
        walked.append(tid)
        yield None, 0, [1 << 63 | 1024]

    monkeypatch.setattr("probes.snapshot.walk", walk)
    monkeypatch.setattr("probes.snapshot.living_thread", lambda pid: pid)


def test_mappers_when_two_processes_share_an_address_space(shared, monkeypatch):
    # GIVEN three processes, two of which share an address space
    walked = []
    entries_of(monkeypatch, walked)
    # WHEN their page tables are walked
    mms, found = _mappers([1024], [11, 12, 13], lambda: None)
    # THEN what is shared was walked once, and the trace says through whom
    assert walked == [12, 11]
    assert found[0] == 2
    assert mms == [{"tasks": [12]}, {"tasks": [11, 13]}]


def test_mappers_when_the_kernel_does_not_tell_who_shares(monkeypatch):
    # GIVEN a kernel without CONFIG_KCMP
    def refuse(first, second):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(spaces, "living_thread", lambda pid: pid)
    monkeypatch.setattr(spaces, "kcmp_vm", refuse)
    # THEN nothing is counted, and the trace says why
    mms, found = _mappers([1024], [11, 12], lambda: None)
    assert not any(found)
    assert all("Function not implemented" in mm["torn"] for mm in mms)
