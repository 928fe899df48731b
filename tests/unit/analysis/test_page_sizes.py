# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages of another size than 4 KiB, of which a PMD maps another number."""

import struct
from pathlib import Path

import analysis
from analysis.verify import verify
from probes.tracefile import BlockType
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

PARENT, CHILD = 100, 101


def story(page_size: int) -> MockTrace:
    """An anonymous folio of a PMD's size: shared, split in the child, unmapped, split, freed."""
    trace = MockTrace("large", page_size)
    kernel = MockKernel(trace)
    order = trace.frame_pages.bit_length() - 1
    folio = kernel.alloc(6 << order, order)
    kernel.map_pmd(folio, PARENT, new=True)
    trace.task_new(CHILD, "workload", PARENT)
    kernel.fork(folio, PARENT, CHILD)
    for name, change in (
        ("forked", lambda: None),
        ("split", lambda: kernel.split_pmd(folio, CHILD)),
        ("partial", lambda: kernel.unmap_pte(folio, CHILD, folio.pages - 200, 200)),
        ("left", lambda: kernel.exit(folio, CHILD)),
    ):
        change()
        trace.mark(name)
        kernel.snapshot(name, tasks=(PARENT, CHILD))
    small = kernel.split_folio(folio, PARENT)
    trace.mark("small")
    kernel.snapshot("small", tasks=(PARENT,))
    for page in small:
        kernel.exit(page, PARENT)
        kernel.free(page)
    return trace


def test_trace_when_pages_are_larger(tmp_path: Path) -> None:
    # GIVEN the story on a kernel whose pages are not of 4 KiB
    path = story(16 << 10).write(tmp_path / "t.mapcount")
    trace = analysis.open_trace(str(path))
    # THEN every page of what a PMD maps is held against the kernel's counters, without difference
    result = verify(trace)
    assert len(result.differences) == 0
    assert result.checked > 5 * 2 * 2048
    assert len(trace.df_findings()) == 0
    # AND one folio has lived, as large as that
    assert trace.df_lives()["order"].max() == 11


def test_trace_when_the_last_page_of_a_larger_frame_is_wrong(tmp_path: Path) -> None:
    # GIVEN the story, in which the kernel counts the frame's last page once more at one mark
    trace = story(16 << 10)
    for number, (kind, content) in enumerate(trace.items):
        if kind is BlockType.TRUTH and b'"name": "split"' in content:
            data = bytearray(content)
            (length,) = struct.unpack_from("<I", data)
            at = 4 + length + 2047 * 64 + 48
            struct.pack_into("<i", data, at, struct.unpack_from("<i", data, at)[0] + 1)
            trace.items[number] = (kind, bytes(data))
    # WHEN it is verified
    result = verify(analysis.open_trace(str(trace.write(tmp_path / "t.mapcount"))))
    # THEN exactly that is the difference
    assert result.differences["counter"].tolist() == ["mapcount"]
    assert result.differences["subpage"].tolist() == [2047]
