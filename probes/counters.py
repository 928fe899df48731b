# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of counters: what kernels keep, where, with what bias and unit.

How a counter follows from the operations, and which rules it obeys, is in the same order in
analysis/counters.py.  docs/kernel-eras.md tells which era has which.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Tuple


class Counter(NamedTuple):
    """One counter of a page or of a folio.

    name:   as traces, data frames and findings call it.
    field:  as the layout in a trace's header calls its place; of a page flag, its bit.
    places: (struct, field) of the kernel's types, newest first; "page" is the folio's second page,
            "page[2]" its third.
    column: of the record (probes/events.py).
    bias:   what has to be added to the kernel's word.
    unit:   "mappings", "pages", "pins", "id" or "flag".
    at:     of an element of an array, its distance from the field's beginning.
    mask:   the bits of the word that are the counter; 0: all.
    owner:  it is kept with CONFIG_MM_ID, and in owner records.
    pins:   it counts pins, not mappings, and is in records of pins alone.
    """

    name: str
    field: str
    places: Tuple[Tuple[str, str], ...]
    column: str
    bias: int
    unit: str
    at: int = 0
    mask: int = 0
    owner: bool = False
    pins: bool = False

    @property
    def is_page_flag(self) -> bool:
        """It is a bit of the second page's flags, not a word of the folio."""
        return self.places[0][0] == "pageflags"

    def logical(self, word: Any) -> Any:
        """Its value, or those of an array, by the kernel's word."""
        bits = (word & self.mask) // (self.mask & -self.mask) if self.mask else word
        return bits + self.bias


#: The map count of a single page, whose word may hold a page type instead.
MAPCOUNT = Counter("mapcount", "mapcount", (("page", "_mapcount"),), "mapcount", 1, "mappings")

# Those of a folio of more than one page:

# In page[1] since commit 53f9263baba6 ("mm: rework mapcount accounting to enable 4k mapping of
# THPs") (in v4.5).
ENTIRE = Counter(
    "entire_mapcount",
    "entire",
    (("folio", "_entire_mapcount"), ("page", "compound_mapcount")),
    "entire",
    1,
    "mappings",
)
# A flag of page[1], gone with commit cb67f4282bf9 ("mm,thp,rmap: simplify compound page mapcount
# handling") (in v6.2).
DOUBLE_MAP = Counter(
    "double_map", "double_map", (("pageflags", "PG_double_map"),), "bits", 0, "flag"
)
# In page[1] since that commit, in struct folio, as the other, since commit eec20426d48b ("mm:
# convert head_subpages_mapcount() into folio_nr_pages_mapped()") (in v6.3).
NR_PAGES_MAPPED = Counter(
    "nr_pages_mapped",
    "nr_mapped",
    (("folio", "_nr_pages_mapped"), ("page", "subpages_mapcount")),
    "nr_mapped",
    0,
    "pages",
)
# commit 05c5323b2a34 ("mm: track mapcount of large folios in single value") (in v6.10)
LARGE = Counter("large_mapcount", "large", (("folio", "_large_mapcount"),), "large", 1, "mappings")
# "mm/rmap: support arbitrary folio mappings" (announced in April 2026): it takes the place of
# _entire_mapcount.
TOTAL = Counter(
    "total_mapped_pages", "total", (("folio", "_total_mapped_pages"),), "nr_mapped", 0, "pages"
)

# Who maps the folio: two slots, each with the id of an mm and how often that maps it, in the words
# of which there are two bits more.  commit 6af8cb80d3a9 ("mm/rmap: basic MM owner tracking for
# large folios (!hugetlb)") (in v6.15)
_COUNT, _ID = (("folio", "_mm_id_mapcount"),), (("folio", "_mm_id"),)
_ID_MASK, _SHARED_MASK = 0x7FFFFFFF, 0x80000000
SLOTS = (
    Counter("mm_id_mapcount_0", "mm_id_mapcount", _COUNT, "entire", 1, "mappings", 0, 0, True),
    Counter("mm_id_mapcount_1", "mm_id_mapcount", _COUNT, "nr_mapped", 1, "mappings", 4, 0, True),
    Counter("mm_id_0", "mm_id", _ID, "large", 0, "id", 0, _ID_MASK, True),
    Counter("mm_id_1", "mm_id", _ID, "refcount", 0, "id", 4, _ID_MASK, True),
    Counter("maybe_mapped_shared", "mm_id", _ID, "refcount", 0, "flag", 4, _SHARED_MASK, True),
)

# In page[2] since commit 47e29d32afba ("mm/gup: page->hpage_pinned_refcount: exact pin counts for
# huge pages") (in v5.7), in page[1] since commit 5232c63f46fd ("mm: Make compound_pincount always
# available") (in v5.18).
PINCOUNT = Counter(
    "pincount",
    "pincount",
    (("folio", "_pincount"), ("page", "compound_pincount"), ("page[2]", "hpage_pinned_refcount")),
    "nr_mapped",
    0,
    "pins",
    pins=True,
)

FOLIO = (ENTIRE, DOUBLE_MAP, NR_PAGES_MAPPED, LARGE, TOTAL, *SLOTS, PINCOUNT)
COUNTERS = (MAPCOUNT, *FOLIO)
