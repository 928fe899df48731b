# SPDX-License-Identifier: GPL-2.0-or-later
"""The layout by what the kernel's types have, and whether it counts single pages."""

import gzip

import pytest

import probes.layout
from probes import kconfig
from probes.errors import ProbeError
from probes.layout import find_layout
from probes.x86_64 import VMEMMAP

OFFSETS = {
    "page": {
        **{"flags": 0, "compound_info": 8, "mapping": 24, "_mapcount": 48, "_refcount": 52},
    },
    "folio": {
        **{"_flags_1": 64, "_large_mapcount": 80, "_nr_pages_mapped": 84, "_entire_mapcount": 88},
        **{"_mm_id_mapcount": 96, "_mm_id": 104},
    },
    "vm_area_struct": {"vm_mm": 16},
    "task_struct": {"pid": 1, "tgid": 2, "comm": 3, "mm": 4, "tasks": 5},
    "file": {"f_op": 40},
}
ENUMS = {"pageflags": {"PG_head": 6}, "pagetype": {"PGTY_hugetlb": 0xF4}}


class FakeTypes:
    source = "btf"

    def __init__(self, without=()):
        self.without = without

    def size(self, struct):
        return 64 if struct in OFFSETS else None

    def offset(self, struct, field):
        return None if field in self.without else OFFSETS.get(struct, {}).get(field)

    def enumerators(self, enum):
        return {k: v for k, v in ENUMS.get(enum, {}).items() if k not in self.without}

    def enumerator(self, name):
        return {"FOLL_GET": 2, "FOLL_PIN": 0x80000}.get(name)


class FakeSymbols:
    address = {"vmemmap_base": 0x1000}


class FakeKcore:
    def u64(self, address):
        return 0xFFFFEA0000000000


def layout_without(*fields):
    return find_layout(FakeTypes(fields), FakeSymbols(), FakeKcore())


@pytest.mark.parametrize("field", ["_mapcount", "_refcount", "mapping", "vm_mm", "f_op", "PG_head"])
def test_layout_when_a_field_is_unknown(field):
    # GIVEN types that lack one field THEN the error names it
    with pytest.raises(ProbeError, match=field):
        layout_without(field)


class Nowhere:
    address: dict[str, int] = {}


@pytest.mark.parametrize("held", [VMEMMAP[:1], VMEMMAP[1:], VMEMMAP], ids=["L5", "L4", "KASAN"])
def test_vmemmap_when_the_kernel_places_nothing_at_random(held):
    # GIVEN a kernel without vmemmap_base, whose struct pages are where the architecture has them,
    # with page tables of five levels or four; with five, KASAN may have the other place
    class Holds:
        def u64(self, address):
            if address not in held:
                raise ProbeError("does not hold")
            return 0

    # THEN they are found
    assert find_layout(FakeTypes(), Nowhere(), Holds()).vmemmap == held[0]


def test_vmemmap_when_it_is_nowhere():
    # GIVEN a kernel without vmemmap_base that has nothing there THEN the error says what is known
    class Empty:
        def u64(self, address):
            raise ProbeError("does not hold")

    with pytest.raises(ProbeError, match="boot with nokaslr"):
        find_layout(FakeTypes(), Nowhere(), Empty())


def test_layout_when_the_kernel_is_built_without_hugetlb(monkeypatch):
    # GIVEN the destructors of a kernel of the era that had them, without that of hugetlb
    monkeypatch.setitem(ENUMS, "compound_dtor_id", {"COMPOUND_PAGE_DTOR": 1})
    # THEN no folio is of hugetlb, and all else is known
    layout = layout_without("PGTY_hugetlb")
    assert (layout.bits["hugetlb_dtor"], layout.bits["hugetlb_type"]) == (None, None)
    # AND where neither word is known, nothing is guessed
    monkeypatch.delitem(ENUMS, "compound_dtor_id")
    with pytest.raises(ProbeError, match="HUGETLB_PAGE_DTOR nor PGTY_hugetlb"):
        layout_without("PGTY_hugetlb")


@pytest.mark.parametrize("lacking", [None, "files", "fdt", "fd"])
def test_way_to_open_files_is_known_when_the_types_tell_all_of_it(monkeypatch, lacking):
    # GIVEN types of a task's open files, of which one may be unknown
    way = {"task_struct": "files", "files_struct": "fdt", "fdtable": "fd"}
    for number, (struct, field) in enumerate(way.items()):
        monkeypatch.setitem(OFFSETS, struct, {**OFFSETS.get(struct, {}), field: 100 + number})
    # THEN it is there whole or not at all
    task = layout_without(*[lacking] if lacking else []).task
    expected = {} if lacking else {"files": 100, "fdt": 101, "fd": 102}
    assert {name: task[name] for name in way.values() if name in task} == expected


def test_layout_when_no_whole_folio_count_is_known():
    # GIVEN types with neither name of the whole-folio count THEN the error names both
    with pytest.raises(ProbeError, match="_entire_mapcount nor page.compound_mapcount"):
        layout_without("_entire_mapcount")


@pytest.mark.parametrize(
    "built, tried, counters",
    [
        # The kernel's configuration decides; only where it is unknown a huge page is tried.
        (False, None, ["mapcount", "entire_mapcount", "nr_pages_mapped", "large_mapcount"]),
        (True, True, ["entire_mapcount", "large_mapcount"]),
        (None, True, ["mapcount", "entire_mapcount", "nr_pages_mapped", "large_mapcount"]),
        (None, False, ["entire_mapcount", "large_mapcount"]),
        (None, None, ["entire_mapcount", "large_mapcount"]),
    ],
)
def test_counters_when_single_pages_may_not_be_counted(monkeypatch, built, tried, counters):
    # GIVEN a kernel of the era that has CONFIG_NO_PAGE_MAPCOUNT
    monkeypatch.setattr(probes.layout, "built_with", lambda option: built)
    monkeypatch.setattr(probes.layout, "counts_pages", lambda *_: tried)
    # THEN its counters are those that mean something
    assert layout_without().counters == counters


def test_counters_when_the_era_has_no_choice(monkeypatch):
    # GIVEN a kernel before the per-mm ids, of which no configuration is found
    monkeypatch.setattr(probes.layout, "built_with", lambda option: None)
    monkeypatch.setattr(probes.layout, "counts_pages", lambda *_: None)
    # THEN it counts each page
    assert "mapcount" in layout_without("_mm_id", "_mm_id_mapcount").counters


@pytest.mark.parametrize(
    "text, found",
    [
        ("CONFIG_NO_PAGE_MAPCOUNT=y\n", True),
        ("# CONFIG_NO_PAGE_MAPCOUNT is not set\n", False),
        ("CONFIG_MM_ID=y\n", False),
    ],
)
@pytest.mark.parametrize("name", ["config.gz", "config-1"])
def test_configuration_when_read(monkeypatch, tmp_path, name, text, found):
    # GIVEN a kernel's configuration, packed or not, behind a place that is not there
    path = tmp_path / name
    (gzip.open if name.endswith("gz") else open)(path, "wt").write(text)
    monkeypatch.setattr(kconfig, "places", lambda: [str(tmp_path / "none"), str(path)])
    # THEN it tells
    assert kconfig.built_with("CONFIG_NO_PAGE_MAPCOUNT") is found


def test_configuration_when_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(kconfig, "places", lambda: [str(tmp_path / "none")])
    assert kconfig.built_with("CONFIG_NO_PAGE_MAPCOUNT") is None
