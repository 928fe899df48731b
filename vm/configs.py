# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels with other configurations: a row for each, with the reason to try the recorder on it.

A row is built from Debian's source of each suite in BASES that has its options, when it is needed
(`lab fetch NAME`, `lab matrix --configs`); Debian's own -rt images are used as they are.
Every built kernel contains its headers (IKHEADERS), for BCC.
"""

from __future__ import annotations

from dataclasses import dataclass

from vm.kbuild import Recipe


@dataclass(frozen=True)
class Base:
    """A source to build from; `needs`: its own options, which win over the files'."""

    name: str
    suite: str
    package: str
    needs: tuple[str, ...] = ()


BASES = (
    # Before 6.10 the kernel offers kprobes only where it also loads modules.
    Base("6.1", "bookworm", "linux-source-6.1", ("CONFIG_MODULES=y",)),
    Base("6.12", "trixie", "linux-source-6.12"),
    # x86 has the lazy preemption only, and the full one (since 7.0).
    Base("7.x", "forky", "linux-source-7.2", ("CONFIG_PREEMPT_VOLUNTARY=n",)),
)


@dataclass(frozen=True)
class Config:
    """One configuration: make's `targets`, fragments of vm/kconfig, and single options."""

    name: str
    why: str
    files: tuple[str, ...] = ("guest.config",)
    options: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("allnoconfig",)
    virtme: bool = False  # with the options of virtme-ng
    llvm: bool = False
    bases: tuple[str, ...] = tuple(base.name for base in BASES)

    def recipes(self) -> list[Recipe]:
        """How to build it from each of its bases."""
        return [self._recipe(base) for base in BASES if base.name in self.bases]

    def _recipe(self, base: Base) -> Recipe:
        return Recipe(
            f"{base.name}-{self.name}",
            base.suite,
            base.package,
            self.files,
            options=(*base.needs, *self.options, f'CONFIG_LOCALVERSION="-mapcount-{self.name}"'),
            targets=self.targets,
            virtme=self.virtme,
            llvm=self.llvm,
        )


CONFIGS = (
    Config(
        "tiny",
        "only kprobes, BPF, huge pages: no memcg, NUMA, swap, KSM, hugetlb, page monitor, kcore",
        ("tiny.config",),
    ),
    Config(
        "tiny-up",
        "the same, for machines with one CPU (!SMP)",
        ("tiny.config",),
        ("CONFIG_SMP=n",),
    ),
    Config(
        "defconfig",
        "what `make defconfig kvm_guest.config` gives, with kprobes and BPF",
        ("lab.config",),
        targets=("defconfig", "kvm_guest.config"),
    ),
    Config(
        "virtme",
        "what `vng --kconfig` makes of defconfig",
        ("lab.config",),
        targets=("defconfig",),
        virtme=True,
    ),
    Config(
        "debug-config",
        "kernel/configs/debug.config: KASAN, lockdep, DEBUG_VM, page poisoning",
        targets=("allnoconfig", "debug.config"),
    ),
    Config(
        "no-page-mapcount",
        "the pages of a large folio have no map counts of their own",
        options=("CONFIG_NO_PAGE_MAPCOUNT=y",),
        bases=("7.x",),
    ),
    Config("no-data-symbols", "no addresses of data", options=("CONFIG_KALLSYMS_ALL=n",)),
    Config("no-btf", "types from the headers alone", options=("CONFIG_DEBUG_INFO_BTF=n",)),
    Config("no-kcore", "no /proc/kcore to read memory from", options=("CONFIG_PROC_KCORE=n",)),
    Config(
        "preempt",
        "code of the kernel, and of a probe, is preempted anywhere",
        options=("CONFIG_PREEMPT_VOLUNTARY=n", "CONFIG_PREEMPT=y"),
    ),
    Config(
        "clang",
        "clang with LTO and kCFI: symbols that end in .llvm.NUMBER, bytes before each function",
        options=("CONFIG_LTO_CLANG_THIN=y", "CONFIG_CFI=y"),
        llvm=True,
        bases=("7.x",),
    ),
)
