# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that are another machine than this one: their roots, workloads and commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vm import accel, arch, build, chroot, foreign, guest, kernels, lab, pagetypes, say, scenarios

RELEASE = "6.12.0-arm64"


@pytest.fixture(autouse=True)
def on_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arch, "is_host", lambda machine: machine.MACHINE == "x86_64")
    monkeypatch.setattr(guest, "is_host", arch.is_host)


def unpacked(root: Path) -> Path:
    """What mmdebstrap leaves of a root whose packages are unpacked alone."""
    for folder in ("usr/lib/modules", foreign.ARCHIVES, "usr/share/base-passwd", "etc"):
        (root / folder).mkdir(parents=True)
    (root / "usr/lib/modules" / RELEASE).mkdir()
    for name in ("passwd", "group"):
        (root / f"usr/share/base-passwd/{name}.master").write_text(f"root:{name}\n")
    for name in ("python3-bpfcc_0.31.0+ds-7_all.deb", "bsdutils_1%3a2.41.5-0_arm64.deb"):
        (root / foreign.ARCHIVES / name).touch()
    return root


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_root_is_finished_when_nothing_of_it_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN packages that were unpacked for another machine
    root = unpacked(tmp_path / "root")
    program(tmp_path / "depmod", 'echo "$@" >"$2/depmod"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    # WHEN the root is finished
    versions = foreign.finish(root)
    # THEN what the packages' scripts would have made is there
    assert (root / "etc/passwd").read_text() == "root:passwd\n"
    assert (root / "depmod").read_text().split() == ["-b", str(root), RELEASE]
    # AND the versions are those of the archives, which have gone
    assert versions == {"python3-bpfcc": "0.31.0+ds-7", "bsdutils": "1:2.41.5-0"}
    assert list((root / foreign.ARCHIVES).iterdir()) == []


def test_image_is_where_it_is_looked_for_when_a_script_would_put_it_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a kernel's package that has its image beside the modules, as Debian's of 7.2
    root = unpacked(tmp_path / "root")
    (root / "usr/lib/modules" / RELEASE / "vmlinuz").write_text("image")
    program(tmp_path / "depmod", "")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    # WHEN the root is finished
    foreign.finish(root)
    # THEN that is the image to boot, wherever the root is moved to
    root = root.rename(tmp_path / "moved")
    image = kernels.image_of(kernels.resolve("6.12-arm64"), root)
    assert image.name == f"vmlinuz-{RELEASE}"
    assert image.read_text() == "image"


def test_packages_are_those_of_the_machine_when_it_is_another() -> None:
    # GIVEN a kernel of arm64 THEN its root has that kernel, those headers, and a busybox
    kernel = kernels.resolve("6.12-arm64-16k")
    wanted = {"linux-image-arm64-16k", "linux-headers-arm64-16k", "busybox-static"}
    assert wanted < set(kernel.packages)
    assert chroot.path_of("trixie", kernel.packages) != chroot.path_of("trixie")


def test_guest_is_emulated_when_it_is_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a computer that is told to use KVM
    monkeypatch.setenv("MAPCOUNT_ACCEL", "kvm")
    # THEN a guest that is another machine does not
    assert accel.usable_kvm(tmp_path) and not accel.usable_kvm(tmp_path, arch.ARM64)
    # AND its command names the machine, a CPU with LSE atomics, and the busybox of its root
    machine = guest.Machine(tmp_path / "image", tmp_path, False, arch=arch.ARM64)
    command = guest.vng_command(machine, tmp_path, "job.sh")
    assert command[command.index("--arch") + 1] == "arm64"
    assert command[command.index("--busybox") + 1] == f"{tmp_path}/{guest.BUSYBOX}"
    assert "--qemu-opts=-cpu max,pauth-impdef=on" in command
    # BUT not where it is this one's kind
    native = guest.Machine(tmp_path / "image", tmp_path, False)
    assert "--arch" not in guest.vng_command(native, tmp_path, "job.sh")


def test_guest_has_two_nodes_when_its_kernel_makes_none(tmp_path: Path) -> None:
    # GIVEN a guest that is to have two nodes of memory
    machine = guest.Machine(
        tmp_path / "image", tmp_path, False, memory="3G", nodes=2, arch=arch.ARM64
    )
    # THEN QEMU makes them where the kernel does not, of all its memory
    command = guest.vng_command(machine, tmp_path, "job.sh")
    assert [command[at + 1] for at, word in enumerate(command) if word == "--numa"] == ["1536M"] * 2
    assert not any(word.startswith("--append") for word in command)
    # AND memory that cannot be divided is named
    odd = replace(machine, memory="3.5G")
    with pytest.raises(say.LabError, match="3.5G cannot be divided"):
        guest.vng_command(odd, tmp_path, "job.sh")


def test_error_names_the_package_when_the_compiler_or_emulator_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # GIVEN neither compiler nor emulator for the other machine, and nothing compiled
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    # THEN the error says what to install
    with pytest.raises(say.LabError, match="apt-get install gcc-aarch64-linux-gnu"):
        build.workload(scenarios.find("lifecycle").source, arch.ARM64)
    with pytest.raises(say.LabError, match="apt-get install qemu-system-arm"):
        lab.prepare(lab.Options(kernels.resolve("6.12-arm64")))


@pytest.mark.parametrize("kib, defined", [(4, []), (16, ["-DPAGE=16384UL", "-DPAGES=2048UL"])])
def test_workload_has_the_pages_of_its_kernel_when_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kib: int, defined: list[str]
) -> None:
    # GIVEN a compiler that makes a program of what it is told
    words = 'all="$*"; while [ "$1" != -o ]; do shift; done; echo "$all" >"$2"'
    program(tmp_path / arch.ARM64.COMPILER, words)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    # THEN it is told of the pages where they are not of 4 KiB
    told = build.workload(scenarios.find("lifecycle").source, arch.ARM64, kib).read_text().split()
    assert [word for word in told if word.startswith("-D")] == defined


def test_page_types_is_made_by_the_tools_of_the_machine_when_it_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # GIVEN the kernel's source, and every program that building needs
    made: list[str] = []

    def run_logged(command: list[str], log: Path, what: str, cwd: Path | None = None) -> None:
        if command[0] == "make":
            assert cwd is not None
            made.extend(command)
            tools = cwd / pagetypes.TREE / "tools/vm"
            tools.mkdir(parents=True)
            (tools / "page-types").touch()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(pagetypes.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(pagetypes, "_download", lambda folder, log: folder / "source.deb")
    monkeypatch.setattr(pagetypes.procs, "run_logged", run_logged)
    # WHEN the program is made for another machine
    path = pagetypes.ensure(arch.ARM64)
    # THEN that machine's compiler and linker are used, and it has a place of its own
    assert {"CROSS_COMPILE=aarch64-linux-gnu-", "CC=aarch64-linux-gnu-gcc -static"} < set(made)
    assert path.is_file() and path != pagetypes.ensure()
    # AND this machine's own tools have no prefix
    assert {"CROSS_COMPILE=", "CC=gcc -static"} < set(made)


def test_image_is_known_when_it_is_of_arm64(tmp_path: Path) -> None:
    # GIVEN the header that booting.rst of arm64 describes, and something else
    image = tmp_path / "Image"
    image.write_bytes(bytes(56) + b"ARM\x64" + bytes(4))
    assert arch.ARM64.boots(image)
    image.write_bytes(bytes(64))
    assert not arch.ARM64.boots(image)
