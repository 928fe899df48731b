# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.accel: KVM counts as usable only if a boot under it got somewhere."""

from pathlib import Path

import pytest

from vm import accel, arch


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / arch.GUEST.QEMU
    path.parent.mkdir()
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MAPCOUNT_ACCEL", raising=False)
    return path


@pytest.mark.parametrize(
    ("behaviour", "seconds", "usable"),
    [
        ("echo 'Linux version 6.1'; exit 0", 60.0, True),
        ("echo 'Linux version 6.1'; exit 1", 60.0, False),  # QEMU crashed later
        ("exit 0", 60.0, False),  # ended before the kernel's first line
        ("echo 'Linux version 6.1'; exec sleep 1000", 1.0, False),  # hangs
    ],
)
def test_kvm_is_usable_only_when_the_boot_ran_to_its_end(
    qemu: Path, behaviour: str, seconds: float, usable: bool
) -> None:
    # GIVEN a QEMU that behaves in one of the ways seen
    qemu.write_text(f"#!/bin/sh\n{behaviour}\n")
    qemu.chmod(0o755)
    # WHEN a boot is tried THEN only a whole one counts
    assert accel.boots_under_kvm(qemu, seconds=seconds) is usable


def test_nothing_is_tried_when_the_environment_decides(
    qemu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN no QEMU at all, and a choice in the environment
    for choice, expected in (("kvm", True), ("tcg", False)):
        monkeypatch.setenv("MAPCOUNT_ACCEL", choice)
        # WHEN asked THEN the choice holds
        assert accel.usable_kvm(qemu) is expected
