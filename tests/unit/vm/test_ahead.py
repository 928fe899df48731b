# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.ahead: the suite of the kernel `next` is the one that apt says is newest."""

import os
from pathlib import Path

import pytest

from vm import ahead
from vm.say import LabError

# Keeps the sources that it was given, and knows what a mirror with them would have.
FAKE_GET = """\
#!/bin/sh
for word; do case $word in --option=Dir::Etc::sourcelist=*) list=${word##*=} ;; esac; done
cp "$list" "$FAKE_MIRROR.sources"
[ -e "$FAKE_MIRROR" ] || { echo "E: cannot resolve the mirror"; exit 100; }
"""
FAKE_CACHE = """\
#!/bin/sh
cat "$FAKE_MIRROR"
"""


class Mirror:
    """A mirror of which apt lists what the test says, the newest first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, *versions: tuple[str, str]) -> None:
        lines = [
            f"linux-image-amd64 | {version:>10} | http://m {suite}/main amd64 Packages\n"
            for suite, version in versions
        ]
        self.path.write_text("".join(lines))

    @property
    def sources(self) -> list[str]:
        return Path(f"{self.path}.sources").read_text().splitlines()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("apt-get", FAKE_GET), ("apt-cache", FAKE_CACHE)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MAPCOUNT_MIRROR", "http://mirror.example/debian")
    monkeypatch.setenv("FAKE_MIRROR", str(tmp_path / "mirror"))
    return Mirror(tmp_path / "mirror")


TESTING = ("forky", "7.2.12-1")


@pytest.mark.parametrize(
    "versions",
    [
        (("trixie-backports", "7.3.4-1~bpo13+1"), ("experimental", "7.3~rc7-1~exp1"), TESTING),
        (("experimental", "7.4~rc1-1~exp1"), ("trixie-backports", "7.3.4-1~bpo13+1"), TESTING),
        (("experimental", "7.3~rc7-1~exp1"), TESTING),
    ],
)
def test_suite_is_the_one_with_the_newest_kernel(
    mirror: Mirror, versions: tuple[tuple[str, str], ...], capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a mirror with kernels newer than testing's WHEN it is asked
    mirror.has(*versions)
    # THEN the newest decides, the user is told its version, and all three suites were compared
    assert ahead.suite() == versions[0][0]
    assert f"the newest is {versions[0][1]} of {versions[0][0]}" in capsys.readouterr().err
    assert [line.split()[2] for line in mirror.sources] == [*ahead.SUITES, ahead.TESTING]


def test_error_names_another_kernel_when_nothing_is_newer(mirror: Mirror) -> None:
    # GIVEN a mirror on which testing has overtaken backports WHEN it is asked
    mirror.has(("forky", "7.4.2-1"), ("trixie-backports", "7.3.4-1~bpo13+1"))
    # THEN no older kernel passes for the newest
    with pytest.raises(LabError, match=r"newer than the 7\.4\.2-1 of forky: use --kernel 7\.x"):
        ahead.suite()


def test_error_names_the_suites_when_the_mirror_has_none_of_them(mirror: Mirror) -> None:
    # GIVEN a mirror without a kernel WHEN it is asked THEN the error says what was looked for
    mirror.has()
    with pytest.raises(LabError, match="none of trixie-backports, experimental and forky"):
        ahead.suite()


def test_error_has_apts_words_when_the_mirror_cannot_be_reached(
    mirror: Mirror, tmp_path: Path
) -> None:
    # GIVEN no mirror WHEN it is asked THEN the user sees apt's words, and nothing else is left
    with pytest.raises(LabError, match="asking the mirror failed") as error:
        ahead.suite()
    assert "cannot resolve the mirror" in str(error.value)
    assert [path.name for path in (tmp_path / "cache/mapcount").iterdir()] == ["ahead.log"]
