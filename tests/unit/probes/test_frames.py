# SPDX-License-Identifier: GPL-2.0-or-later
"""Page frames of a mapping, held against what the kernel says in another way."""

import mmap
import os
import struct

import pytest

from probes import frames

PAGES = 5


@pytest.fixture
def mapping():
    fd = os.memfd_create("frames")
    os.ftruncate(fd, PAGES * mmap.PAGESIZE)
    yield mmap.mmap(fd, PAGES * mmap.PAGESIZE, prot=mmap.PROT_READ)
    os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees page frames: run as root")
def test_frames_when_the_kernel_tells_them(mapping):
    # GIVEN a shared mapping
    # WHEN its frames are asked for
    runs = frames.frames_of(mapping, PAGES)
    # THEN each page has one, and the kernel says of each that it is mapped once
    pfns = [pfn for first, count in runs for pfn in range(first, first + count)]
    assert len(set(pfns)) == PAGES
    with open("/proc/kpagecount", "rb", buffering=0) as file:
        counts = [struct.unpack("<Q", os.pread(file.fileno(), 8, pfn * 8))[0] for pfn in pfns]
    assert counts == [1] * PAGES


def test_frames_when_the_kernel_hides_them(mapping, monkeypatch):
    # GIVEN a kernel that shows pages but no frames, as to a user who is not root
    hidden = (1 << 63).to_bytes(8, "little") * PAGES
    real = open

    class Pagemap:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def seek(self, _):
            pass

        def read(self, _):
            return hidden

    monkeypatch.setattr(
        "builtins.open",
        lambda path, *a, **k: Pagemap() if path == "/proc/self/pagemap" else real(path, *a, **k),
    )
    # WHEN asked THEN it is an OSError, which the recorder passes over with a note
    with pytest.raises(OSError, match="does not show"):
        frames.frames_of(mapping, PAGES)
