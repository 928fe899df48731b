# SPDX-License-Identifier: GPL-2.0-or-later
"""An outside oracle: bpftrace reads the counters that we record, at the same marks (oracle.sh).

Everything else in these tests holds our replay against our own reading of struct page.  Here the
offsets, the reading and the moment are somebody else's.
"""

from dataclasses import dataclass, field
from functools import cached_property

import pytest

import analysis
from analysis.trace import Trace
from vm import scenarios

pytestmark = [pytest.mark.truth, pytest.mark.guest("oracle")]
MARKS = [mark for mark in scenarios.table("lifecycle").marks if mark.folio != "gone"]
WHOLE = [mark.name for mark in MARKS if mark.folio == "thp"]
SPLIT = [mark.name for mark in MARKS if mark.folio == "pages"]
#: The bias of each counter: logical = field + bias.
BIAS = {"mapcount": 1, "entire_mapcount": 1, "large_mapcount": 1, "nr_pages_mapped": 0}
#: A raw map count below this is a page type: the page is free.
LOWEST = -100


@dataclass
class Told:
    """What bpftrace said at one mark, as logical values."""

    folio: dict[str, int] = field(default_factory=dict)
    pages: dict[int, int] = field(default_factory=dict)


def read(text):
    """mark -> what bpftrace told there."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["mark"]:
            here = found.setdefault(words[1], Told())
        elif words[:1] == ["folio"]:
            here.folio[words[1]] = int(words[2]) + BIAS.get(words[1], 0)
        elif words[:1] == ["page"] and int(words[2]) >= LOWEST:
            here.pages[int(words[1])] = int(words[2]) + BIAS["mapcount"]
    return found


def different(told, ours):
    """Keys whose values differ, or that one of the two has alone."""
    return {key for key in told.keys() | ours.keys() if told.get(key) != ours.get(key)}


@dataclass
class Both:
    """One run, told by bpftrace and by us."""

    told: dict[str, Told]
    trace: Trace

    @cached_property
    def truth(self):
        return self.trace.df_truth()

    def snapshot(self, name):
        """The rows of the huge page's frame in our snapshot of a mark."""
        here = self.truth["pfn"] // 512 == self.head // 512
        here = self.truth[here & (self.truth["name"] == name)]
        assert len(here) == 512
        return here

    @property
    def head(self):
        lives = self.trace.df_lives()
        return int(lives.loc[lives["order"] == 9, "head_pfn"].iloc[0])

    def replayed(self, name):
        """(counters of the folio, page -> map count) as the replay has them at a mark."""
        marks, lives = self.trace.df_marks(), self.trace.df_lives()
        ts = int(marks.loc[marks["name"] == name, "ts"].iloc[0])
        alive = lives[(lives["birth_ts"] <= ts) & ~(lives["death_ts"] <= ts).fillna(False)]
        alive = alive[alive["head_pfn"] // 512 == self.head // 512]
        run = self.trace.replay(alive.index)
        folio, pages = {}, {}
        for number in alive.index:
            state = self.trace.counts(int(number), run).at(ts)
            first = int(lives["head_pfn"][number]) - self.head
            pages.update(enumerate(state.mapcount.tolist(), first))
            if lives["order"][number] == 9:
                folio = {
                    "entire_mapcount": state.entire,
                    "double_map": state.double_map,
                    "nr_pages_mapped": state.nr_pages_mapped,
                    "large_mapcount": state.large_mapcount,
                }
        return {name: value for name, value in folio.items() if value is not None}, pages

    def folio_told(self, name):
        """bpftrace's counters of the folio; DoubleMap is a bit of the second page's flags."""
        told = dict(self.told[name].folio)
        del told["refcount"]
        flags = told.pop("second_flags", None)
        if flags is not None:
            told["double_map"] = flags >> self.trace.meta["layout"]["bits"]["double_map"] & 1
        return told


@pytest.fixture(scope="module")
def both(guests):
    """lifecycle, recorded in one guest while bpftrace looked."""
    folder = guests("oracle")
    told = read((folder / "oracle.txt").read_text())
    return Both(told, analysis.open_trace(str(folder / "lifecycle.mapcount")))


def test_bpftrace_when_the_run_is_over(both):
    # GIVEN a run beside bpftrace THEN both of us saw every mark, and we lost nothing
    assert [name for name in both.told if name != "freed"] == [mark.name for mark in MARKS]
    assert set(both.told) <= set(both.trace.df_marks()["name"])
    assert both.trace.df_losses().empty


@pytest.mark.parametrize("name", WHOLE + SPLIT)
def test_snapshot_pages_when_read_by_bpftrace(both, name):
    # GIVEN the map counts of 512 pages that bpftrace read at a mark
    told = both.told[name].pages
    # WHEN we read them there THEN they are the same, and the same pages have none
    here = both.snapshot(name)
    ours = here["mapcount"].set_axis(here["pfn"] - both.head).dropna()
    assert not different(told, ours.to_dict())
    assert len(told) >= 512 - 32


@pytest.mark.parametrize("name", WHOLE)
def test_snapshot_counters_when_read_by_bpftrace(both, name):
    # GIVEN the counters of the whole folio that bpftrace read at a mark
    told = both.folio_told(name)
    # WHEN we read them there THEN they are the same, and no map count of the era is left out
    first = both.snapshot(name).iloc[0]
    kept = both.trace.counters - {"mapcount", "pincount"}
    ours = {counter: int(first[counter]) for counter in kept}
    assert not different(told, ours)
    # AND the folio has a reference for each mapping at least
    assert both.told[name].folio["refcount"] >= told["entire_mapcount"]


@pytest.mark.parametrize("name", WHOLE + SPLIT)
def test_replay_when_read_by_bpftrace(both, name):
    # GIVEN what bpftrace read at a mark WHEN our records are replayed up to it
    folio, pages = both.replayed(name)
    # THEN the counters of the folio are the same
    if name in WHOLE:
        assert not different(both.folio_told(name), folio)
    # AND those of each page; one that was freed has no life, and no mapping either
    told = both.told[name].pages
    assert len(pages) >= 512 - 32
    assert not different({page: told.get(page) for page in pages}, pages)
    assert not any(count for page, count in told.items() if page not in pages)


def test_comparison_when_one_number_is_altered(both):
    # GIVEN what both read, with one value of one page off by one
    told = both.told["child_unmapped"].pages
    altered = {**told, 256: told[256] + 1}
    # WHEN they are compared THEN that page, and no other, is found
    assert different(told, altered) == {256}
    assert different(altered, both.replayed("child_unmapped")[1]) == {256}
