# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue: every operation on a map count, and the kernel functions that do it.

One row is one logical operation; its candidates are the functions that kernels have had
for it, newest first.  The first candidate that the running kernel has is attached.
Arguments are named as in the kernel's source; BTF, or the kernel's headers, say at which
position they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from probes.probe import Value, argument, constant, number


@dataclass(frozen=True)
class Candidate:
    """One kernel function, and the meaning of its parameters.

    page, pmd: the parameter that names the page, or the huge PMD that maps it.
    nr:        the parameter that counts pages, None for one page.
    level:     "pte", "pmd" or "pud"; "folio" where the folio's order decides; or
               "param:mask", a PMD mapping where the bits of that parameter are set.
    only:      a parameter that names the only folio on which the function acts.
    moves:     the parameters for the mapping that is moved, its old and new address; or the one
               structure (struct pagetable_move_control) that has them.
    known:     its first parameters, if it is static: then no header declares it.
    flags:     the parameter that has FOLL_PIN or FOLL_GET, if it may be either.
    beside:    a function without which this one does not do the whole operation.
    inlines:   a function of another row: this one is probed only if a copy of that function was
               inlined in it.
    """

    function: str
    page: str = ""
    pmd: str = ""
    nr: str = ""
    level: str = "pte"
    only: str = ""
    moves: Tuple[str, ...] = ()
    known: Tuple[str, ...] = ()
    flags: str = ""
    beside: str = ""
    inlines: str = ""


@dataclass(frozen=True)
class Hook:
    """One logical operation.

    kind:     the handler: "point", "folio" or "pmd" (entry and return), "read", "ask" (an
              entry, recorded only where nothing maps the page), "bracket", "once" (an entry without
              a page, in whatever task), "mm_free" (no record), "move" (a record at the return, of
              places alone), "pin" (entry and return, one record if it succeeded), "unpin" (an
              entry).
    delta:    the declared change of the map counts by this operation, if it is its own.
    where:    for delta: "enter", "return", or "doublemap": on enter, and only in the era
              of PG_double_map, where the PMD split changes the counters itself.
    lost:     what cannot be seen if no candidate can be attached.
    optional: kernels without this operation lack nothing.
    anybody:  record a bracket of every task, not only of the wanted ones.
    deferred: record a bracket only from the first watched page in it on.
    within:   the surrounding bracket, earlier in the catalogue: what reads or asks is recorded
              only inside it, and what else there is makes a deferred bracket be recorded.
    """

    op: str
    kind: str
    group: str
    candidates: Tuple[Candidate, ...]
    lost: str
    delta: int = 0
    where: str = "enter"
    optional: bool = False
    anybody: bool = False
    deferred: bool = False
    within: str = ""


C = Candidate

#: All that splits a PMD mapping goes through it, where the compiler left it a function.
_SPLIT_ANY_PMD = (C("__split_huge_pmd_locked", pmd="pmd", known=("vma", "pmd")),)

#: Functions of the kernels before the folio_*_rmap_* names serve PTE and PMD alike.
#: commit 4d8f7418e8ba ("mm/rmap: remove page_remove_rmap()") (in v6.8) is the last of the series
#: that names the level in the function.
_OLD_ADD_ANON = (
    # 5.10 has both, and page_add_anon_rmap() only calls the other, until
    # commit f1e2db12e45b ("mm/rmap: remove do_page_add_anon_rmap()") (in v5.19).
    C("do_page_add_anon_rmap", page="page", level="flags:2"),
    C("page_add_anon_rmap", page="page", level="flags:2"),
)
# compound is their second argument, and their third since commit cea86fe246b6 ("mm/munlock: rmap
# call mlock_vma_page() munlock_vma_page()") (in v5.18): hence asked for by its name.
_OLD_ADD_FILE = (
    # commit 86f35f69db8e ("rmap: add folio_add_file_rmap_range()") (in v6.6); the other only
    # calls it from then on.
    C("folio_add_file_rmap_range", page="page", nr="nr_pages", level="compound:0xff"),
    C("page_add_file_rmap", page="page", level="compound:0xff"),
)
_OLD_REMOVE = (C("page_remove_rmap", page="page", level="compound:0xff"),)

#: page_mapcount() of a large folio's page. Inline since commit cb67f4282bf9 ("mm,thp,rmap: simplify
#: compound page mapcount handling") (in v6.2).
_COUNT_OF_PAGE = "__page_mapcount"


def _asked_by(walker: str, lost: str) -> Tuple[Hook, ...]:
    """The rows of a reader that walks page tables, with their lock held."""
    return (
        Hook(
            "reader",
            "bracket",
            "readers",
            (C(walker, beside=_COUNT_OF_PAGE),),
            lost,
            optional=True,
            anybody=True,
            deferred=True,
        ),
        Hook(
            "ask",
            "ask",
            "readers",
            (C(_COUNT_OF_PAGE, page="page"),),
            lost,
            optional=True,
            within=walker,
        ),
    )


HOOKS: Tuple[Hook, ...] = (
    # mm/rmap.c: the reverse map, where nearly every map count changes.
    Hook(
        "map",
        "point",
        "rmap",
        (C("folio_add_anon_rmap_ptes", page="page", nr="nr_pages"), *_OLD_ADD_ANON),
        "anonymous pages mapped again (swap-in, migration, KSM)",
        delta=1,
    ),
    Hook(
        "map",
        "point",
        "rmap",
        (C("folio_add_anon_rmap_pmd", page="page", level="pmd"), *_OLD_ADD_ANON),
        "anonymous huge pages mapped again by a PMD",
        delta=1,
    ),
    Hook(
        "map",
        "point",
        "rmap",
        (
            # commit 4d510f3da4c2 ("mm: add folio_add_new_anon_rmap()") (in v6.3); the other
            # only calls it from then on.
            C("folio_add_new_anon_rmap", page="folio", level="folio"),
            C("page_add_new_anon_rmap", page="page", level="folio"),
        ),
        "the first mapping of new anonymous pages (faults, copy on write)",
        delta=1,
    ),
    Hook(
        "map",
        "point",
        "rmap",
        (C("folio_add_file_rmap_ptes", page="page", nr="nr_pages"), *_OLD_ADD_FILE),
        "file and shmem pages mapped",
        delta=1,
    ),
    Hook(
        "map",
        "point",
        "rmap",
        (C("folio_add_file_rmap_pmd", page="page", level="pmd"), *_OLD_ADD_FILE),
        "file and shmem huge pages mapped by a PMD",
        delta=1,
    ),
    Hook(
        "map",
        "point",
        "rmap",
        (C("folio_add_file_rmap_pud", page="page", level="pud"),),
        "device pages mapped by a PUD",
        delta=1,
        optional=True,
    ),
    Hook(
        "unmap",
        "point",
        "rmap",
        (C("folio_remove_rmap_ptes", page="page", nr="nr_pages"), *_OLD_REMOVE),
        "PTE mappings removed",
        delta=-1,
    ),
    Hook(
        "unmap",
        "point",
        "rmap",
        (C("folio_remove_rmap_pmd", page="page", level="pmd"), *_OLD_REMOVE),
        "PMD mappings removed",
        delta=-1,
    ),
    Hook(
        "unmap",
        "point",
        "rmap",
        (C("folio_remove_rmap_pud", page="page", level="pud"),),
        "PUD mappings of device pages removed",
        delta=-1,
        optional=True,
    ),
    # Its calls of the functions above are recorded, but not that it gives up, and what it writes
    # back into page tables then.
    Hook(
        "unmap_all",
        "point",
        "rmap",
        # commit 869f7ee6f647 ("mm/rmap: Convert try_to_unmap() to take a folio") (in v5.18)
        (C("try_to_unmap", page="folio"), C("try_to_unmap", page="page")),
        "reclaim and memory failure that give up, and restore page-table entries",
        optional=True,
    ),
    Hook(
        "map",
        "point",
        "rmap",
        (
            # commit 9d5fafd5d882 ("mm/rmap: rename hugepage_add* to hugetlb_add*") (in v6.8)
            C("hugetlb_add_anon_rmap", page="folio", level="pmd"),
            # They got a folio for a page at different times, under their old names.
            C("hugepage_add_anon_rmap", page="folio", level="pmd"),
            C("hugepage_add_anon_rmap", page="page", level="pmd"),
        ),
        "anonymous hugetlb pages mapped again",
        delta=1,
    ),
    Hook(
        "map",
        "point",
        "rmap",
        (
            C("hugetlb_add_new_anon_rmap", page="folio", level="pmd"),
            C("hugepage_add_new_anon_rmap", page="folio", level="pmd"),
            C("hugepage_add_new_anon_rmap", page="page", level="pmd"),
        ),
        "the first mapping of new hugetlb pages",
        delta=1,
    ),
    # Fork copies mappings through inline helpers; only their callers have symbols.
    Hook(
        "fork",
        "bracket",
        "dup",
        (C("copy_page_range"),),
        "where fork copies page tables",
        deferred=True,
    ),
    Hook(
        "dup",
        "pmd",
        "dup",
        (C("copy_huge_pmd", pmd="src_pmd"),),
        "PMD mappings copied by fork",
        delta=1,
        where="return",
        within="copy_page_range",
    ),
    Hook(
        "split_pmd",
        "pmd",
        "split",
        (
            *_SPLIT_ANY_PMD,
            C("__split_huge_pmd", pmd="pmd", only="folio"),
            C("__split_huge_pmd", pmd="pmd", only="page"),
            C("__split_huge_pmd", pmd="pmd"),
        ),
        "PMD mappings replaced by PTE mappings",
        delta=-1,
        where="doublemap",
    ),
    # commit 29e847d2ade3 ("mm/rmap: integrate PMD-mapped folio splitting into pagewalk loop")
    # (in v6.11).  Where a compiler left the call to it in __split_huge_pmd(), both tell of the same
    # split, one inside the other; since there are folios, neither declares a change of its own.
    Hook(
        "split_pmd",
        "pmd",
        "split",
        (
            *_SPLIT_ANY_PMD,
            C("split_huge_pmd_locked", pmd="pmd", only="folio"),
            C("split_huge_pmd_locked", pmd="pmd"),
        ),
        "PMD mappings replaced by PTE mappings in reclaim",
        optional=True,
    ),
    Hook(
        "split_folio",
        "folio",
        "split",
        (
            # commit 58729c04cf10 ("mm/huge_memory: add buddy allocator like (non-uniform)
            # folio_split()") (in v6.15): every folio split goes through it.
            C("__folio_split", page="folio", known=("folio",)),
            # commit c010d47f107f ("mm: thp: split huge page to any lower order pages") (in v6.9)
            C("split_huge_page_to_list_to_order", page="page"),
            C("split_huge_page_to_list", page="page"),
        ),
        "splits of folios into smaller ones",
    ),
    Hook(
        "deferred_split",
        "point",
        "split",
        (
            # commit f158ed6195ef ("mm: convert deferred_split_huge_page() to
            # deferred_split_folio()") (in v6.3)
            C("deferred_split_folio", page="folio"),
            C("deferred_split_huge_page", page="page"),
        ),
        "partially mapped folios queued for splitting",
    ),
    Hook(
        "collapse",
        "bracket",
        "collapse",
        (C("collapse_huge_page"),),
        "which operations belong to a collapse of anonymous memory",
    ),
    Hook(
        "collapse",
        "bracket",
        "collapse",
        (C("collapse_file"),),
        "which operations belong to a collapse of a file's pages",
    ),
    Hook(
        "migrate",
        "point",
        "migrate",
        # commit 19138349ed59 ("mm/migrate: Add folio_migrate_flags()") (in v5.16)
        (C("folio_migrate_flags", page="folio"), C("migrate_page_states", page="page")),
        "which operations belong to a migration",
    ),
    # mm/mremap.c: page-table entries are moved, and no map count changes.
    Hook(
        "moved",
        "move",
        "where",
        (
            C("move_page_tables", moves=("pmc",)),
            C("move_page_tables", moves=("vma", "old_addr", "new_addr")),
        ),
        "where mremap moves mappings to",
    ),
    # Readers that look at a page without holding a reference (fs/proc/page.c).
    Hook(
        "reader",
        "bracket",
        "readers",
        (C("kpageflags_read"),),
        "reads of /proc/kpageflags",
        anybody=True,
    ),
    Hook(
        "reader",
        "bracket",
        "readers",
        (C("kpagecount_read"),),
        "reads of /proc/kpagecount",
        anybody=True,
    ),
    Hook(
        "read",
        "read",
        "readers",
        (C("stable_page_flags", page="page"),),
        "readers of /proc/kpageflags, page by page",
    ),
    Hook(
        "read",
        "read",
        "readers",
        (
            C("get_kpage_count", page="page", known=("page",)),
            C(_COUNT_OF_PAGE, page="page"),
        ),
        "readers of /proc/kpagecount, page by page",
        # Zapping calls __page_mapcount() too, with a reference in its hand.
        within="kpagecount_read",
    ),
    Hook(
        "read",
        "read",
        "readers",
        (C("snapshot_page", page="page"),),
        "copies of pages that readers take",
        optional=True,
    ),
    # fs/proc/task_mmu.c: readers that walk page tables, and ask for the map counts of what the
    # entries lead to. Later kernels ask inline.
    *_asked_by("smaps_pte_range", "what smaps asks about"),
    *_asked_by("pagemap_pmd_range", "what pagemap asks about"),
    # kernel/panic.c: the last records of a kernel that dies; `mapcount recover` finds them.
    Hook(
        "oops",
        "once",
        "crash",
        (C("oops_enter"),),
        "the time of an oops",
    ),
    Hook(
        "oops",
        "once",
        "crash",
        (C("panic"),),
        "the time of a panic",
    ),
    # mm/gup.c: references that get_user_pages() and pin_user_pages() take, and pins that go.
    # What FOLL_GET took goes by put_page(), which is inlined everywhere.
    Hook(
        "pin",
        "pin",
        "pins",
        (
            # commit f442fa614137 ("mm: gup: stop abusing try_grab_folio") (in v6.10)
            C("try_grab_folio", page="folio", nr="refs", flags="flags"),
            C("try_grab_page", page="page", flags="flags"),
        ),
        "pins taken with the page-table lock held",
    ),
    Hook(
        "pin",
        "pin",
        "pins",
        (
            # The same commit: before it, one function of that name was for this alone.
            C("try_grab_folio_fast", page="page", nr="refs", flags="flags"),
            C("try_grab_folio", page="page", nr="refs", flags="flags"),
            C("try_grab_compound_head", page="page", nr="refs", flags="flags"),
        ),
        "pins taken without a lock (pin_user_pages_fast())",
    ),
    Hook(
        "pin",
        "pin",
        "pins",
        # commit 1101fb8f89e5 ("mm: Provide a function to get an additional pin on a page")
        # (in v6.5)
        (C("folio_add_pin", page="folio"),),
        "pins added to pinned folios",
        optional=True,
    ),
    Hook(
        "pin",
        "pin",
        "pins",
        (C("folio_add_pins", page="folio", nr="pins", inlines="try_grab_folio"),),
        "pins added to pinned folios, several at once",
        optional=True,
    ),
    # mm/rmap.c, mm/migrate.c: a migration gives up on a folio that is held, as soon as its mappings
    # are to go (a pinned page that is exclusive to a process keeps them), or else with EAGAIN.
    Hook(
        "unmap_to_move",
        "folio",
        "pins",
        # commit a98a2f0c8ce1 ("mm/rmap: split migration into its own function") (in v5.14)
        (C("try_to_migrate", page="folio"), C("try_to_migrate", page="page")),
        "migrations that give up on a folio that stays mapped",
        optional=True,
    ),
    Hook(
        "move",
        "folio",
        "pins",
        (
            # commit e7e3ffeb274f ("mm/migrate: convert move_to_new_page() into
            # move_to_new_folio()") (in v6.0)
            C("move_to_new_folio", page="src", known=("dst", "src")),
            C("move_to_new_page", page="page", known=("newpage", "page")),
        ),
        "migrations that give up",
    ),
    Hook(
        "unpin",
        "unpin",
        "pins",
        (
            # commit d8ddc099c6b3 ("mm/gup: Add gup_put_folio()") (in v5.18)
            C("gup_put_folio", page="folio", nr="refs", flags="flags"),
            # Of the series of commit 458a4f788f86 ("mm/gup: add a range variant of
            # unpin_user_pages_dirty_lock()") (in v5.13): since then all pins go here.
            C(
                "put_compound_head",
                page="page",
                nr="refs",
                flags="flags",
                beside="unpin_user_page_range_dirty_lock",
            ),
            C("unpin_user_page", page="page"),
        ),
        "pins dropped",
    ),
    *(
        Hook("unpin", "unpin", "pins", (candidate,), "pins dropped", optional=True)
        for candidate in (
            C("unpin_user_page", page="page", inlines="gup_put_folio"),
            C("unpin_folio", page="folio", inlines="gup_put_folio"),
            C("unpin_user_folio", page="folio", nr="npages", inlines="gup_put_folio"),
        )
    ),
    # kernel/fork.c: an address space ends; what is followed is told by its address.
    Hook(
        "task_exit",
        "mm_free",
        "life",
        (C("__mmdrop"),),
        "the end of address spaces: a later one may be taken for a traced one",
    ),
)


#: It pins many folios, of memory files alone: where try_grab_folio() is inlined in it, no probe
#: can tell which.  commit 89c1905d9c14 ("mm/gup: introduce memfd_pin_folios() for pinning memfd
#: folios") (in v6.11)
MEMFD = C("memfd_pin_folios", inlines="try_grab_folio")


@dataclass(frozen=True)
class Tracepoint:
    """A kernel tracepoint, and the handler for its raw arguments."""

    name: str
    op: str
    handler: str
    values: Tuple[Value, ...]
    lost: str


#: kmem:mm_page_free fires before any teardown, kmem:mm_page_alloc after the folio is whole.
TRACEPOINTS: Tuple[Tracepoint, ...] = (
    Tracepoint(
        "mm_page_alloc",
        "alloc",
        "on_alloc",
        (argument(0), argument(1), argument(3)),
        "allocations of folios",
    ),
    Tracepoint(
        "mm_page_free",
        "free",
        "on_free",
        (argument(0), argument(1)),
        "frees of folios",
    ),
    Tracepoint(
        "task_newtask",
        "task_new",
        "on_task",
        (constant("TASK_NEW"), argument(0), number(0)),
        "new tasks: their names, and which are children of the traced command",
    ),
    Tracepoint(
        "task_rename",
        "task_rename",
        "on_task",
        (constant("TASK_RENAME"), argument(0), argument(1)),
        "new names of tasks",
    ),
    Tracepoint(
        "sched_process_exit",
        "task_exit",
        "on_task",
        (constant("TASK_EXIT"), argument(0), number(0)),
        "exits of tasks",
    ),
)


@dataclass(frozen=True)
class Copy:
    """A static inline function through which fork copies PTE mappings.

    A kernel has a symbol of it only if the compiler made a function of it; then its calls are
    probed.  A probe inside is refused by most kernels: what is declared inline is notrace.

    page:  the position of the argument for the first page.
    nr:    that of the number of pages; None: one page.
    fails: it has a result, and if that is not 0 nothing was copied (the page may be pinned).
    """

    function: str
    page: int
    nr: Optional[int]
    fails: bool


LOST_COPIES = "PTE mappings copied by fork"
#: gcc made a function of the first in Debian's 7.3, and in its 7.2 for arm64.
INLINE_COPIES = (
    Copy("folio_try_dup_anon_rmap_ptes", 1, 2, True),
    Copy("folio_try_dup_anon_rmap_pte", 1, None, True),
    Copy("__folio_try_dup_anon_rmap", 1, 2, True),
    Copy("folio_dup_file_rmap_ptes", 1, 2, False),
    Copy("folio_dup_file_rmap_pte", 1, None, False),
    Copy("__folio_dup_file_rmap", 1, 2, False),
    # What 6.8 replaced by those.
    Copy("page_try_dup_anon_rmap", 0, None, True),
    Copy("page_dup_file_rmap", 0, None, False),
    Copy("__page_dup_rmap", 0, None, False),
    Copy("page_dup_rmap", 0, None, False),
)
#: Where fork copies mappings.  What of them cannot be seen leaves only the brackets, all of them.
COPIES = (
    *("copy_page_range", "copy_huge_pmd", "copy_hugetlb_page_range"),
    *("hugetlb_add_file_rmap", "hugetlb_try_dup_anon_rmap"),
    *(copy.function for copy in INLINE_COPIES),
)

#: Workloads name moments by writing to trace_marker.  Its own write function lies in code
#: that may not be probed, so every write is looked at: is the file's f_op the marker's?
MARK_FUNCTION, MARK_OPS = "vfs_write", "tracing_mark_fops"


@dataclass(frozen=True)
class Site:
    """A counter update that the compiler inlined: probed at its instruction.

    field:    the layout field that the ``lock incl`` or ``lock decl`` addresses.
    hugetlb:  the update is of a hugetlb folio; for others the instruction has another meaning.
    optional: in some kernels the update is in another of these functions.
    instead:  a function that makes these updates if the kernel has it.
    inline:   one that is inline in the source; where the compiler made a function of it, its calls
              are probed.  The folio is its first argument, and it does not refuse.
    within:   the surrounding bracket, if it is not the function's own.
    """

    op: str
    function: str
    field: str
    level: str
    delta: int
    lost: str
    hugetlb: bool = False
    optional: bool = False
    instead: str = ""
    inline: str = ""
    within: str = ""


def _hugetlb(
    op: str, delta: int, inline: str, *functions: str, instead: str = ""
) -> Tuple[Site, ...]:
    lost = "hugetlb mappings changed inline"
    return tuple(
        Site(op, f, "entire", "pmd", delta, lost, True, True, instead, inline) for f in functions
    )


LOST_HUGETLB_COPIES = "hugetlb mappings copied by fork"
#: A copy that may be refused, as that of a page which may be pinned: inline in the source as well.
HUGETLB_REFUSING = "hugetlb_try_dup_anon_rmap"
SITES: Tuple[Site, ...] = (
    Site("dup", "copy_page_range", "mapcount", "pte", 1, LOST_COPIES),
    Site(
        "dup",
        "copy_hugetlb_page_range",
        "entire",
        "pmd",
        1,
        LOST_HUGETLB_COPIES,
        hugetlb=True,
        inline="hugetlb_add_file_rmap",
        within="copy_page_range",
    ),
    # A shared hugetlb page is mapped: page_dup_file_rmap(), and hugetlb_add_file_rmap() since
    # commit 44887f399455 ("mm/rmap: introduce and use hugetlb_add_file_rmap()") (in v6.8).
    *_hugetlb(
        "map",
        1,
        "hugetlb_add_file_rmap",
        "hugetlb_no_page",
        "hugetlb_fault",
        "hugetlb_mcopy_atomic_pte",
        "hugetlb_mfill_atomic_pte",
        "remove_migration_pte",
    ),
    # page_remove_rmap() was called until commit e135826b2da0 ("mm/rmap: introduce and use
    # hugetlb_remove_rmap()") (in v6.8).
    *_hugetlb(
        "unmap",
        -1,
        "hugetlb_remove_rmap",
        "__unmap_hugepage_range",
        "hugetlb_wp",
        "try_to_unmap_one",
        "try_to_migrate_one",
        instead="page_remove_rmap",
    ),
)
