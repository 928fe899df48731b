# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc shows of pages at a snapshot, compared with the replay as the kernel documents it.

Not documented, and so not checked: hugetlb (its pages have no counts), bit 56 of pages that KSM
merged, pages that are not present, and large folios with CONFIG_NO_PAGE_MAPCOUNT: there bit
56, mapmax and kpagecount are the folio's, commit eb16876971ea ("fs/proc/task_mmu: remove per-page
mapcount dependency for PM_MMAP_EXCLUSIVE (CONFIG_NO_PAGE_MAPCOUNT)") (in v6.15) and its
neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.arrays import Bools, Ints, changes
from analysis.audit.finding import Finding, pages_text, plain
from analysis.audit.listed import Listed
from analysis.audit.published_pages import Entries, Pages, entries_of, known_pages
from analysis.doubt import Doubt
from analysis.part import Part
from analysis.replay import Replay
from analysis.truth import Snapshot
from analysis.verify import Verification

PAGEMAP_RST = "Documentation/admin-guide/mm/pagemap.rst"
PROC_RST = "Documentation/filesystems/proc.rst"
#: What each value is by the kernel's documentation.
PROMISES = {
    "pagemap bit 56": f"{PAGEMAP_RST}: bit 56 says that the page is mapped exactly once",
    "pagemap bit 61": f"{PAGEMAP_RST}: bit 61 says that the page is a file's or shared memory",
    "kpagecount": f"{PAGEMAP_RST}: the number of times each page is mapped",
    "kpageflags MMAP": f"{PAGEMAP_RST}: flag 11, a memory mapped page",
    "kpageflags ANON": f"{PAGEMAP_RST}: flag 12, a mapped page that is not part of a file",
    "kpageflags THP": f"{PAGEMAP_RST}: flag 22, a page of a transparent huge page",
    "numa_maps mapmax": "numa(7): the largest map count of a page that the scan met",
    "smaps Private": f"{PROC_RST}: what is mapped once is private",
    "smaps Shared": f"{PROC_RST}: what is mapped more than once is shared",
    "smaps Pss": f"{PROC_RST}: each page divided by the number of its mappings",
}
#: Names in a sentence, where they are others.
NAMES = {
    "pagemap bit 56": "bit 56 (exclusively mapped)",
    "pagemap bit 61": "bit 61 (file or shared memory)",
    "kpagecount": "the count",
    "kpageflags MMAP": "MMAP",
    "kpageflags ANON": "ANON",
    "kpageflags THP": "THP",
}
#: Bits of an entry of /proc/PID/pagemap.
EXCLUSIVE, FILE = 56, 61
#: Flags of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h).
MMAP, ANON, THP = 11, 12, 22
#: smaps adds up parts of a byte by this (fs/proc/task_mmu.c).
PSS_SHIFT = 12
#: Added to the name of a value where all pages of a large folio are given one: that which is right
#: for the first of them, or another.
OF_FIRST, OF_FOLIO = ", first page's", ", of the folio"
NOBODY = -1


class Readers:
    """What /proc showed at one snapshot."""

    def __init__(
        self, part: Part, run: Replay, doubt: Doubt, number: int, pages: Pages, listed: Listed
    ) -> None:
        self.listed = listed
        self.part, self.run, self.doubt, self.pages = part, run, doubt, pages
        self.shot: Snapshot = part.snapshots[number]
        self.name = f"the snapshot '{number} {self.shot.name}'"
        self.page_size = int(part.recording.meta.get("page_size", 4096))
        # What was read of a task that ran meanwhile may be older or newer than the pages' counts.
        runs, self.areas = (
            told[~np.isin(told["pid"], list(self.shot.torn))]
            for told in (self.shot.runs, self.shot.areas)
        )
        self.entries: Entries = entries_of(runs, pages, self.page_size)

    def findings(self) -> Iterator[Finding]:
        """Everything that /proc shows wrongly."""
        if self.shot.page_files:
            yield from self._kpagecount()
            yield from self._kpageflags()
        yield from self._pagemap()
        for area in self.areas:
            yield from self._area({name: int(area[name]) for name in area.dtype.names or ()})

    # -- page by page ----------------------------------------------------------------

    def _kpagecount(self) -> Iterator[Finding]:
        frame, page, _ = self.shot.locate(self.pages.pfn)
        at = np.arange(len(self.pages.pfn))
        told = self.shot.kpagecount[frame, page]
        yield from self._pagewise("kpagecount", "/proc/kpagecount", at, told, self.pages.count)

    def _kpageflags(self) -> Iterator[Finding]:
        pages = self.pages
        frame, page, _ = self.shot.locate(pages.pfn)
        flags = self.shot.kpageflags[frame, page].astype(np.int64)
        folio = np.cumsum(changes(pages.life)) - 1
        mapped = np.bincount(folio, weights=pages.count)[folio] > 0
        every = np.bincount(folio)[folio] == pages.size
        large = pages.size > 1
        # MMAP is the folio's: a page that nobody maps has it while another one is mapped.
        asked: list[tuple[str, int, Bools, Bools]] = [
            ("MMAP", MMAP, mapped, (pages.count > 0) | (every & ~mapped)),
            ("ANON", ANON, pages.anon, mapped),
            ("THP", THP, large, pages.anon | ~large),
        ]
        for name, bit, right, where in asked:
            at = np.flatnonzero(where)
            told = flags[at] >> bit & 1
            yield from self._pagewise(
                f"kpageflags {name}", "/proc/kpageflags", at, told, right[at].astype(np.int64)
            )

    def _pagemap(self) -> Iterator[Finding]:
        entries, pages = self.entries, self.pages
        once, file = pages.count[entries.at] == 1, ~pages.anon[entries.at]
        asked = [(EXCLUSIVE, once, ~pages.ksm[entries.at]), (FILE, file, np.ones_like(file))]
        by_pmd = np.zeros(len(once), dtype=bool)
        for area in self.areas[self.areas["huge"] == self.areas["rss"]]:
            by_pmd[entries.between(int(area["pid"]), int(area["start"]), int(area["end"]))] = True
        for bit, right, where in asked:
            some = np.flatnonzero(where)
            yield from self._pagewise(
                f"pagemap bit {bit}", "/proc/{pid}/pagemap", entries.at[some],
                entries.bits[some] >> bit & 1, right[some].astype(np.int64), entries.pid[some],
                by_pmd[some],
            )  # fmt: skip

    def _pagewise(
        self, value: str, file: str, at: Ints, told: Ints, right: Ints,
        pid: Ints | None = None, by_pmd: Bools | None = None,
    ) -> Iterator[Finding]:  # fmt: skip
        """One finding for each reader, whole mapping of a folio, or all other mappings of it, and
        pair of what is told and what is right.

        ``by_pmd``: smaps says that the process maps the page by a PMD.
        """
        pid = np.full(len(at), NOBODY) if pid is None else pid
        by_pmd = np.zeros(len(at), dtype=bool) if by_pmd is None else by_pmd
        life, whole = self.pages.life[at], self._whole(at, pid)
        keys = (right, told, whole, life, pid)
        wrong = np.flatnonzero(told != right)
        wrong = wrong[np.lexsort([key[wrong] for key in keys])]
        begin = np.flatnonzero(changes(*(key[wrong] for key in keys)))[: len(wrong)]
        end = np.append(begin[1:], len(wrong))
        # All that the same reader has of the same mapping of a folio lies together.
        together = np.lexsort((whole, life, pid))
        edges = np.flatnonzero(changes(*(key[together] for key in (pid, life, whole))))
        edges = np.append(edges[: len(together)], len(together))
        mapping = np.empty(len(at), dtype=np.int64)
        mapping[together] = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        for group in self.listed.first("published", value, life[wrong[begin]]):
            members = wrong[begin[group] : end[group]]
            one = members[0]
            folio = np.sort(together[edges[mapping[one]] : edges[mapping[one] + 1]])
            same = bool(whole[one] >= 0 and (told[folio] == told[one]).all())
            first = same and bool(told[one] == right[folio[0]])
            answer = "the answer of page 0" if first else "it"
            pages = tuple(np.unique(self.pages.page[at[members]]).tolist())
            counts = " or ".join(map(str, np.unique(self.pages.count[at[members]]).tolist()))
            yield self._finding(
                value, OF_FIRST if first else OF_FOLIO * same, int(at[one]), int(pid[one]),
                int(right[one]), int(told[one]),
                f"{file.format(pid=pid[one])}: {NAMES.get(value, value)} is {told[one]} for "
                f"{pages_text(pages)}{', mapped by a PMD' * bool(by_pmd[folio].all())}, whose map "
                f"count is {counts}, and must be {right[one]}"
                + f"; all {len(folio)} pages have {answer}" * same,
            )  # fmt: skip

    def _whole(self, at: Ints, pid: Ints) -> Ints:
        """By page, the number of the mapping of a whole large folio that it is told of by, -1: it
        is of none.  A process may map the folio of a file in other places as well."""
        page = self.pages.page[at]
        begins = changes(pid, self.pages.life[at])
        begins[1:] |= np.diff(page) != 1
        first = np.flatnonzero(begins)[: len(at)]
        length, size = np.diff(np.append(first, len(at))), self.pages.size[at[first]]
        whole = (page[first] == 0) & (size > 1) & (length == size)
        return np.where(np.repeat(whole, length), np.repeat(np.arange(len(first)), length), -1)

    def _is_whole(self, at: Ints) -> bool:
        """All pages of a large folio, in their order."""
        page, size = self.pages.page[at], int(self.pages.size[at[0]])
        return size > 1 and len(page) == size and bool((page == np.arange(size)).all())

    # -- mapping by mapping ------------------------------------------------------------

    def _area(self, area: dict[str, int]) -> Iterator[Finding]:
        """numa_maps and smaps of one mapping of a process."""
        at = self.entries.at[self.entries.between(area["pid"], area["start"], area["end"])]
        if len(at) == 0:
            return
        # Pages that are not known may be there, too: their counts can only add to it.
        everything = "smaps" in self.shot.files
        everything &= area["rss"] * 1024 == len(at) * self.page_size
        if "numa_maps" in self.shot.files:
            yield from self._mapmax(area, at, everything)
        if everything:
            yield from self._smaps(area, at)

    def _mapmax(self, area: dict[str, int], at: Ints, everything: bool) -> Iterator[Finding]:
        """The largest map count: one finding for each folio that has a larger one."""
        pages = self.pages
        # A mapmax of 1 is not printed.
        told = max(1, area["mapmax"])
        folios = np.split(at, np.flatnonzero(np.diff(pages.life[at])) + 1)
        # What is told if of a folio that is mapped whole the first page alone is counted.
        of_first = max(
            int(pages.count[mine][0] if self._is_whole(mine) else pages.count[mine].max())
            for mine in folios
        )
        shown = f"is {told}" if area["mapmax"] else "is left out, which means 1,"
        has = f"/proc/{area['pid']}/numa_maps: mapmax of the mapping at {area['start']:#x} {shown}"
        most = int(pages.count[at].max())
        for mine in folios:
            count = pages.count[mine]
            largest = int(count.max())
            if told < largest:
                first = told == of_first or (told > of_first and not everything)
                page = tuple(np.unique(pages.page[mine[count == largest]]).tolist())
                yield self._finding(
                    "numa_maps mapmax", OF_FIRST * first, int(mine[0]), area["pid"], largest,
                    told, f"{has} and must be {largest}, the map count of {pages_text(page)}"
                    + "; of the huge page only page 0 was counted" * first,
                )  # fmt: skip
        if everything and told > max(1, most):
            yield self._finding(
                "numa_maps mapmax", "", int(at[0]), area["pid"], most, told,
                f"{has} and must be {most}, the largest map count of its pages",
            )  # fmt: skip

    def _smaps(self, area: dict[str, int], at: Ints) -> Iterator[Finding]:
        """The sums that depend on the map counts, of a mapping whose pages are all known."""
        count, kib = self.pages.count[at], self.page_size >> 10
        pss = int(((self.page_size << PSS_SHIFT) // np.maximum(count, 1)).sum())
        right = {
            "Private": int((count < 2).sum()) * kib,
            "Shared": int((count >= 2).sum()) * kib,
            "Pss": pss >> PSS_SHIFT >> 10,
        }
        for name, value in right.items():
            told = area[name.lower()]
            if told != value:
                yield self._finding(
                    f"smaps {name}", "", int(at[0]), area["pid"], value, told,
                    f"/proc/{area['pid']}/smaps: {name} of the mapping at {area['start']:#x} is "
                    f"{told} kB and must be {value} kB by the map counts of its pages",
                )  # fmt: skip

    # -- both ------------------------------------------------------------------------

    def _finding(
        self, value: str, how: str, at: int, pid: int, right: int, told: int, words: str
    ) -> Finding:
        """A finding at the folio's last record before the snapshot."""
        log, life = self.part.log, int(self.pages.life[at])
        end = int(np.searchsorted(log.ts, self.shot.ts_begin, "right"))
        first = int(self.part.lives.first[life])
        row = int([first, *self.run.rows_until(life, end)[-1:]][-1])
        return Finding(
            rule="published",
            life=life,
            pfn=int(self.pages.pfn[at]),
            rows=(row,),
            actor=-1,
            words=plain(f"{words}; in {self.name} ({PROMISES[value]})"),
            doubt=self.doubt.reason_snapshot(
                int(self.part.since[life]), self.shot.ts_end, busy=False
            ),
            counter=value + how,
            expected=right,
            observed=told,
            pid=pid,
            seen=self.shot.ts_begin,
        )


def published(
    part: Part, run: Replay, doubt: Doubt, checked: Verification, listed: Listed
) -> Iterator[Finding]:
    """What /proc shows wrongly of folios whose counters were CHECKED and found right."""
    for number, lives in enumerate(checked.wrong_counters.values()):
        pages = known_pages(part, run, part.snapshots[number], lives)
        if len(pages.pfn):
            yield from Readers(part, run, doubt, number, pages, listed).findings()
