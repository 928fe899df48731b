# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.kernels: what the argument of --kernel means."""

from pathlib import Path

import pytest

from vm import kbuild, kernels
from vm.say import LabError


def write_image(path: Path, magic: bytes = b"HdrS") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(0x202) + magic + bytes(100))
    return path


def test_kernel_is_the_suites_own_when_named_or_not_given() -> None:
    # GIVEN no argument, and the name of a lab kernel
    # WHEN both are resolved THEN the image is left to the suite's root
    for argument in (None, "6.1"):
        kernel = kernels.resolve(argument)
        assert (kernel.name, kernel.suite, kernel.image) == ("6.1", "bookworm", None)


@pytest.mark.parametrize(
    ("name", "suite"),
    [
        *(("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie"), ("7.x", "forky")),
        ("next", "next"),  # which suite that is, is asked when its root is built
    ],
)
def test_kernel_has_its_own_suites_root_when_named(name: str, suite: str) -> None:
    # GIVEN the names that users type WHEN resolved THEN each has the BCC of its own suite
    assert kernels.resolve(name).suite == suite


def test_kernel_is_built_when_its_name_has_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN the kernel of the 2015 thread
    kernel = kernels.resolve("6.1-debug")
    built: list[kbuild.Recipe] = []

    def ensure(recipe: kbuild.Recipe) -> Path:
        built.append(recipe)
        return Path("/cache/bzImage")

    monkeypatch.setattr(kbuild, "ensure", ensure)
    # WHEN its image is asked for
    image = kernels.image_of(kernel, Path("/root-of-the-suite"))
    # THEN it is what the recipe gives, on the root of the default suite, and it checks page flags
    assert (image, kernel.suite) == (Path("/cache/bzImage"), "bookworm")
    assert "CONFIG_DEBUG_VM_PGFLAGS=y" in built[0].fragment


def test_built_kernels_are_left_out_when_every_kernel_is_meant() -> None:
    # GIVEN the kernels that the matrix runs by default THEN none of them takes minutes to build,
    # or dies of a workload
    assert all(kernel.recipe is None for kernel in kernels.LAB_KERNELS)


def test_kernel_is_an_image_when_the_path_is_a_file(tmp_path: Path) -> None:
    # GIVEN a bzImage
    image = write_image(tmp_path / "bzImage")
    # WHEN it is resolved
    kernel = kernels.resolve(str(image))
    # THEN it boots on the default root, and BCC has to find its headers itself
    assert (kernel.image, kernel.suite, kernel.headers) == (image, "bookworm", None)


def test_kernel_brings_its_headers_when_the_path_is_a_built_tree(tmp_path: Path) -> None:
    # GIVEN a tree in which a kernel was built
    image = write_image(tmp_path / "arch/x86/boot/bzImage")
    config = tmp_path / "include/generated/autoconf.h"
    config.parent.mkdir(parents=True)
    config.touch()
    # WHEN it is resolved THEN image and headers are the tree's
    kernel = kernels.resolve(str(tmp_path))
    assert (kernel.image, kernel.headers) == (image, tmp_path)


def test_headers_are_the_users_when_given(tmp_path: Path) -> None:
    # GIVEN a bzImage and a header directory elsewhere
    image = write_image(tmp_path / "bzImage")
    (tmp_path / "headers/include").mkdir(parents=True)
    # WHEN both are given THEN both are used
    kernel = kernels.resolve(str(image), str(tmp_path / "headers"))
    assert kernel.headers == tmp_path / "headers"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vmlinux", "no x86 bzImage"),
        ("tree", "run `make bzImage`"),
        ("no-such-kernel", "unknown kernel"),
    ],
)
def test_resolving_is_a_usage_error_when_it_cannot_boot(
    tmp_path: Path, name: str, message: str
) -> None:
    # GIVEN an ELF file, a tree that was never built, and nothing at all
    write_image(tmp_path / "vmlinux", b"\x7fELF")
    (tmp_path / "tree").mkdir()
    # WHEN one is resolved THEN the error says what is wrong, with the status for usage
    with pytest.raises(LabError, match=message) as caught:
        kernels.resolve(str(tmp_path / name))
    assert caught.value.exit_code == 2


def test_headers_are_refused_when_they_are_none(tmp_path: Path) -> None:
    # GIVEN a directory without include/ WHEN it is given as headers THEN it is refused
    with pytest.raises(LabError, match="include"):
        kernels.resolve("6.1", str(tmp_path))


@pytest.mark.parametrize(
    ("config", "lacks"),
    [("CONFIG_BLOCK=y\n", False), ("# CONFIG_BLOCK is not set\n", True), (None, False)],
)
def test_kernel_lacks_an_option_when_it_was_built_without(
    tmp_path: Path, config: str | None, lacks: bool
) -> None:
    # GIVEN an image with the configuration that it was built with beside it, or none
    image = write_image(tmp_path / "bzImage")
    if config is not None:
        (tmp_path / "config").write_text(config)
    # WHEN it is asked THEN only what is known to be missing is
    assert kernels.lacks(image, "CONFIG_BLOCK") == lacks
