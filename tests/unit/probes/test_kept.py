# SPDX-License-Identifier: GPL-2.0-or-later
"""Where compiled programs come from: given, kept, made; and what is not trusted."""

import os

import pytest

from probes import kept
from probes.compiled import pack
from probes.errors import ProbeError
from probes.kept import COMPILED, GIVEN, KEPT, find, find_or_make, keep
from tests.unit.probes.programs import BUILD_ID, compiled


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty cache, on a kernel and with a BCC for which compiled() is made."""
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "build_id", lambda: BUILD_ID)
    monkeypatch.setattr(kept, "bcc_version", lambda: "0.26.0")
    return tmp_path / "cache"


@pytest.fixture
def compiler(monkeypatch):
    """Counts what is compiled."""
    calls = []

    def make(kcore, trampolines=True):
        calls.append(trampolines)
        return compiled()

    monkeypatch.setattr("probes.make.make", make)
    return calls


def test_programs_when_asked_for_twice(folder, compiler, capsys):
    # GIVEN an empty cache WHEN two recordings begin
    found = [find_or_make(None, True, None) for _ in range(2)]
    # THEN the first compiles, and the second has the same without
    assert [one.way for one in found] == [COMPILED, KEPT]
    assert found[0].made == found[1].made
    assert len(compiler) == 1
    assert capsys.readouterr().err == ""
    # AND nobody else can read or write what is kept, and nothing else is left
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_programs_when_the_cache_is_not_wanted(folder, compiler):
    # GIVEN kept programs WHEN the user wants them compiled THEN they are, and nothing is kept
    keep(compiled())
    before = [path.read_bytes() for path in folder.iterdir()]
    assert find_or_make(None, False, None).way == COMPILED
    assert [path.read_bytes() for path in folder.iterdir()] == before


def test_programs_when_bcc_is_another(folder, compiler, monkeypatch):
    # GIVEN programs that another BCC compiled THEN they are compiled again
    keep(compiled())
    monkeypatch.setattr(kept, "bcc_version", lambda: "0.31.0")
    assert find_or_make(None, True, None).way == COMPILED
    # BUT without BCC they are taken
    monkeypatch.setattr(kept, "bcc_version", lambda: None)
    assert find(None, True).way == KEPT


def damage(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def of_another_kernel(path):
    path.write_bytes(pack(compiled(build_id="ffff")))


def open_to_others(path):
    path.chmod(0o622)


def a_link(path):
    there = path.with_name("elsewhere")
    path.rename(there)
    path.symlink_to(there)


def somebody_elses(path):
    os.chown(path, 65534, -1)


@pytest.mark.parametrize(
    "spoil", [damage, of_another_kernel, open_to_others, a_link, somebody_elses]
)
def test_programs_when_the_kept_file_cannot_be_trusted(folder, compiler, capsys, spoil):
    if spoil is somebody_elses and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    # GIVEN a kept file that is damaged, foreign, or may have been written by others
    keep(compiled())
    (path,) = folder.iterdir()
    spoil(path)
    # WHEN a recording begins THEN one warning names it, and the programs are made anew
    assert find_or_make(None, True, None).way == COMPILED
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1 and warnings[0].startswith(f"warning: {path} is not used")
    # AND the next recording has them
    assert find(None, True).way == KEPT


def test_programs_when_this_boot_could_not_tell_how_pages_are_counted(folder, monkeypatch):
    # GIVEN a kernel that gave no huge page to try it on
    monkeypatch.setattr("probes.make.make", lambda *_: compiled(page_counts=None))
    # THEN another boot must try again
    assert find_or_make(None, True, None).way == COMPILED
    assert find(None, True) is None


def test_programs_when_the_cache_cannot_be_written(folder, compiler, capsys):
    # GIVEN a file where the cache's directory should be THEN recording goes on, and it is told
    folder.write_text("")
    assert find_or_make(None, True, None).way == COMPILED
    assert capsys.readouterr().err.startswith("note: the compiled programs cannot be kept")


def test_programs_when_given(folder, tmp_path):
    # GIVEN a file of the user's for this kernel THEN it is taken, whatever is kept
    path = tmp_path / "given"
    path.write_bytes(pack(compiled()))
    found = find(str(path), True)
    assert (found.way, found.made) == (GIVEN, compiled())


@pytest.mark.parametrize(
    "content, why",
    [
        (pack(compiled(build_id="ffff")), "compiled for 6.1.0-56-amd64 .*not for the running"),
        (pack(compiled(digest="0" * 64)), "another version of mapcount"),
        (b"something else", "does not hold compiled programs"),
        (pack(compiled())[:-1], "damaged"),
        (None, "No such file"),
    ],
)
def test_programs_when_the_given_file_does_not_fit(folder, compiler, tmp_path, content, why):
    # GIVEN a file that does not fit, or none
    path = tmp_path / "given"
    if content is not None:
        path.write_bytes(content)
    # THEN the error says so and what to do, and nothing is compiled in its stead
    with pytest.raises(ProbeError, match=f"{why}.*mapcount compile"):
        find_or_make(str(path), True, None)
    assert not compiler
