# SPDX-License-Identifier: GPL-2.0-or-later
"""Ground truth: which frames are taken, and of which tasks."""

import array
import json
import os
import struct
import subprocess

from probes.maps import FRAME_PAGES
from probes.tasks import descendants
from tests.unit.probes.test_watchset import watch_set


def test_descendants_when_a_child_runs():
    # GIVEN a child that waits
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    # THEN it is found below this process, and not below itself alone
    assert child in descendants([os.getpid()])
    assert descendants([child]) == [child]
    os.close(write_end)
    os.waitpid(child, 0)
    # AND once it is gone, it is not
    assert descendants([child]) == []


def test_truth_payload_when_no_frame_is_watched():
    # GIVEN nothing watched
    from probes.snapshot import Snapshots

    payload = Snapshots(None, type("L", (), {"struct_page": 64, "vmemmap": 0})(), watch_set({}))
    data = payload.take("start", [])
    # THEN the payload is its description alone
    (size,) = struct.unpack_from("<I", data)
    assert len(data) == 4 + size


def test_truth_payload_when_a_task_ran_meanwhile():
    # GIVEN two tasks of one address space each, of which one ran while it was read
    from probes.snapshot import Snapshots

    child = subprocess.Popen(["sleep", "60"])
    snapshots = Snapshots(None, type("L", (), {"struct_page": 64, "vmemmap": 0})(), watch_set({}))
    # WHEN the snapshot is taken
    tasks = [os.getpid(), child.pid]
    data = snapshots.take("mark", tasks, torn=lambda: {child.pid: "ran while it was read"})
    child.kill()
    child.wait()
    # THEN that address space is marked, with the reason, and no other
    about = json.loads(data[4:])
    spaces = {mm["tasks"][0]: mm.get("torn") for mm in about["mms"]}
    assert spaces == {os.getpid(): None, child.pid: "ran while it was read"}


def test_truth_payload_when_a_device_has_a_page_of_a_task(monkeypatch):
    # GIVEN a task that maps a page of a watched frame by an entry that is not present
    from probes import snapshot
    from probes.pagetables import SWAPPED, Vma

    pfn = 7 * FRAME_PAGES + 5
    entry = SWAPPED | pfn << 5 | 30
    vma = Vma(0, 1 << 20, "rw-p", 0, 0, "")
    monkeypatch.setattr(snapshot, "walk", lambda _: [(vma, 0, array.array("Q", [entry]))])
    frames = {"watched": [pfn // FRAME_PAGES * FRAME_PAGES], "elsewhere": [0]}
    torn = {}
    for name, watched in frames.items():
        # WHEN its page tables are read
        (mm,), found = snapshot._mappers(watched, [os.getpid()], snapshot.Published())
        assert not any(found)
        torn[name] = mm.get("torn")
    # THEN what it maps is not known, with the reason, where the page is watched
    assert torn == {"watched": snapshot.NOT_PRESENT, "elsewhere": None}


def test_truth_payload_when_the_kernel_has_no_page_monitor(monkeypatch):
    # GIVEN a watched page on a kernel without /proc/kpagecount and /proc/kpageflags
    from probes import snapshot

    real = snapshot.os.open

    def without(path, flags):
        if str(path).startswith("/proc/kpage"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return real(path, flags)

    monkeypatch.setattr(snapshot.os, "open", without)
    kcore = type("K", (), {"read": lambda self, address, size: b"\x55" * size})()
    layout = type("L", (), {"struct_page": 64, "vmemmap": 0})()
    # WHEN a snapshot is taken
    data = snapshot.Snapshots(kcore, layout, watch_set({(2, 5): 1})).take("mark", [])
    # THEN it has the counters, and no count where 0 would be one
    (size,) = struct.unpack_from("<I", data)
    at = 4 + size
    assert data[at : at + FRAME_PAGES * 64] == b"\x55" * (FRAME_PAGES * 64)
    counts = struct.unpack_from(f"<{FRAME_PAGES}q", data, at + FRAME_PAGES * 64)
    assert set(counts) == {-1}
    assert len(data) == at + FRAME_PAGES * (64 + 8 + 8 + 2)


def test_lack_is_told_when_the_kernel_has_no_page_monitor(monkeypatch):
    # GIVEN a kernel with, and one without /proc/kpagecount
    from probes import snapshot

    monkeypatch.setattr(snapshot.os.path, "exists", lambda path: True)
    assert snapshot.unpublished() == []
    monkeypatch.setattr(snapshot.os.path, "exists", lambda path: path != "/proc/kpagecount")
    # THEN one line names the option and what snapshots do without
    (missing,) = snapshot.unpublished()
    assert "CONFIG_PROC_PAGE_MONITOR; not seen: what /proc says of a page" in str(missing)
