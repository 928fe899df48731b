# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks the kernel's headers for its types, where the kernel carries no BTF.

BCC compiles the probes with these headers anyway.  A program that names the structs and
enums is compiled with them and loaded, though attached nowhere: clang describes its types
in the program's own BTF.  Where a function's arguments lie is read from its prototype.
"""

from __future__ import annotations

import os
import platform
import re
import tarfile
from typing import Dict, List, Optional

from probes.btf import Btf
from probes.errors import ProbeError
from probes.program import loaded

#: The types that are looked for, and the headers that declare them.
TYPES = {
    "struct page": "linux/mm_types.h",
    "struct folio": "linux/mm_types.h",
    "struct vm_area_struct": "linux/mm_types.h",
    "struct mm_struct": "linux/mm_types.h",
    "struct task_struct": "linux/sched.h",
    "struct file": "linux/fs.h",
    "struct files_struct": "linux/fdtable.h",
    "struct fdtable": "linux/fdtable.h",
    "enum pageflags": "linux/page-flags.h",
    "enum pagetype": "linux/page-flags.h",
    "enum compound_dtor_id": "linux/mm.h",
    "enum bpf_map_type": "uapi/linux/bpf.h",
}
#: These declare the functions; page-flags.h and mm.h do so, too.
PROTOTYPES = ("linux/huge_mm.h", "linux/rmap.h", "linux/migrate.h")
FILES = tuple(dict.fromkeys([*TYPES.values(), *PROTOTYPES]))
#: What a parameter without a name is called where it has a name.
UNNAMED = {
    "struct page *": "page",
    "struct folio *": "folio",
    "struct vm_area_struct *": "vma",
    "bool": "compound",
    "int": "flags",
}
KHEADERS = "/sys/kernel/kheaders.tar.xz"


def find_types() -> Btf:
    """The kernel's types: from its BTF, else from its headers.

    Raises ProbeError if there is neither.
    """
    try:
        return Btf()
    except ProbeError as no_btf:
        try:
            return HeaderTypes(read_headers())
        except ProbeError as no_headers:
            raise ProbeError(f"{no_btf}, or its headers: {no_headers}") from None


def folders() -> List[str]:
    """The folders of the running kernel's headers: Debian has two, and the last one has the
    generated headers."""
    given = os.environ.get("BCC_KERNEL_SOURCE")
    modules = f"/lib/modules/{platform.release()}"
    return [given] if given else [f"{modules}/source", f"{modules}/build"]


def read_headers() -> Dict[str, str]:
    """The text of FILES.  Raises ProbeError if none is found."""
    found = _in_folders() or _in_archive()
    if not found:
        raise ProbeError(
            f"no headers in {folders()[-1]}: apt install linux-headers-$(uname -r), or set "
            "BCC_KERNEL_SOURCE to a built kernel tree"
        )
    return found


def _in_folders() -> Dict[str, str]:
    found: Dict[str, str] = {}
    if not os.path.exists(os.path.join(folders()[-1], "include/generated/autoconf.h")):
        return found  # BCC cannot compile without it
    for folder in folders():
        for name in FILES:
            try:
                with open(os.path.join(folder, "include", name), errors="replace") as file:
                    found[name] = file.read()
            except OSError:
                continue
    return found


def _in_archive() -> Dict[str, str]:
    """The headers that a kernel may carry in itself (CONFIG_IKHEADERS)."""
    if not os.path.exists(KHEADERS):
        return {}
    found = {}
    with tarfile.open(KHEADERS, "r:xz") as archive:
        for member in archive:
            name = member.name.partition("include/")[2]
            content = archive.extractfile(member) if name in FILES else None
            if content is not None:
                found[name] = content.read().decode(errors="replace")
    return found


class HeaderTypes(Btf):
    """Types by the kernel's headers.  Raises ProbeError if they do not compile."""

    source = "headers"
    unknown_function = "no header declares its arguments"

    def __init__(self, headers: Dict[str, str]) -> None:
        self._text = "\n".join(headers.values())
        with loaded(program(headers)) as descriptor:
            super().__init__(descriptor)

    def enumerator(self, name: str) -> Optional[int]:
        """None: mm/internal.h, which may have it, is not among the installed headers."""
        return None

    def _read_parameters(self, function: str) -> Optional[List[str]]:
        return parameters(self._text, function)


def program(headers: Dict[str, str]) -> str:
    """A program in whose BTF are those of TYPES that the headers declare."""
    there = {
        name: file
        for name, file in TYPES.items()
        if re.search(rf"^{name} {{", headers.get(file, ""), re.MULTILINE)
    }
    includes = "\n".join(f"#include <{file}>" for file in dict.fromkeys(there.values()))
    # By value: of a struct that is only pointed to, clang may write down nothing but its name.
    members = "\n".join(f"\t{name} t{number};" for number, name in enumerate(there))
    return f"""\
{includes}
#if defined(CONFIG_RANDSTRUCT) || defined(CONFIG_GCC_PLUGIN_RANDSTRUCT)
#error "the kernel shuffles its structs (CONFIG_RANDSTRUCT): its headers do not tell how"
#endif
struct kernel_types {{
{members}
}};
BPF_ANNOTATE_KV_PAIR(kernel_types, u32, struct kernel_types);
int types(void *ctx) {{ return 0; }}
"""


def parameters(text: str, function: str) -> Optional[List[str]]:
    """Names of a function's parameters by its prototype, None if there is none.

    A prototype begins in the first column; a call in an inline function does not.
    """
    found = re.search(
        rf"^[a-z][\w\s*]*\b{re.escape(function)}\s*\(([^()]*)\)\s*;", text, re.MULTILINE
    )
    return [_name(part) for part in found.group(1).split(",")] if found else None


def _name(parameter: str) -> str:
    words = " ".join(parameter.replace("*", " * ").split()).replace("const ", "")
    return UNNAMED.get(words) or words.split()[-1]
