# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's selftests are built once for each suite, as far as they build."""

import os
from pathlib import Path

import pytest

from vm import chroot, kbuild, selftests


@pytest.mark.parametrize("folder", ["mm", "vm"])
def test_tests_that_build_are_kept_when_another_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    # GIVEN the source of three tests, one of which needs what the suite has not
    root = tmp_path / "bookworm-1"
    tree = root / kbuild.SOURCE
    tests = tree / "tools/testing/selftests" / folder
    tests.mkdir(parents=True)
    for name in ("cow", "khugepaged", "hmm-tests"):
        (tests / f"{name}.c").touch()
    commands: list[tuple[str, ...]] = []

    def in_root(root: Path, log: Path, what: str, *command: str) -> None:
        commands.append(command)
        for word in command:
            if word.endswith(("/cow", "/khugepaged")):
                path = root / word.lstrip("/")
                path.write_text("a program")
                path.chmod(0o755)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(chroot, "ensure", lambda suite, packages: root)
    monkeypatch.setattr(chroot, "versions", lambda root: {"linux-source-6.1": "6.1.192-2"})
    monkeypatch.setattr(kbuild, "source", lambda root, package, log: tree)
    monkeypatch.setattr(kbuild, "in_root", in_root)
    # WHEN they are asked for twice
    made = [selftests.ensure("bookworm") for _ in range(2)]
    # THEN there are those that were built, which took the headers and one build
    assert made[0] == made[1]
    assert sorted(path.name for path in made[0].iterdir()) == ["cow", "khugepaged"]
    assert ["headers" in command for command in commands] == [True, False]
    assert f"tools/testing/selftests/{folder}" in commands[1]
    # WHEN they are to be compiled with other flags THEN they are built again
    monkeypatch.setattr(selftests, "FLAGS", "-static")
    assert selftests.ensure("bookworm") != made[0]
    assert "EXTRA_CFLAGS=-static" in commands[-1]
