# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.configs: rows that can be built, each of its own, from the sources that have them."""

from collections import Counter

import pytest

from vm import chroot, configs, kbuild, kernels


def test_rows_have_names_of_their_own() -> None:
    # GIVEN every kernel of the lab THEN a name means one of them
    names = [
        *(kernel.name for kernel in kernels.LAB_KERNELS),
        *(kernel.name for kernel in kernels.BUILT_KERNELS),
        *(kernel.name for kernel in kernels.CONFIG_KERNELS),
    ]
    assert [name for name, times in Counter(names).items() if times > 1] == []


@pytest.mark.parametrize("config", configs.CONFIGS, ids=lambda config: config.name)
def test_row_is_built_from_each_of_its_sources(config: configs.Config) -> None:
    # GIVEN a configuration WHEN its kernels are made THEN there is one for each source that has it
    recipes = config.recipes()
    assert [recipe.name for recipe in recipes] == [f"{base}-{config.name}" for base in config.bases]
    for recipe in recipes:
        # AND `uname -r` tells them apart, and its options win over those of the files
        lines = recipe.fragment.splitlines()
        assert f'CONFIG_LOCALVERSION="-mapcount-{config.name}"' in lines
        assert set(config.options) <= set(lines)
        # AND it has what the recorder cannot do without, and the headers for BCC
        for option in ("BPF_SYSCALL", "KPROBES", "IKHEADERS", "TRANSPARENT_HUGEPAGE"):
            assert f"CONFIG_{option}=y" in lines


def test_images_are_not_shared_when_configurations_differ() -> None:
    # GIVEN all recipes WHEN they are built THEN no image is another's
    recipes = [recipe for config in configs.CONFIGS for recipe in config.recipes()]
    assert len({recipe.image for recipe in recipes}) == len(recipes)


def test_folders_are_shared_when_configurations_begin_alike() -> None:
    # GIVEN all kernels that are built, by the folder that each is built in
    begins: dict[str, set[tuple[object, ...]]] = {}
    names: dict[str, set[str]] = {}
    for kernel in (*kernels.BUILT_KERNELS, *kernels.CONFIG_KERNELS):
        if kernel.recipe is not None:
            begin = (kernel.recipe.configs, kernel.recipe.targets, kernel.recipe.virtme)
            begins.setdefault(kernel.recipe.folder, set()).add(begin)
            names.setdefault(kernel.recipe.folder, set()).add(kernel.name.partition("-")[2])
    # THEN those of one folder are of the same files, and begin with the same configuration
    assert [folder for folder, found in begins.items() if len(found) > 1] == []
    # AND what differs in single options from the lab's own kernel is built where that is
    assert names["guest"] == {
        *("mutants", "no-page-mapcount", "no-data-symbols", "no-btf", "no-kcore", "preempt")
    }
    assert names["tiny"] == {"tiny", "tiny-up"}


def test_tiny_has_none_of_what_it_is_about() -> None:
    # GIVEN the smallest configuration WHEN its options are read THEN the recorder gets no help
    (recipe,) = (each for each in _recipes("tiny") if each.name == "6.1-tiny")
    words = (
        "MEMCG",
        "NUMA",
        "SWAP",
        "KSM",
        "HUGETLB",
        "PROC_PAGE_MONITOR",
        "PROC_KCORE",
        "CGROUPS",
    )
    assert [word for word in words if f"CONFIG_{word}" in recipe.fragment] == []
    assert recipe.start == ""  # and what is not named is off


def test_kernels_for_real_time_are_debians_own() -> None:
    # GIVEN the -rt kernels WHEN resolved THEN they come from a root of their own, unbuilt
    kernel = kernels.resolve("6.12-rt")
    assert kernel.recipe is None
    assert {"linux-image-rt-amd64", "linux-headers-rt-amd64"} <= set(kernel.packages)
    assert "linux-image-amd64" not in kernel.packages
    assert chroot.path_of("trixie", kernel.packages) != chroot.path_of("trixie")


def _recipes(name: str) -> list[kbuild.Recipe]:
    return next(config for config in configs.CONFIGS if config.name == name).recipes()
