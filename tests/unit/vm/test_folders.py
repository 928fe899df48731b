# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.folders: what belongs to a kernel is mounted without its command line."""

import subprocess
from pathlib import Path

import pytest

from vm import folders, guest, job
from vm.say import LabError


def machine() -> guest.Machine:
    return guest.Machine(Path("/image"), Path("/root-of-suite"), False, qemu=("-icount", "0"))


def test_guests_script_mounts_each_folder_when_qemu_exports_it(tmp_path: Path) -> None:
    # GIVEN the modules and headers of a kernel WHEN they are attached to a machine
    places = [tmp_path / "lib/modules/7", tmp_path / "usr/src/headers"]
    shares = [guest.Share(str(place), tmp_path / place.name) for place in places]
    options = folders.attach(machine(), tmp_path, shares).qemu
    # THEN QEMU exports each folder read-only, beside what it was told before
    assert options[:2] == ("-icount", "0")
    exports = [words.split(",") for words in options if words.startswith("local,")]
    assert [
        set(words) & {f"path={share.host}", "readonly=on"}
        for words, share in zip(exports, shares, strict=True)
    ] == [{f"path={share.host}", "readonly=on"} for share in shares]
    # AND the script that the guest finds makes each place and mounts the folder's tag there
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mount").write_text(f'#!/bin/sh\nshift 4; echo "$@" >>{tmp_path}/mounted\n')
    (programs / "mount").chmod(0o755)
    script = [f"PATH={programs}:$PATH", f". {tmp_path / job.FOLDERS}"]
    subprocess.run(["sh", "-c", "\n".join(script)], check=True)
    tags = [word.rpartition("=")[2] for word in options if word.startswith("virtio-9p-pci")]
    mounted = [line.split() for line in (tmp_path / "mounted").read_text().splitlines()]
    assert mounted == [[tag, str(place)] for tag, place in zip(tags, places, strict=True)]
    assert all(place.is_dir() for place in places)


def test_nothing_is_mounted_when_all_is_in_the_root(tmp_path: Path) -> None:
    # GIVEN a kernel of a suite WHEN it has no folders THEN machine and guest are as they were
    assert folders.attach(machine(), tmp_path, []) == machine()
    assert (tmp_path / job.FOLDERS).read_text() == ""


def test_folders_are_refused_when_qemu_could_not_parse_them(tmp_path: Path) -> None:
    # GIVEN a folder with a comma in its name WHEN it is attached THEN it is refused
    with pytest.raises(LabError, match="use a path without"):
        folders.attach(machine(), tmp_path, [guest.Share("/mapcount/headers", tmp_path / "a,b")])


def test_root_has_a_name_that_a_kernel_without_block_devices_finds() -> None:
    # GIVEN a machine WHEN its root is to be found by such a kernel
    found = folders.with_root(machine())
    # THEN the kernel is told a name that is not below /dev, and QEMU exports the root by it
    (root,) = [word.partition("=")[2] for word in found.boot]
    assert "/" not in root
    assert f"mount_tag={root}" in found.qemu[-1]
    assert "path=/root-of-suite" in found.qemu[-3] and "readonly=on" in found.qemu[-3]
