# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.chroot: a root is there whole or not at all."""

import os
from pathlib import Path

import pytest

from vm import ahead, chroot
from vm.say import LabError

GOOD = """\
#!/bin/sh
# The suite's root is the word before the sources.
for word; do case $word in */.*-*.part) mkdir -p "$word/boot" ;; esac; done
"""


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    query = programs / "dpkg-query"
    query.write_text("#!/bin/sh\necho linux-image-6.1.0-1-amd64 6.1.2-3\n")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MAPCOUNT_MIRROR", "http://mirror.example/debian")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return programs / "mmdebstrap"


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_root_is_complete_when_the_build_ends_well(mmdebstrap: Path) -> None:
    # GIVEN a build that works
    put(mmdebstrap, GOOD)
    # WHEN the root is asked for
    root = chroot.ensure("bookworm")
    # THEN it has the places for the guest's mounts, and says what is in it
    assert all((root / "mapcount" / name).is_dir() for name in chroot.MOUNT_POINTS)
    assert chroot.versions(root) == {"linux-image-6.1.0-1-amd64": "6.1.2-3"}
    # AND a second time nothing is built
    put(mmdebstrap, "#!/bin/sh\nexit 1\n")
    assert chroot.ensure("bookworm") == root


def test_no_initramfs_is_made_when_the_kernel_is_installed(mmdebstrap: Path) -> None:
    # GIVEN a build that says what the kernel's package will find in its environment
    told = 'for word; do case $word in */.*.part) echo "$INITRD" >"$word/told";; esac; done\n'
    put(mmdebstrap, GOOD + told)
    # THEN it is told that the kernel needs no initramfs
    assert (chroot.ensure("bookworm") / "told").read_text() == "No\n"


def test_no_root_is_left_when_the_build_fails(mmdebstrap: Path) -> None:
    # GIVEN a build that fails half-way
    put(mmdebstrap, GOOD + "echo 'E: no such suite'; exit 25\n")
    # WHEN the root is asked for THEN the error has the log's words, and nothing looks complete
    with pytest.raises(LabError, match="no such suite"):
        chroot.ensure("bookworm")
    assert not chroot.path_of("bookworm").exists()
    # AND the next try starts afresh
    put(mmdebstrap, GOOD)
    assert chroot.ensure("bookworm").is_dir()


def test_root_is_built_without_security_when_the_mirror_lacks_it(
    mmdebstrap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a mirror without the suite's security archive
    words = "E: The repository 'http://m bookworm-security Release' does not have a Release file."
    lacking = f'case $* in *-security*) echo "{words}"; exit 25 ;; esac\n'
    put(mmdebstrap, "#!/bin/sh\n" + lacking + GOOD.removeprefix("#!/bin/sh\n"))
    # WHEN the root is asked for THEN it is built without, and the user is told
    assert chroot.ensure("bookworm").is_dir()
    assert "warning: no security archive for bookworm" in capsys.readouterr().err


def test_error_says_who_can_build_when_not_root(
    mmdebstrap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN an ordinary user WHEN the root is asked for THEN the error says what to do
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="run this once as root"):
        chroot.ensure("bookworm")


def test_root_prefers_the_newer_suite_when_it_lies_above_another(
    mmdebstrap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a mirror without security updates for testing's likes WHEN a root of backports is built
    words = "E: The repository 'http://m trixie-security Release' does not have a Release file."
    lacking = f'case $* in *-security*) echo "{words}"; exit 25 ;; esac\n'
    keep = f"printf '%s\\n' \"$@\" >{tmp_path}/words\n"
    put(mmdebstrap, "#!/bin/sh\n" + lacking + keep + GOOD.removeprefix("#!/bin/sh\n"))
    root = chroot.ensure("trixie-backports")
    # THEN its packages are taken from there, dependencies too, and the rest from the suite below
    *options, suite, _, below, above = (tmp_path / "words").read_text().splitlines()
    assert '--aptopt=APT::Default-Release "trixie-backports"' in options
    assert (suite, below.split()[2], above.split()[2]) == ("trixie", "trixie", "trixie-backports")
    assert chroot.suite_of(root) == "trixie-backports"


def test_next_is_asked_for_once_when_its_root_is_kept(
    mmdebstrap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a mirror whose newest kernel is in experimental, and later in backports
    put(mmdebstrap, GOOD)
    monkeypatch.setattr(ahead, "suite", lambda: "experimental")
    assert chroot.find(ahead.NEXT) is None
    root = chroot.ensure(ahead.NEXT)
    monkeypatch.setattr(ahead, "suite", lambda: "trixie-backports")
    # WHEN the root is asked for again THEN it is the one that was built, of the suite it says
    assert chroot.ensure(ahead.NEXT) == chroot.find(ahead.NEXT) == root
    assert chroot.suite_of(root) == "experimental"
