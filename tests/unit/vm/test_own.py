# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.own: the modules and headers of a kernel that did not come from the lab."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from vm import arch, guest, kernels, own
from vm.say import LabError

RELEASE = "7.3.4+deb13-amd64"
needs_dpkg = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="dpkg-deb is missing: apt-get install dpkg"
)


def write_image(path: Path, release: str = RELEASE) -> Path:
    """A file with as much of a bzImage as tells its release."""
    header = bytearray(0x300)
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x20E, 0x80)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(header[:0x280]) + f"{release} (debian@lists) #1 SMP\0".encode())
    return path


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_release_is_the_images_own_when_it_has_one(tmp_path: Path) -> None:
    # GIVEN an image with a release, and one that has none WHEN read THEN it is what the header says
    assert arch.GUEST.release(write_image(tmp_path / "bzImage")) == RELEASE
    (tmp_path / "short").write_bytes(bytes(0x210))
    assert arch.GUEST.release(tmp_path / "short") is None


SPLIT = ("linux-headers-7", "linux-headers-common")
ABSOLUTE = tuple(f"/usr/src/{name}" for name in SPLIT)
RELATIVE = tuple(f"../../../src/{name}" for name in SPLIT)


@pytest.mark.parametrize(
    ("image", "place", "targets"),
    [
        ("boot/vmlinuz-7", "lib/modules", ABSOLUTE),  # Debian 12
        (f"usr/lib/modules/{RELEASE}/vmlinuz", "usr/lib/modules", RELATIVE),  # Debian 14
        ("boot/vmlinuz-7", "usr/lib/modules", RELATIVE),
        ("vmlinuz", "lib/modules", ABSOLUTE),
    ],
)
def test_guest_sees_modules_and_headers_at_their_places_when_they_lie_beside(
    tmp_path: Path, image: str, place: str, targets: tuple[str, ...]
) -> None:
    # GIVEN an image beside or among its modules, and headers in two folders as Debian splits them
    modules = tmp_path / place / RELEASE
    link(modules / "build", targets[0])
    link(modules / "source", targets[1])
    source = tmp_path / "usr/src"
    for name in SPLIT:
        (source / name).mkdir(parents=True)
    # WHEN it is looked at THEN the guest gets each where the links expect it
    assert own.beside(write_image(tmp_path / image)) == own.Beside(
        (
            guest.Share(f"/lib/modules/{RELEASE}", modules),
            guest.Share("/usr/src/linux-headers-7", source / "linux-headers-7"),
            guest.Share("/usr/src/linux-headers-common", source / "linux-headers-common"),
        )
    )


def test_headers_are_the_trees_when_make_installed_the_modules(tmp_path: Path) -> None:
    # GIVEN modules that `make modules_install` put beside the image, and the tree they came from
    tree = tmp_path / "linux"
    (tree / "include/generated").mkdir(parents=True)
    (tree / "include/generated/autoconf.h").touch()
    root = tmp_path / "installed"
    for name in ("build", "source"):
        link(root / "lib/modules" / RELEASE / name, str(tree))
    # WHEN the image is looked at THEN BCC gets that tree
    found = own.beside(write_image(root / "vmlinuz"))
    assert found.headers == tree
    assert [share.guest for share in found.shares] == [f"/lib/modules/{RELEASE}"]


@pytest.mark.parametrize(
    ("version", "suite"),
    [
        *(("4.19.1", "bullseye"), ("5.10.0", "bullseye"), ("5.15.2", "bookworm")),
        *(("6.1.9-own", "bookworm"), ("6.6.0-rc1", "trixie"), ("6.12.3", "trixie")),
        *(("6.18.1", "forky"), ("7.3.4", "forky"), ("8.0.0", "forky")),
    ],
)
def test_suite_has_a_bcc_for_the_kernel_when_none_is_named(
    tmp_path: Path, version: str, suite: str
) -> None:
    # GIVEN an image of some version WHEN it is given as a kernel
    image = str(write_image(tmp_path / "bzImage", version))
    # THEN it runs on the first suite that is not older, or on the one that the user names
    assert kernels.resolve(image).suite == suite
    assert kernels.resolve(image, root_suite="trixie").suite == "trixie"


def test_nothing_is_beside_when_the_modules_are_another_kernels(tmp_path: Path) -> None:
    # GIVEN modules of another release WHEN the image is looked at THEN they are left alone
    (tmp_path / "lib/modules/6.1.0-1-amd64").mkdir(parents=True)
    assert own.beside(write_image(tmp_path / "vmlinuz")) == own.Beside()


# -- packages --------------------------------------------------------------------------------------


def package(folder: Path, name: str, needs: str = "", version: str = "7.3.4-1") -> Path:
    """A .deb NAME with the files that lie in FOLDER/NAME."""
    control = folder / name / "DEBIAN/control"
    control.parent.mkdir(parents=True, exist_ok=True)
    depends = f"Depends: {needs}\n" if needs else ""
    control.write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: M <m@m>\n"
        f"{depends}Description: none\n"
    )
    path = folder / f"{name}_{version}_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", folder / name, path], check=True, capture_output=True)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "debs"
    path.mkdir()
    return path


def whole_image(folder: Path, name: str = f"linux-image-{RELEASE}", needs: str = "") -> Path:
    """A package with image and modules, as in Debian 12 or from `make bindeb-pkg`."""
    write_image(folder / name / f"boot/vmlinuz-{RELEASE}")
    (folder / name / "lib/modules" / RELEASE).mkdir(parents=True)
    return package(folder, name, needs)


@needs_dpkg
def test_kernel_is_the_packages_when_a_deb_is_given(folder: Path) -> None:
    # GIVEN a package with image and modules WHEN it is given as a kernel
    kernel = kernels.resolve(str(whole_image(folder)))
    # THEN it is booted with its modules, under its own name, on a suite whose BCC can read it
    assert kernel.image is not None and arch.GUEST.release(kernel.image) == RELEASE
    assert (kernel.name, kernel.suite) == (RELEASE, "forky")
    assert [share.guest for share in kernel.shares] == [f"/lib/modules/{RELEASE}"]


@needs_dpkg
def test_package_is_unpacked_again_only_when_it_changed(folder: Path) -> None:
    # GIVEN an unpacked package WHEN it is given again THEN nothing is unpacked
    deb = whole_image(folder)
    image = own.unpack(deb)
    (image.parent / "mark").touch()
    assert own.unpack(deb) == image and (image.parent / "mark").exists()
    # AND a package built anew, of the same version, is another one
    os.utime(deb, (1, 1))
    assert own.unpack(deb) != image


@needs_dpkg
def test_companions_are_unpacked_when_the_image_package_only_asks_for_them(folder: Path) -> None:
    # GIVEN a kernel in several packages beside each other, with headers that ask for more headers
    write_image(folder / f"linux-binary-{RELEASE}" / f"usr/lib/modules/{RELEASE}/vmlinuz")
    package(folder, f"linux-binary-{RELEASE}")
    (folder / f"linux-modules-{RELEASE}" / f"usr/lib/modules/{RELEASE}/kernel").mkdir(parents=True)
    package(folder, f"linux-modules-{RELEASE}")
    headers = folder / f"linux-headers-{RELEASE}"
    link(headers / f"usr/lib/modules/{RELEASE}/build", f"../../../src/linux-headers-{RELEASE}")
    link(headers / f"usr/lib/modules/{RELEASE}/source", "../../../src/linux-headers-common")
    (headers / f"usr/src/linux-headers-{RELEASE}").mkdir(parents=True)
    package(folder, headers.name, "linux-headers-common (= 7.3.4-1)")
    (folder / "linux-headers-common/usr/src/linux-headers-common").mkdir(parents=True)
    package(folder, "linux-headers-common")
    # AND an older kernel's modules, which nobody asks for
    (folder / f"linux-modules-{RELEASE}/stale").touch()
    package(folder, f"linux-modules-{RELEASE}", version="7.3.3-1")
    needs = f"linux-binary-{RELEASE} (= 7.3.4-1), linux-modules-{RELEASE} (= 7.3.4-1), dracut | x"
    deb = package(folder, f"linux-image-{RELEASE}", needs)
    # WHEN the image package is given THEN the guest gets all that belongs to it
    kernel = kernels.resolve(str(deb))
    assert kernel.image is not None
    assert [share.guest for share in kernel.shares] == [
        *(f"/lib/modules/{RELEASE}", f"/usr/src/linux-headers-{RELEASE}"),
        "/usr/src/linux-headers-common",
    ]
    assert (kernel.shares[0].host / "kernel").is_dir()
    assert not (kernel.image.parents[4] / "stale").exists()


@needs_dpkg
@pytest.mark.parametrize(
    ("name", "needs", "message"),
    [
        (
            "linux-image-7-amd64",
            "linux-binary-7-amd64 (= 7.3.4-1), linux-modules-7-amd64 (= 7.3.4-1), linux-base",
            "put linux-binary-7-amd64 and linux-modules-7-amd64 beside it",
        ),
        ("tree", "", "give the linux-image-.*.deb"),
    ],
)
def test_error_says_what_is_missing_when_a_package_is_not_all_of_a_kernel(
    folder: Path, name: str, needs: str, message: str
) -> None:
    # GIVEN a package that only asks for the kernel, and one of something else WHEN given
    deb = package(folder, name, needs)
    # THEN the error says what to do, with the status for usage
    with pytest.raises(LabError, match=message) as caught:
        kernels.resolve(str(deb))
    assert caught.value.exit_code == 2


@needs_dpkg
def test_error_is_dpkgs_when_the_file_is_no_package(folder: Path) -> None:
    # GIVEN a file that only has the name WHEN it is given THEN dpkg's words are shown
    (folder / "linux-image.deb").write_text("no package\n")
    with pytest.raises(LabError, match="is that a .deb"):
        kernels.resolve(str(folder / "linux-image.deb"))
