# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.apt: the mirror is the one of the machine's own apt configuration."""

from pathlib import Path

import pytest

from vm import apt
from vm.say import LabError

DEB822 = """\
Types: deb deb-src
# a comment inside a stanza
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFkk
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
Enabled: no
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.example/apt cloud-sdk-bookworm main
deb https://vendor.example/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb [trusted=yes arch=amd64] http://mirror.example/debian bookworm main contrib # ours
deb http://mirror.example/debian bookworm-updates main
deb-src http://mirror.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
"""


def write(etc: Path, name: str, text: str) -> None:
    path = etc / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_mirror_is_found_when_sources_are_deb822(tmp_path: Path) -> None:
    # GIVEN the stanza format, with an empty classic file as Debian 12 leaves it
    write(tmp_path, "sources.list", "")
    write(tmp_path, "sources.list.d/debian.sources", DEB822)
    # WHEN the mirror is looked up
    lines = apt.mirror(tmp_path).lines("bookworm")
    # THEN both archives are the configured ones
    assert lines == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian-security bookworm-security main",
    ]


def test_mirror_is_debians_when_vendors_use_the_same_suite_name(tmp_path: Path) -> None:
    # GIVEN one-line sources in which a vendor's archive comes first
    write(tmp_path, "sources.list", ONE_LINE)
    # WHEN the mirror is looked up
    lines = apt.mirror(tmp_path).lines("trixie")
    # THEN the archive that also has "-updates" wins, with its options, for the asked suite
    assert lines == [
        "deb [trusted=yes] http://mirror.example/debian trixie main",
        "deb http://security.example/debian-security trixie-security main",
    ]


def test_mirror_is_the_users_when_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN $MAPCOUNT_MIRROR in the layout of Debian's own archive
    monkeypatch.setenv("MAPCOUNT_MIRROR", "http://near.example/debian/")
    # WHEN the mirror is looked up, whatever apt's configuration says
    lines = apt.mirror(tmp_path).lines("bookworm")
    # THEN it is used, with the security archive beside it
    assert lines == [
        "deb http://near.example/debian bookworm main",
        "deb http://near.example/debian-security bookworm-security main",
    ]


def test_error_says_what_to_set_when_there_is_no_debian_archive(tmp_path: Path) -> None:
    # GIVEN a machine with a vendor's archive only
    write(tmp_path, "sources.list.d/vendor.list", "deb https://vendor.example/apt nodistro main\n")
    # WHEN the mirror is looked up THEN the error names the variable to set
    with pytest.raises(LabError, match="set MAPCOUNT_MIRROR"):
        apt.mirror(tmp_path)


@pytest.mark.parametrize(
    ("suite", "suites"),
    [
        ("trixie-backports", ["trixie", "trixie-security", "trixie-backports"]),
        ("experimental", ["sid", "experimental"]),
    ],
)
def test_suite_comes_with_its_base_when_it_has_only_newer_packages(
    tmp_path: Path, suite: str, suites: list[str]
) -> None:
    # GIVEN suites that are no system on their own WHEN their sources are made
    write(tmp_path, "sources.list.d/debian.sources", DEB822)
    lines = apt.mirror(tmp_path).lines(suite)
    # THEN the suite that has all the rest comes first, with its security updates if it has any
    assert [line.split()[2] for line in lines] == suites
