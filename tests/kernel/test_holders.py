# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds a folio, on real kernels: the `holders` workload's known answers, at each mark.

MAPCOUNT_KERNEL names another kernel than the usual one.
"""

import numpy as np
import pytest

import analysis
from analysis.truth import PFN_MASK
from analysis.verify import verify
from tests.kernel.jobs import ARM64_OF_4_KIB, of_kernels, place

#: By mark: order of the folio that the workload is about, its mappings, the pins (None: some, for
#: io_uring keeps one for a folio, or one for each page), what is unexplained, and whether it is on
#: an LRU list.  The number in a mark's name is /proc/vmstat's: of the whole kernel, where the file
#: system of the trace may pin pages at that time, too.
HUGE, SMALL = 9, 0
MARKS = {
    "mapped": (HUGE, 1, 0, 0, True),
    "shared": (HUGE, 2, 0, 0, True),
    "pinned": (HUGE, 1, None, 0, True),
    "split_refused": (HUGE, 1, None, 0, True),
    "unpinned": (HUGE, 1, 0, 0, True),
    "spliced": (HUGE, 1, 0, 3, True),
    "splice_refused": (HUGE, 1, 0, 3, True),
    "drained": (HUGE, 1, 0, 0, True),
    "batched": (SMALL, 1, 0, 1, False),
    "on_list": (SMALL, 1, 0, 0, True),
    "small_pinned": (SMALL, 1, None, 0, True),
    "small_unpinned": (SMALL, 1, 0, 0, True),
    "block_pinned": (HUGE, 1, None, 0, True),
    "offline_refused": (HUGE, 1, None, 0, True),
}
PAGE = 4096
#: The marks of the folios that are mapped at each place().
PLACES = (
    ("mapped", "shared", "pinned", "split_refused", "unpinned"),
    ("spliced", "splice_refused", "drained"),
    ("batched", "on_list", "small_pinned", "small_unpinned"),
)
ADDRESS = {mark: place(n) for n, some in enumerate(PLACES) for mark in some}
#: (what gave up, the marks before and after it, references beyond the mappings: None: as many as
#: the pins)
REFUSALS = (
    ("split_folio", "pinned", "split_refused", None),
    ("split_folio", "spliced", "splice_refused", 3),
    ("unmap_to_move", "block_pinned", "offline_refused", None),
)

pytestmark = pytest.mark.parametrize(
    "guest", of_kernels("matrix-{}", ("6.1", "6.12", "7.x", ARM64_OF_4_KIB))
)


@pytest.fixture
def trace(guests, guest):
    return analysis.open_trace(str(guests(guest).trace("holders")))


def marks(trace):
    """By mark, its number among the snapshots, and the pins that /proc/vmstat told in its name."""
    found = {}
    for number, shot in enumerate(trace.snapshots):
        name, _, pins = shot.name.partition(" ")
        if pins:
            found[name] = number, int(pins)
    return found


def folio_at(trace, mark):
    """The row of the folio that a mark is about: by its address in the workload or, of the block
    that goes offline, the one that is pinned."""
    number, _ = marks(trace)[mark]
    found = trace.df_references()
    here = found[found["snapshot"] == number]
    if ADDRESS.get(mark) is None:
        return here[(here["order"] == HUGE) & (here["pins"] > 0)].iloc[0]
    runs = trace.snapshots[number].runs
    address, entry = (runs[name].astype(np.int64) for name in ("address", "entry"))
    inside = (address <= ADDRESS[mark]) & (ADDRESS[mark] < address + runs["pages"] * PAGE)
    run = np.flatnonzero(inside)[0]  # at one mark two processes map it
    pfn = int(entry[run] & PFN_MASK) + (ADDRESS[mark] - int(address[run])) // PAGE
    pages = np.int64(1) << here["order"].to_numpy(np.int64)
    (row,) = np.flatnonzero((here["head_pfn"] <= pfn) & (pfn < here["head_pfn"] + pages))
    return here.iloc[row]


def test_references_at_each_mark(trace, guest):
    # GIVEN the workload as the kernel ran it
    told = marks(trace)
    missing = set(MARKS) - set(told)
    # See its notes: of the memory that it booted with arm64 takes none out of use, and tries none.
    without = {"offline_refused"} if guest == f"matrix-{ARM64_OF_4_KIB}" else set()
    assert missing in (without, {"block_pinned", "offline_refused"}), missing
    for mark in set(MARKS) & set(told):
        order, mappings, pins, unexplained, lru = MARKS[mark]
        row = folio_at(trace, mark)
        _, by_vmstat = told[mark]
        # THEN its folio's references are what the table says, and its pins among /proc/vmstat's
        assert (row["order"], row["mappings"]) == (order, mappings), mark
        assert 0 < row["pins"] <= by_vmstat if pins is None else row["pins"] == pins, mark
        assert row["unexplained"] == unexplained, mark
        assert row["lru"] == lru, mark
        # AND they add up to the kernel's own count
        of_pins = row["pins"] * (1024 if order == SMALL else 1)
        assert row["references"] == mappings + of_pins + unexplained, mark
        # AND the records of pins give the same
        assert order == SMALL or row["pins_seen"] == row["pins"], mark


def test_holders_at_each_mark(trace):
    # GIVEN the folio of each mark
    holders = trace.df_holders()
    for mark, (number, _) in marks(trace).items():
        if mark not in MARKS:
            continue
        _, _, pinned, unexplained, _ = MARKS[mark]
        row = folio_at(trace, mark)
        here = holders[(holders["snapshot"] == number) & (holders["life"] == row["life"])]
        # THEN the workload maps it
        assert "holders" in set(here[here["kind"] == "maps"]["comm"]), mark
        # AND who pinned it and did not let go is named, with as many as the kernel counts
        who = here[here["kind"] == "pinned"]
        assert who["number"].sum() == (row["pins"] if pinned is None else 0), mark
        assert set(who["comm"]) <= {"holders"}, mark
        # AND who has the pages in a pipe, by a stack that tells how
        got = here[(here["kind"] == "got") & (here["comm"] == "holders")]
        if mark == "spliced":
            assert got["number"].sum() >= unexplained
            stacks = {text for one in got["stack"] for text, _ in trace.stacks.get(int(one), [])}
            assert any("vmsplice" in name for name in stacks), stacks


def test_refusals_name_who_held_the_folio(trace):
    # GIVEN splits and moves of what was held
    found = trace.df_refusals()
    told = marks(trace)
    begins = {name: trace.snapshots[number].ts_begin for name, (number, _) in told.items()}
    for what, mark, after, beyond in REFUSALS:
        if after not in begins:  # which is allowed of these by the test of references
            continue
        during = (found["ts"] > begins[mark]) & (found["from_ts"] < begins[after])
        rows = found[during & (found["what"] == what) & (found["order"] == HUGE)]
        # THEN each gave up once at least, for what was beyond the mappings, and names the workload
        assert len(rows), (what, mark, found.to_string())
        want = folio_at(trace, mark)["pins"] if beyond is None else beyond
        assert (rows["beyond"] == want).all(), rows.to_string()
        assert rows["held_by"].str.contains("holders/").all(), rows.to_string()


def test_books_balance_where_folios_are_held(trace):
    # GIVEN the same trace THEN pins were compared at the marks, and nothing differs
    result = verify(trace)
    assert result.table["pincount"].sum() > 0
    assert result.differences.empty, result.differences.to_string()
    # AND the audit has no finding: a held folio is no fault
    assert trace.df_findings().empty
