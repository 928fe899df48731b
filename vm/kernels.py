# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that the lab boots, and the meaning of the argument of --kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vm import ahead, arch, chroot, configs, guest, job, kbuild, mutants, own
from vm.say import LabError


@dataclass(frozen=True)
class LabKernel:
    """A kernel that the lab fetches itself: a Debian suite's own, or one built from its source."""

    name: str
    suite: str
    why: str
    recipe: kbuild.Recipe | None = None  # None: the suite's own
    packages: tuple[str, ...] = chroot.PACKAGES
    machine: arch.Arch = arch.GUEST
    page_kib: int = 4


# Names are for people's fingers and scripts, so they stay while the suite's kernel moves on: the
# kernel of Debian testing is whatever 7 it has now.
LAB_KERNELS = (
    LabKernel("5.10", "bullseye", "compound_mapcount and DoubleMap, before there were folios"),
    LabKernel("6.1", "bookworm", "page_* rmap functions, compound_mapcount and DoubleMap"),
    LabKernel("6.12", "trixie", "folio_* rmap functions, _entire_mapcount and _large_mapcount"),
    LabKernel("7.x", "forky", "per-mm map counts of folios, snapshots in the readers of /proc"),
    LabKernel("next", ahead.NEXT, "of backports or experimental, what is newer than testing's"),
)
# Kernels of another machine: emulated, so nobody gets one without asking for it by name.
ARM64_KERNELS = (
    LabKernel(
        "6.12-arm64",
        "trixie",
        "LSE atomics, contiguous PTEs, no order of loads",
        packages=chroot.ARM64_PACKAGES,
        machine=arch.ARM64,
    ),
    LabKernel(
        "6.12-arm64-16k",
        "trixie",
        "the same, with PMDs of 2048 pages",
        packages=chroot.ARM64_16K_PACKAGES,
        machine=arch.ARM64,
        page_kib=16,
    ),
    LabKernel(
        "7.x-arm64",
        "forky",
        "per-mm map counts; fork's inline functions are emitted",
        packages=chroot.ARM64_PACKAGES,
        machine=arch.ARM64,
    ),
)
# Of the root for a kernel of the lab's own.
_PACKAGES = {arch.GUEST: chroot.PACKAGES, arch.ARM64: chroot.ARM64_PACKAGES}
# What is built takes its time, so nobody gets one without asking for it by name.
BUILT_KERNELS = (
    LabKernel(
        "6.1-debug",
        "bookworm",
        "6.1 that checks its page flags (CONFIG_DEBUG_VM_PGFLAGS): it dies of the race of 2015",
        kbuild.Recipe(
            "6.1-debug", "bookworm", "linux-source-6.1", ("guest.config", "debug.config")
        ),
    ),
    *(
        LabKernel(
            base.name,
            base.suite,
            "with planted bugs: `mapcount lab mutants`",
            base.recipe,
            _PACKAGES[base.machine],
            base.machine,
        )
        for base in mutants.BASES.values()
    ),
)
# Kernels as others configure them, for `lab matrix --configs`.
CONFIG_KERNELS = (
    *(
        LabKernel(recipe.name, recipe.suite, config.why, recipe)
        for config in configs.CONFIGS
        for recipe in config.recipes()
    ),
    *(
        LabKernel(
            f"{base.name}-rt",
            base.suite,
            "Debian's PREEMPT_RT: locks sleep, interrupts are threads",
            packages=chroot.RT_PACKAGES,
        )
        for base in configs.BASES
    ),
)
EVERY = (*LAB_KERNELS, *ARM64_KERNELS, *BUILT_KERNELS, *CONFIG_KERNELS)
BY_NAME = {kernel.name: kernel for kernel in EVERY}
DEFAULT = "6.1"


@dataclass(frozen=True)
class Kernel:
    """What a guest boots: a kernel image over the root of a suite."""

    name: str
    suite: str
    image: Path | None = None  # None: the recipe's, or else the one of the suite's root
    headers: Path | None = None  # None: BCC finds them itself (packaged, or built in)
    recipe: kbuild.Recipe | None = None
    packages: tuple[str, ...] = chroot.PACKAGES  # of the root
    shares: tuple[guest.Share, ...] = ()  # its modules and packaged headers, if not the root's
    machine: arch.Arch = arch.GUEST
    page_kib: int = 4

    @property
    def folders(self) -> list[guest.Share]:
        """Its folders that the guest needs in addition to its root."""
        given = [guest.Share(job.HEADERS, self.headers)] if self.headers is not None else []
        return [*self.shares, *given]


def resolve(
    argument: str | None, headers: str | None = None, root_suite: str | None = None
) -> Kernel:
    """The kernel for `--kernel ARGUMENT --headers HEADERS --root-suite ROOT_SUITE`."""
    header_dir = _header_dir(headers) if headers else None
    if argument is None or argument in BY_NAME:
        lab = BY_NAME[argument or DEFAULT]
        suite = root_suite or lab.suite
        return Kernel(
            lab.name,
            suite,
            None,
            header_dir,
            lab.recipe,
            lab.packages,
            machine=lab.machine,
            page_kib=lab.page_kib,
        )
    path = Path(argument).expanduser().resolve()
    if path.is_dir():
        image = path / arch.GUEST.BUILT_IMAGE
        if not image.is_file():
            raise LabError(
                f"{path} is not a built kernel tree: run `make {arch.GUEST.TARGET}` in it first", 2
            )
        # A tree that was built has everything that BCC's compile needs.
        if header_dir is None and (path / "include/generated/autoconf.h").is_file():
            header_dir = path
        suite = root_suite or _suite_for(_checked(image))
        return Kernel(path.name, suite, image, header_dir)
    if path.is_file():
        image = _checked(own.unpack(path) if path.suffix == ".deb" else path)
        found = own.beside(image)
        name = path.name if image == path else arch.GUEST.release(image) or path.name
        suite = root_suite or _suite_for(image)
        return Kernel(name, suite, image, header_dir or found.headers, shares=found.shares)
    raise LabError(
        f"unknown kernel {argument!r}: give one of {', '.join(BY_NAME)}, a bzImage or vmlinuz, "
        "a linux-image .deb, or a built kernel tree",
        2,
    )


def image_of(kernel: Kernel, root: Path) -> Path:
    """The image file to boot, given the suite's ROOT; built now if it has to be."""
    if kernel.image is not None:
        return kernel.image
    if kernel.recipe is not None:
        return kbuild.ensure(kernel.recipe)
    images = sorted((root / "boot").glob("vmlinuz-*"))
    if not images:
        raise LabError(f"no kernel in {root}/boot: remove {root} and fetch it again")
    return images[-1]


def lacks(image: Path, option: str) -> bool:
    """Whether the lab built IMAGE with a configuration that lacks OPTION."""
    try:
        lines = image.with_name("config").read_text().splitlines()
    except OSError:  # not of ours
        return False
    return f"{option}=y" not in lines


def is_ready(kernel: LabKernel) -> bool:
    """Whether a run on KERNEL needs to fetch or build nothing."""
    built = kernel.recipe is None or kernel.recipe.image.exists()
    return built and chroot.find(kernel.suite, kernel.packages) is not None


def _suite_for(image: Path) -> str:
    """The first suite whose kernel is not older than IMAGE: an old BCC cannot read new headers."""
    version = tuple(map(int, re.findall(r"\d+", arch.GUEST.release(image) or "")))
    if not version:
        return BY_NAME[DEFAULT].suite
    suites = [kernel for kernel in LAB_KERNELS if kernel.suite != ahead.NEXT]
    for kernel in suites:
        known = tuple(map(int, re.findall(r"\d+", kernel.name)))  # of "7.x" the 7
        if version[: len(known)] <= known:
            return kernel.suite
    return suites[-1].suite


def _header_dir(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not (path / "include").is_dir():
        raise LabError(f"{path} has no include/: --headers takes a kernel's header directory", 2)
    return path


def _checked(image: Path) -> Path:
    """IMAGE, if it can be booted."""
    if not arch.GUEST.boots(image):
        kind = arch.GUEST.IMAGE_KIND
        raise LabError(f"{image} is no {kind}: a vmlinux file cannot be booted here", 2)
    return image
