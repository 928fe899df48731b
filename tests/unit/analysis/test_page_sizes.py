# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages of another size than 4 KiB, of which a PMD maps another number."""

import struct
from pathlib import Path

import pytest

import analysis
from analysis import recording
from analysis.slicing import Wanted, write_slice
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
    # AND one folio has lived, as large as that, and is drawn page by page
    assert trace.df_lives()["order"].max() == 11
    axes = analysis.plot_timeline(trace, 0).axes
    (pages,) = (ax for ax in axes if ax.get_ylabel() == "page in the folio")
    assert pages.get_ylim() == (0, 2048)


def small_folios() -> MockTrace:
    """Folios of a quarter of a frame, each in a quarter of its own, two marks while they live."""
    trace = MockTrace("large", 16 << 10)
    kernel = MockKernel(trace)
    folios = [kernel.alloc((6 << 11) + (at << 9), 9) for at in range(4)]
    for folio in folios:
        for page in range(8):
            kernel.map_pte(folio, PARENT, page)
    for name in ("first", "second"):
        trace.mark(name)
        kernel.snapshot(name, tasks=(PARENT,))
    return trace


def test_trace_is_read_in_parts_when_its_folios_are_smaller_than_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace of folios in one frame of 2048 pages
    path = small_folios().write(tmp_path / "t.mapcount")
    whole = verify(analysis.open_trace(str(path)))
    # WHEN it is read in as many parts as can be
    monkeypatch.setattr(recording, "PART", 1)
    parts = verify(analysis.open_trace(str(path)))
    # THEN every page is held against the kernel all the same
    assert parts.checked == whole.checked > 2 * 4 * 512
    assert len(parts.differences) == len(whole.differences) == 0


def test_slice_keeps_the_snapshots_when_a_folio_is_smaller_than_a_frame(tmp_path: Path) -> None:
    # GIVEN the same trace WHEN what belongs to a page of its last folio is cut out
    trace = analysis.open_trace(str(small_folios().write(tmp_path / "t.mapcount")))
    page = (6 << 11) + (3 << 9)
    write_slice(trace, str(tmp_path / "slice.mapcount"), Wanted(pages=[(page, page)]))
    # THEN the snapshots of its frame are there, and the records of the whole frame
    slice_ = analysis.open_trace(str(tmp_path / "slice.mapcount"))
    assert verify(slice_).checked == verify(trace).checked
    assert len(slice_.df_lives()) == 4


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
