# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's headers tell of its functions, where it carries no BTF."""

import pytest

from probes.errors import ProbeError
from probes.headers import FILES, parameters, program, read_headers

OLD = """\
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
void __split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmd,
		unsigned long address, bool freeze, struct folio *folio);
#else
static inline void __split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmd,
		unsigned long address, bool freeze, struct folio *folio) {}
#endif
void do_page_add_anon_rmap(struct page *, struct vm_area_struct *,
		unsigned long, int);
void page_remove_rmap(struct page *, bool);
static inline void use(struct page *page)
{
	unmap_it(page, true);
}
int
copy_page_range(struct vm_area_struct *dst_vma, struct vm_area_struct *src_vma);
extern void migrate_page_states(struct page *newpage, struct page *page);
u64 stable_page_flags(const struct page *page);
void of_nothing(const struct page *, int nr_pages);
"""


@pytest.mark.parametrize(
    "function, names",
    [
        ("__split_huge_pmd", ["vma", "pmd", "address", "freeze", "folio"]),
        ("do_page_add_anon_rmap", ["page", "vma", "long", "flags"]),
        ("page_remove_rmap", ["page", "compound"]),
        ("copy_page_range", ["dst_vma", "src_vma"]),
        ("migrate_page_states", ["newpage", "page"]),
        ("stable_page_flags", ["page"]),
        ("of_nothing", ["page", "nr_pages"]),
        # Called, or defined, but not declared.
        ("unmap_it", None),
        ("use", None),
        # A name within another.
        ("page_range", None),
    ],
)
def test_parameters_when_a_header_is_read(function, names):
    # GIVEN prototypes in the styles of the kernel's headers THEN each parameter has its name
    assert parameters(OLD, function) == names


def test_program_when_the_headers_lack_a_type():
    # GIVEN headers with two of the types, one of them only used
    headers = {
        "linux/mm_types.h": "struct page {\n\tint a;\n};\nstruct folio *f;\n",
        "linux/mm.h": "enum compound_dtor_id {\n\tNULL_COMPOUND_DTOR,\n};\n",
    }
    text = program(headers)
    # THEN the program has those that are declared, and includes no more than it must
    assert "\tstruct page t0;\n\tenum compound_dtor_id t1;\n}" in text
    assert [line for line in text.splitlines() if line.startswith("#include")] == [
        *("#include <linux/mm_types.h>", "#include <linux/mm.h>"),
    ]


def test_headers_when_there_are_none(monkeypatch, tmp_path):
    # GIVEN a place without headers
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    monkeypatch.setattr("probes.headers.KHEADERS", str(tmp_path / "none"))
    # WHEN they are looked for THEN one line says what to install
    with pytest.raises(ProbeError, match="apt install linux-headers"):
        read_headers()


def test_headers_when_a_kernel_tree_is_given(monkeypatch, tmp_path):
    # GIVEN a tree with one of the headers
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    (tmp_path / "include/linux").mkdir(parents=True)
    (tmp_path / "include" / FILES[0]).write_text("struct page {\n")
    # WHEN it was not built THEN it is of no use
    with pytest.raises(ProbeError, match="no headers"):
        read_headers()
    # WHEN it was THEN that header is read
    (tmp_path / "include/generated").mkdir()
    (tmp_path / "include/generated/autoconf.h").touch()
    assert read_headers() == {FILES[0]: "struct page {\n"}
