# SPDX-License-Identifier: GPL-2.0-or-later
"""Random rmap programs on one folio: the replay against a naive model of page tables."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from tests.mock import COUNTERS, MockTrace
from tests.mock_kernel import Folio, MockKernel, apply

HEAD = 0x400
PIDS = (100, 101, 102)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("map_pmd", "map_pte", "unmap_pte", "unmap_pmd", "fork", "split_pmd")),
        st.sampled_from(PIDS),
        st.sampled_from(PIDS),
        st.integers(0, 3),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=30,
)


def _expected(folio: Folio) -> dict[tuple[str, int], int]:
    values = {("entire_mapcount", -1): len(folio.pmds)}
    for page in range(folio.pages):
        values["pte_mappings", page] = folio.pte_mappings(page)
        values["mapcount", page] = folio.mapcount(page)
    kept = COUNTERS[folio.era]
    if "mapcount" not in kept:  # what the page's PTE mappings are is told by the operations
        values |= {("mapcount", page): folio.pte_mappings(page) for page in range(folio.pages)}
    if "large_mapcount" in kept:
        values["large_mapcount", -1] = folio.large_mapcount()
    if "nr_pages_mapped" in kept:
        values["nr_pages_mapped", -1] = folio.nr_pages_mapped()
    if "total_mapped_pages" in kept:
        values["total_mapped_pages", -1] = folio.total_mapped_pages()
    if "double_map" in kept and folio.anon:
        values["double_map", -1] = int(folio.doubled)
    if "mm_id_0" in kept:
        for slot in (0, 1):
            values["mm_id_mapcount_" + str(slot), -1] = folio.mm_id_mapcount[slot] + 1
            values["mm_id_" + str(slot), -1] = folio.mm_id[slot]
        values["maybe_mapped_shared", -1] = int(folio.shared)
    return values


@pytest.mark.parametrize("era", ["double_map", "subpages", "large", "owners", "summed"])
@pytest.mark.parametrize("anon", [True, False])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, seen_before=st.integers(0, 10))
def test_df_counts_equals_page_tables_when_programs_are_random(
    era: str, anon: bool, steps: list[tuple[str, int, int, int, int]], seen_before: int
) -> None:
    # GIVEN a folio of four pages, the first steps of whose life may not be recorded
    trace = MockTrace(era)
    kernel = MockKernel(trace)
    # What the pages of an older folio began with nothing tells where they have no counts.
    unseen = seen_before >= 5 and "mapcount" in COUNTERS[era]
    folio = kernel.older(HEAD, 2, anon) if unseen else kernel.alloc(HEAD, 2, anon)
    for step in steps[: seen_before if unseen else 0]:
        apply(kernel, folio, step)
    if unseen:
        trace.items.clear()
        kernel.snapshot("start")
    history = [(trace.now, _expected(folio))]
    for step in steps[seen_before if unseen else 0 :]:
        apply(kernel, folio, step)
        history.append((trace.now, _expected(folio)))

    # WHEN its life is replayed from the trace
    with tempfile.TemporaryDirectory() as folder:
        path = trace.write(Path(folder) / "t.mapcount")
        opened = analysis.open_trace(str(path))
        frame = None if len(opened.lives) == 0 else opened.df_counts(0)
    if frame is None:
        assert unseen
        return
    frame = frame[frame["source"] == "replayed"]

    # THEN after each operation every counter is what the page tables say; a folio that
    # nobody mapped was never seen to be anonymous
    known_anon = bool(opened.df_lives()["anon"][0])
    assert known_anon == (anon and len(opened.log) > (0 if unseen else 1))
    for ts, expected in history:
        if ts < opened.log.ts[0]:
            continue
        if not known_anon:
            expected.pop(("double_map", -1), None)
        now = frame[frame["ts"] <= ts].groupby(["counter", "subpage"], observed=True)["value"]
        assert now.last().to_dict() == expected
        state = opened.counts(0).at(ts)
        assert state.entire == expected["entire_mapcount", -1]
        np.testing.assert_array_equal(
            state.pte, [expected["pte_mappings", page] for page in range(4)]
        )
